"""How many threads a run gets."""

from dataclasses import replace

import pytest
import torch

from tests.helpers import tiny_config
from workbench.training.config import preset_config
from workbench.training.threads import sensible_threads


@pytest.fixture(autouse=True)
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 48)


@pytest.mark.parametrize(
    ("preset", "n_batch", "expected"), [("demo", 1, 1), ("demo", 16, 2), ("demo", 64, 8), ("demo", 10_000, 48)]
)
def test_a_small_model_needs_eight_prompts_for_a_thread(preset: str, n_batch: int, expected: int):
    config = preset_config("linear_regression", preset).resolved()
    assert sensible_threads(replace(config, train=replace(config.train, n_batch=n_batch))) == expected


def test_a_large_model_has_a_thread_for_every_prompt():
    paper = preset_config("linear_regression", "paper").resolved()
    assert sensible_threads(replace(paper, train=replace(paper.train, n_batch=5))) == 5


def test_a_given_number_is_taken():
    assert sensible_threads(tiny_config(n_batch=4, n_threads=3)) == 3
