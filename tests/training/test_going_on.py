"""k updates and the rest are N updates, to the last bit, with one thread and with two."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers import tiny_config, tiny_run
from tests.training.test_loop import assert_same_run
from workbench.models.config import TransformerConfig
from workbench.runs import RunFolder
from workbench.tasks import LinearRegression
from workbench.training.config import RunConfig
from workbench.training.loop import Progress, train


def wide_config(n_threads: int) -> RunConfig:
    """Eight updates, a checkpoint after four, large enough for torch to use two threads: it does from 32768 numbers."""
    small = tiny_config(n_batch=64, log_every=1, n_steps=8, checkpoint_every=4, n_threads=n_threads)
    task, model = LinearRegression(d_input=5, n_context=10), TransformerConfig(n_layers=2, d_model=64, n_heads=2)
    return replace(small, task=task, model=model).resolved()


@pytest.fixture(scope="module", params=[1, 2], ids=["one thread", "two threads"])
def uninterrupted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tiny_run(tmp_path_factory.mktemp("runs"), "whole", wide_config(request.param))
    assert train(folder) == "finished"
    return folder


@pytest.mark.parametrize("step", [1, 3, 4, 5], ids=["the first", "before a save", "at a save", "after a save"])
def test_a_run_stopped_after_an_update_ends_as_if_it_had_not_been(uninterrupted: RunFolder, tmp_path: Path, step: int):
    folder = RunFolder.create(tmp_path / "stopped", uninterrupted.config(), {})

    def stop(progress: Progress) -> None:
        if progress.step == step:
            signal.raise_signal(signal.SIGINT)

    assert train(folder, stop) == "stopped"
    assert folder.checkpoint_steps()[-1] == step
    assert train(folder) == "finished"
    assert_same_run(folder, uninterrupted)
