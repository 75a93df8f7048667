"""Attention between the tokens of an example: 1 in copying layers written down, chance before training."""

import math

import pytest
import torch

from workbench.against_theory.config import TheoryConfig
from workbench.against_theory.copying import (
    PLACES,
    at_checkpoint,
    chances,
    compare_copying,
    copying,
    has_pairs,
    mixed_sizes,
    mixing,
    shares,
)
from workbench.against_theory.observed import drawn
from workbench.against_theory.record import to_record
from workbench.against_theory.study import setting_of, study
from workbench.models.constructions import CONSTRUCTIONS
from workbench.models.constructions.writing import SHARP
from workbench.models.transformer import Transformer
from workbench.tasks import LinearRegression
from workbench.theory.one_step import optimum
from workbench.training.building import build_model
from workbench.training.config import preset_config

CONFIG = preset_config("linear_regression", "von_oswald_copying_small").resolved()
TASK = CONFIG.task
D, N = 3, 6
POSITIONS = 2 * N + 1
FAST = TheoryConfig(n_prompts=2000, n_curve=400, n_resamples=20)


def untrained() -> Transformer:
    return build_model(CONFIG).double().eval()


@torch.no_grad()
def constructed() -> Transformer:
    """Labels look at their inputs, inputs at themselves; then the best step (von Oswald et al. 2023, proposition 3)."""
    model = untrained()
    for parameter in model.parameters():
        parameter.zero_()
    torch.nn.init.eye_(model.embed.weight)
    x, y, code = slice(0, D), slice(D, D + 1), slice(D + 1, D + 1 + POSITIONS)
    looks_at = torch.zeros(POSITIONS, POSITIONS, dtype=torch.float64)
    for place in range(POSITIONS):
        looks_at[place, place - place % 2] = SHARP
    first, second = (block.attn for block in model.layers)
    first.W_Q[0, code, code] = looks_at
    first.W_K[0, code, code] = torch.eye(POSITIONS, dtype=torch.float64)
    first.W_V[0, x, x] = torch.eye(D, dtype=torch.float64)
    first.W_O[0, x, x] = torch.eye(D, dtype=torch.float64)
    gamma = optimum(setting_of(TASK, model.config).regression)
    second.W_Q[0, x, x] = gamma
    second.W_K[0, x, x] = torch.eye(D, dtype=torch.float64)
    second.W_V[0, y, y] = 1.0
    second.W_O[0, y, y] = -POSITIONS / N / 2  # attention divides by the tokens it sees; the query has doubled itself
    return model


def test_a_copying_layer_written_down_has_all_attention_on_partners_and_takes_the_step():
    found = study(constructed(), untrained(), TASK, FAST, [(0, untrained()), (9, constructed())])
    (form,) = [each for each in found.compared if each.name == "step_behind_copying"]
    rows = {row.quantity: row for row in form.rows}
    assert rows["partner"].measured == pytest.approx(1)
    assert rows["partner"].ci is not None
    assert rows["partner"].ci.low == pytest.approx(1)
    assert rows["partner"].controls["uniform"] == pytest.approx(1 / POSITIONS)
    assert rows["partner"].controls["untrained"] == pytest.approx(1 / POSITIONS, rel=0.05)
    assert rows["nmse"].measured == pytest.approx(0, abs=1e-12)
    before, after = found.over_training
    assert before["partner"] == pytest.approx(1 / POSITIONS, rel=0.05)
    assert after["partner"] == pytest.approx(1)
    assert after["excess"] < before["excess"]
    record = to_record(found)["copying"]
    assert {each["way"] for each in record["partners"]} == {"label", "input"}
    assert len(record["partners"]) == 4, "two ways, two layers, one head"


def test_inputs_that_look_at_their_labels_are_the_other_way():
    model = untrained()
    code = slice(D + 1, D + 1 + POSITIONS)
    with torch.no_grad():
        first = model.layers[0].attn
        first.W_Q.zero_()
        first.W_K.zero_()
        first.W_Q[0, code, code] = SHARP * torch.diag(torch.ones(POSITIONS - 1, dtype=torch.float64), 1)
        first.W_K[0, code, code] = torch.eye(POSITIONS, dtype=torch.float64)
    found = copying(model, untrained(), drawn(TASK, 400, 0), FAST)
    of_first = {each.way: each for each in found.partners if each.layer == 1}
    assert of_first["label"].share == pytest.approx(1)
    assert of_first["input"].share == pytest.approx(0), "labels look at the input of the next example"
    assert "inputs to their labels" in compare_copying(found)[0].label


def test_mixing_tells_what_a_token_is_made_of():
    sizes = dict(zip(PLACES, mixed_sizes(mixing(constructed(), drawn(TASK, 40, 0)).mean(0)), strict=True))
    root = math.sqrt(4 * D + 1)  # of an input: its own x twice, its own 0 in the label's place once
    assert sizes["own"] == pytest.approx(((N + 1) * root + N * math.sqrt(D + 1)) / POSITIONS)
    assert sizes["input"] == pytest.approx(math.sqrt(D))
    assert sizes["label"] == pytest.approx(0, abs=1e-12)
    assert sizes["others"] == pytest.approx(0, abs=1e-12)


def test_mixing_is_nothing_beside_oneself_before_training():
    told = at_checkpoint(untrained(), drawn(TASK, 400, 0))
    assert told["mixed_own"] == pytest.approx(math.sqrt(D + 1), rel=0.05)
    assert all(told[f"mixed_{place}"] < 0.1 for place in PLACES[1:])
    assert told["partner"] == pytest.approx(1 / POSITIONS, rel=0.05)


def test_a_causal_previous_token_head_is_found_by_its_place():
    model = CONSTRUCTIONS["gd_from_copies"].build(D, N + 1, step_size=0.5)
    batch = drawn(LinearRegression(d_input=D, n_context=N + 1), 50, 0)
    found = shares(model, batch).mean(0)
    assert found.shape == (1, 2, 2), "an input sees no label after it"
    assert found[0, 0, 0] == pytest.approx(1)
    assert found[0, 0, 1] == pytest.approx(0)
    even = [1 / (2 * i + 2) for i in range(N + 1)]
    assert chances(model, batch)[0] == pytest.approx(sum(even) / len(even))


def test_prompts_of_pairs_have_no_tokens_to_copy_between():
    assert has_pairs(CONFIG.model)
    assert not has_pairs(preset_config("linear_regression", "von_oswald").resolved().model)
