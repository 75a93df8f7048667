"""Learning rate, curriculum and checkpoints as functions of the step, against values worked out by hand."""

import math
from dataclasses import replace

import pytest
import torch

from tests.helpers import tiny_config
from workbench.configs import with_values
from workbench.errors import InputError
from workbench.training.config import TrainConfig, checkpoint_steps
from workbench.training.replicas import train_numbers
from workbench.training.schedule import d_active, learning_rate, n_active

PLAIN = TrainConfig(n_steps=10, lr=1.0)


def rates(**settings: object) -> list[float]:
    config = replace(PLAIN, **settings)  # type: ignore[arg-type]
    return [learning_rate(step, config).item() for step in range(config.n_steps)]


def test_a_constant_rate_stays():
    assert rates() == [1.0] * 10
    assert rates(lr=0.003) == [0.003] * 10


def test_warm_up_rises_linearly_and_reaches_the_peak_at_its_last_update():
    assert rates(warmup_steps=4) == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]
    assert rates(warmup_steps=1) == [1.0] * 10


def test_a_linear_decay_ends_one_update_before_the_final_rate():
    assert rates(schedule="linear") == pytest.approx([1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    assert rates(schedule="linear", lr_final=0.5) == pytest.approx([1 - 0.05 * step for step in range(10)])


def test_a_decay_over_the_last_part_leaves_a_plateau():
    found = rates(schedule="linear", decay_fraction=0.4, lr_final=0.2)
    assert found == pytest.approx([1, 1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4])


def test_a_cosine_decay_follows_half_a_cosine():
    found = rates(schedule="cosine", decay_fraction=0.4, lr_final=0.2)
    eighth = (1 + math.sqrt(0.5)) / 2
    assert found == pytest.approx([1, 1, 1, 1, 1, 1, 1, 0.2 + 0.8 * eighth, 0.6, 0.2 + 0.8 * (1 - eighth)])


def test_a_decay_shorter_than_one_update_never_comes():
    assert rates(schedule="linear", decay_fraction=0.01) == [1.0] * 10


def test_warm_up_and_decay_multiply():
    assert rates(warmup_steps=4, schedule="linear")[:4] == pytest.approx([0.25, 0.5 * 0.9, 0.75 * 0.8, 0.7])


def test_one_more_coordinate_comes_into_use_every_so_often():
    config = replace(PLAIN, d_start=2, d_every=3)
    assert [d_active(step, 4, config) for step in range(10)] == [2, 2, 2, 3, 3, 3, 4, 4, 4, 4]


def test_some_more_examples_come_into_use_every_so_often():
    config = replace(PLAIN, n_start=3, n_every=4, n_add=2)
    assert [n_active(step, 6, config) for step in range(10)] == [3, 3, 3, 3, 5, 5, 5, 5, 6, 6]


def test_everything_is_in_use_without_a_curriculum():
    assert d_active(0, 7, PLAIN) == 7
    assert n_active(0, 9, PLAIN) == 9


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_replicas_each_have_their_own_rate_and_curriculum(schedule: str):
    configs = [
        TrainConfig(n_steps=10, schedule=schedule, lr=lr, lr_final=lr / 9, warmup_steps=w, decay_fraction=f, d_start=d)
        for lr, w, f, d in ((1.0, 0, 1.0, 1), (0.1, 3, 0.3, 2))
    ]
    runs = [replace(tiny_config(), train=config) for config in configs]
    together = with_values(configs[0], train_numbers(runs, torch.device("cpu")))
    for step in range(10):
        alone = [learning_rate(torch.tensor(step), config).item() for config in configs]
        assert learning_rate(torch.tensor(step), together).tolist() == pytest.approx(alone, rel=1e-14)
        dimensions = [int(d_active(step, 2, config)) for config in configs]
        assert d_active(torch.tensor(step), 2, together).tolist() == dimensions


def test_checkpoints_are_log_spaced_periodic_first_and_last():
    config = TrainConfig(n_steps=100, checkpoint_every=30, checkpoints_per_decade=2)
    assert checkpoint_steps(config) == [0, 1, 3, 10, 30, 32, 60, 90, 100]


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"checkpoint_every": None, "checkpoints_per_decade": 0}, [0, 50]),
        ({"checkpoint_every": 25, "checkpoints_per_decade": 0}, [0, 25, 50]),
        ({"checkpoint_every": 1000, "checkpoints_per_decade": 0}, [0, 50]),
        ({"checkpoint_every": None, "checkpoints_per_decade": 1}, [0, 1, 10, 50]),
        ({"checkpoint_every": None, "checkpoints_per_decade": 4}, [0, 1, 2, 3, 6, 10, 18, 32, 50]),
        ({"n_steps": 1}, [0, 1]),
        ({"n_steps": 1000, "checkpoint_every": None, "checkpoints_per_decade": 1}, [0, 1, 10, 100, 1000]),
    ],
)
def test_checkpoints_come_at_these_steps(settings: dict, steps: list[int]):
    assert checkpoint_steps(TrainConfig(**{"n_steps": 50, **settings})) == steps


def test_more_checkpoints_than_can_be_listed_are_refused():
    with pytest.raises(InputError, match="checkpoint_every must be at least 300 with n_steps 300000000"):
        TrainConfig(n_steps=300_000_000, checkpoint_every=299)
    assert TrainConfig(n_steps=300_000_000, checkpoint_every=300).checkpoint_every == 300
