"""Arms of an experiment: their configs, their runs, and means over seeds."""

import math
from pathlib import Path

import pytest

from workbench.arms import Arm, change, train_arms
from workbench.errors import InputError
from workbench.over_seeds import over_seeds

ARM = Arm(
    "lr",
    "linear_regression",
    {"small": "small", "paper": "paper"},
    {"train.lr": 0.02, "task.d_input": 2},
    at={"small": {"train.n_steps": 2, "train.n_batch": 4, "task.n_context": 3}},
    n_seeds=2,
)
TINY = {"model.d_model": 8, "model.n_layers": 1, "model.n_heads": 1, "train.d_start": None, "train.n_start": None}


def test_settings_come_from_the_preset_the_arm_the_scale_and_the_caller_in_this_order():
    small = ARM.config("small", 3, {"train.lr": 0.5, **TINY})
    assert (small.train.lr, small.train.seed, small.train.n_steps, small.task.n_context) == (0.5, 3, 2, 3)
    assert small.model.d_input == 2, "resolved"
    paper = ARM.config("paper", 0, {"train.d_start": None, "train.n_start": None})
    assert (paper.train.lr, paper.task.d_input) == (0.02, 2)
    assert paper.train.n_steps > 2
    with pytest.raises(InputError, match=r"Unknown scale 'huge'.* Known: small, paper"):
        ARM.config("huge", 0)
    with pytest.raises(InputError, match="Unknown field of train 'rate'"):
        ARM.config("small", 0, {"train.rate": 1})


def test_seeds_are_trained_once_under_names_of_their_own(tmp_path: Path):
    [trained] = train_arms([ARM], tmp_path, prefix="x-", changes=TINY)
    assert {seed: run.folder.name for seed, run in trained.runs.items()} == {0: "x-lr-small-0", 1: "x-lr-small-1"}
    assert trained.failed == {}
    assert [run.config.train.seed for run in trained.runs.values()] == [0, 1]
    before = [run.folder.last_metrics() for run in trained.runs.values()]
    [again] = train_arms([ARM], tmp_path, prefix="x-", changes=TINY)
    assert [run.folder.last_metrics() for run in again.runs.values()] == before
    with pytest.raises(InputError, match=r"run 'x-lr-small-0' in .* has other settings"):
        train_arms([ARM], tmp_path, prefix="x-", changes={**TINY, "train.lr": 0.1})


def test_a_seed_that_fails_is_told_and_keeps_its_last_good_checkpoint(tmp_path: Path):
    [trained] = train_arms([ARM], tmp_path, n_seeds=1, changes={**TINY, "train.optimizer": "sgd", "train.lr": 1e30})
    assert "step" in trained.failed[0]
    assert trained.runs[0].folder.checkpoint_steps()[0] == 0


def test_a_change_is_one_value_of_one_field():
    assert change("train.lr=1e-3") == ("train.lr", 0.001)
    assert change("train.n-batch=64") == ("train.n_batch", 64)
    assert change("model.attention=relu") == ("model.attention", "relu")
    with pytest.raises(InputError, match=r"a change must give one value; got 'train.lr=1,2'"):
        change("train.lr=1,2")


def test_the_interval_over_seeds_is_students():
    told = over_seeds([1.0, 2.0, 4.0, None, math.nan])
    assert (told["mean"], told["least"], told["most"], told["n"]) == (pytest.approx(7 / 3), 1.0, 4.0, 3)
    half = 4.302652730 * math.sqrt(7 / 3) / math.sqrt(3)  # t of two degrees of freedom, variance 7/3
    assert told["ci"] == pytest.approx([7 / 3 - half, 7 / 3 + half])
    assert over_seeds([2.0])["ci"] is None
    assert over_seeds([])["mean"] is None
