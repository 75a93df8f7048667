"""Training in processes of its own: equal in all of them, and safe from kill -9, SIGINT and SIGTERM."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.helpers import tiny_run
from tests.training.processes import Trainer, trainer, wait_until
from tests.training.test_loop import assert_same_run
from workbench.runs import RunFolder

INTERVAL = 20
LONG = {"n_steps": 300, "checkpoint_every": INTERVAL, "log_every": 1, "n_threads": 1}


@pytest.fixture(scope="module")
def outside() -> Iterator[Trainer]:
    with trainer() as one:
        yield one


@pytest.fixture(scope="module")
def uninterrupted(outside: Trainer, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tiny_run(tmp_path_factory.mktemp("runs"), "whole", **LONG)
    outside.finish(folder)
    return folder


def test_the_same_config_gives_the_same_run_in_every_process_and_another_seed_another(outside: Trainer, tmp_path: Path):
    one, two = (tiny_run(tmp_path, name) for name in ("one", "two"))
    other = tiny_run(tmp_path, "other", seed=1)
    for folder in (one, two, other):
        outside.finish(folder)
    assert_same_run(one, two)
    assert one.weights_sha256() == two.weights_sha256() != other.weights_sha256()


def kill_and_go_on(outside: Trainer, folder: RunFolder, n_kills: int, seed: int) -> None:
    """Kill the training of a run at random moments, go on each time, and train it to its end."""
    moments, killed = random.Random(seed), 0
    while killed < n_kills:
        before = folder.checkpoint_steps()
        pid = outside.start(folder)
        wait_until(partial(is_trained_by, folder, pid))
        time.sleep(moments.uniform(0, 0.25))
        if outside.kill(pid) == 0:
            break
        killed += 1
        assert folder.status().state == "killed"
        done, kept = max((line["step"] for line in folder.metrics()), default=0), folder.checkpoint_steps()
        assert set(before) <= set(kept), "no checkpoint is lost"
        assert done - (kept[-1] if kept else 0) <= INTERVAL + 1, "at most one interval is lost"
        if kept:
            assert folder.train_state()["step"] == kept[-1]
    assert killed >= 3, "too fast a machine for this test: raise n_steps"
    outside.finish(folder)
    assert list(folder.path.rglob(".tmp-*")) == []


def is_trained_by(folder: RunFolder, pid: int) -> bool:
    """Whether the process has got to its first update, or is gone already."""
    return folder.status().pid == pid or not psutil.pid_exists(pid)


def test_a_run_killed_at_five_random_moments_ends_as_if_it_had_not_been(
    outside: Trainer, uninterrupted: RunFolder, tmp_path: Path
):
    folder = RunFolder.create(tmp_path / "killed", uninterrupted.config(), {})
    kill_and_go_on(outside, folder, 5, seed=0)
    assert_same_run(folder, uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_runs_killed_at_many_random_moments_end_as_if_they_had_not_been(
    outside: Trainer, uninterrupted: RunFolder, tmp_path: Path, seed: int
):
    folder = RunFolder.create(tmp_path / "killed", uninterrupted.config(), {})
    kill_and_go_on(outside, folder, 6, seed)
    assert_same_run(folder, uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_asked_to_stop_saves_and_says_so(
    outside: Trainer, uninterrupted: RunFolder, tmp_path: Path, number: signal.Signals
):
    config = uninterrupted.path / "config.json"
    command = [sys.executable, "-m", "workbench.cli", "train", "linear_regression", "--config", str(config)]
    command += ["--out", "stopped", "--runs", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "stopped" / "metrics.jsonl"
    wait_until(lambda: process.poll() is not None or (metrics.exists() and len(metrics.read_bytes()) > 2000))
    os.kill(process.pid, number)
    said, noted = process.communicate(timeout=60)
    assert process.returncode == 130, noted
    assert "Traceback" not in noted
    folder = RunFolder.open(tmp_path / "stopped")
    status = folder.status()
    assert status.state == "stopped"
    assert 0 < status.step < LONG["n_steps"]
    assert folder.checkpoint_steps()[-1] == status.step
    assert f"next: mesascope train --resume {folder.path}" in said
    outside.finish(folder)
    assert_same_run(folder, uninterrupted)
