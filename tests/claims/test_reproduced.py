"""Small versions of the studies, trained here: what holds at the presets' smallest size, with a seed of its own."""

from pathlib import Path

import pytest

from circuits.phenomena_over_training import PhenomenaConfig, over_training
from workbench.arms import train_arms
from workbench.claims import CLAIMS
from workbench.claims.edelman2024 import losses
from workbench.claims.guo2024 import first_step
from workbench.opened import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def trained(name: str, root: Path, changes: dict | None = None) -> Run:
    """The first arm of a claim, one seed at scale small."""
    [arm] = train_arms(CLAIMS[name].study.arms[:1], root, n_seeds=1, changes=changes)
    assert not arm.failed
    return arm.runs[0]


def test_one_layer_copies_by_its_head_alone_and_the_law_is_learnt_first(tmp_path: Path):
    record = over_training(trained("guo2024/a2-sink-and-drain", tmp_path), PhenomenaConfig(n_prompts=64))
    last, norms = record["rows"][-1], [row["heads"][0]["value_norm"] for row in record["rows"]]
    assert last["risks"]["excess_backcopy"]["mean"] < 0.02
    assert last["risks"]["excess_bigram"]["mean"] < 0.05
    [without] = last["without_attention"]
    assert without["excess_backcopy"]["mean"] > 3
    assert abs(without["bigram"]["mean"] - last["risks"]["bigram"]["mean"]) < 0.05
    assert norms[-1] < 0.4 * max(norms), "the value drains after it has grown"
    halved = first_step(record, lambda row: row["risks"]["excess_bigram"]["mean"] < 0.2)
    copied = first_step(record, lambda row: row["risks"]["excess_backcopy"]["mean"] < 0.1)
    assert halved < copied


def test_two_attention_layers_make_an_induction_circuit(tmp_path: Path):
    claim = CLAIMS["olsson2022/c2-circuit"]
    look = claim.study.look(trained(claim.name, tmp_path), print)
    second = [head for head in look["heads"] if head["layer"] == 1]
    assert max(head["induction"] for head in second) > 0.6
    assert max(head["previous_token"] for head in look["heads"] if head["layer"] == 0) > 0.5
    assert max(second, key=lambda head: head["induction"])["composition"]["k"]["z"] > 5


def test_chains_are_foretold_better_than_by_counts_of_tokens(tmp_path: Path):
    shorter = {"train.n_steps": 500, "train.checkpoint_every": 500, "train.checkpoints_per_decade": 0}
    look = losses(trained("edelman2024/c3-plateau", tmp_path, shorter), print)
    assert look["rows"][-1]["loss"] < look["references"]["order_0"] - 0.02
    assert look["rows"][-1]["loss"] > look["references"]["row"]
