"""What is told of a run that is too short for its own settings."""

from dataclasses import replace
from typing import Any

import pytest

from workbench.tasks import TASKS
from workbench.training.config import RunConfig, preset_config
from workbench.training.schedule import d_active, learning_rate, n_active
from workbench.training.too_short import too_short


def demo(**changes: Any) -> RunConfig:
    config = preset_config("linear_regression", "demo")
    return replace(config, train=replace(config.train, **changes)).resolved()


@pytest.mark.parametrize("task", TASKS)
def test_nothing_is_told_of_any_preset(task: str):
    told = {name: too_short(preset_config(task, name).resolved()) for name in TASKS[task].presets}
    assert told == dict.fromkeys(told, "")


def test_a_preset_cut_short_is_told_in_one_line_with_fields_values_and_ways_out():
    told = too_short(demo(n_steps=40))
    # the learning rate is highest as the decay begins, after 21 of 68 updates of warm-up; 39 // 33 = 1 coordinate came
    assert told == (
        "train.n_steps 40 is short for other settings of this run: with train.warmup_steps 68 and train.decay_fraction "
        "0.5 the learning rate reaches 31% of train.lr at most (give --train.warmup-steps 2); with train.d_start 2, "
        "train.d_every 33 the last update uses 3 of 4 input coordinates (give --train.d-every 19 or "
        "--train.d-start None)."
    )
    assert too_short(demo(n_steps=40, warmup_steps=2, d_every=19)) == ""
    assert too_short(demo(n_steps=40, warmup_steps=2, d_start=None)) == ""


@pytest.mark.parametrize(
    ("changes", "is_told"),
    [
        ({"n_steps": 67, "schedule": "constant"}, True),
        ({"n_steps": 68, "schedule": "constant"}, False),
        ({"n_steps": 10**9, "warmup_steps": 10**9 + 1}, True),
        ({"n_steps": 10**9}, False),
        ({"n_steps": 400, "warmup_steps": 300, "schedule": "cosine", "decay_fraction": 1.0}, True),
        ({"n_steps": 400, "warmup_steps": 10, "schedule": "cosine", "decay_fraction": 1.0}, False),
        ({"n_steps": 1, "warmup_steps": 0}, False),
    ],
)
def test_a_warm_up_is_told_if_the_learning_rate_stays_far_from_its_peak(changes: dict[str, Any], is_told: bool):
    config = demo(**{"d_start": None, "checkpoint_every": None, **changes})
    assert ("train.warmup_steps" in too_short(config)) == is_told
    if config.train.n_steps < 1000:  # and every update says the same
        top = max(learning_rate(step, config.train).item() for step in range(config.train.n_steps))
        assert (top < 0.9 * config.train.lr or config.train.warmup_steps > config.train.n_steps) == is_told


@pytest.mark.parametrize("n_steps", [1, 2, 6, 10, 18, 19, 27, 28, 39, 40, 60])
@pytest.mark.parametrize("n_add", [1, 3, 20])
def test_the_curriculum_told_to_end_does_end_and_is_told_only_where_it_does_not(n_steps: int, n_add: int):
    growing = {"d_start": 1, "d_every": 9, "n_start": 2, "n_every": 5, "n_add": n_add}
    config = demo(n_steps=n_steps, warmup_steps=0, **growing)
    told = too_short(config)
    assert ("train.d_start" in told) == (d_active(n_steps - 1, 4, config.train) < 4)
    assert ("train.n_start" in told) == (n_active(n_steps - 1, 12, config.train) < 12)
    every = {
        f"{part}_every": int(word.split()[0]) for part in "dn" for word in told.split(f"--train.{part}-every ")[1:]
    }
    ended = replace(config.train, **every)
    for part, active, whole in (("d", d_active, 4), ("n", n_active, 12)):
        name = f"{part}_every"
        assert name not in every or active(n_steps - 1, whole, ended) == whole
        if name in every:  # and it is the largest that does
            longer = replace(ended, **{name: every[name] + 1})
            assert active(n_steps - 1, whole, longer) < whole
