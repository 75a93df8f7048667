"""What induction heads are worth, on a transformer whose induction circuit is typed by hand."""

from pathlib import Path

import pytest
import torch

from circuits.induction_worth import WorthConfig, control_heads, induction_worth, predictable
from workbench.opened import open_run
from workbench.tasks import TokenTask


def test_a_token_can_be_predicted_where_its_pair_has_come_before():
    tokens = torch.tensor([[9, 1, 2, 3, 1, 2, 3, 3], [1, 1, 1, 1, 2, 1, 2, 5]])
    expected = [[0, 0, 0, 0, 1, 1, 0, 0], [0, 1, 1, 0, 0, 1, 0, 0]]
    assert predictable(tokens).int().tolist() == expected


def test_the_control_is_drawn_in_the_same_layers_among_heads_that_score_low():
    scores = torch.tensor([[0.9, 0.8, 0.1, 0.2, 0.15], [0.0, 0.1, 0.7, 0.2, 0.3]])
    chosen = [(0, 0), (0, 1), (1, 2)]
    drawn = [control_heads(chosen, scores, seed) for seed in range(20)]
    assert all([layer for layer, _ in each] == [0, 0, 1] for each in drawn)
    assert {head for each in drawn for head in each} == {(0, 2), (0, 3), (0, 4), (1, 0), (1, 1), (1, 3)}
    assert control_heads([(0, 0)], torch.tensor([[0.9]]), 0) == []


def test_repeats_are_predicted_through_the_induction_head_alone(tmp_path: Path):
    run = open_run("constructed-induction", tmp_path)
    model, task = run.model(), run.task()
    assert isinstance(task, TokenTask)
    tokens = task.domains(0, 4)["all"].tokens
    scores = torch.tensor([[0.0], [1.0]])
    found = induction_worth(model, tokens, scores, WorthConfig(n_heads=1, n_batch=3))
    assert found["loss_repeated"]["mean"] < 0.1 < 1.0 < found["loss_new"]["mean"]
    (head,) = found["heads"]
    assert (head["layer"], head["head"], head["control"]) == (1, 0, False)
    assert head["zeroed"]["mean"] > 1.0
    assert found["together"] == head["zeroed"]
    assert found["control_together"]["mean"] == pytest.approx(0.0, abs=1e-12)
