"""Commands in processes of their own: equal in all of them, and safe from kill -9, signals, and each other."""

import os
import random
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.helpers import tiny_run
from tests.training.processes import Commands, commands, wait_until
from tests.training.test_loop import assert_same_run
from workbench.errors import InputError
from workbench.runs import RunFolder, run_names

INTERVAL = 20
LONG = {"n_steps": 300, "checkpoint_every": INTERVAL, "log_every": 1, "n_threads": 1}
SHORT = {"log_every": 1, "n_threads": 1}


@pytest.fixture(scope="module")
def outside() -> Iterator[Commands]:
    with commands() as all_of_them:
        yield all_of_them


@pytest.fixture(scope="module")
def long(outside: Commands, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """An uninterrupted run of 300 steps."""
    folder = tiny_run(tmp_path_factory.mktemp("runs"), "whole", **LONG)
    outside.finish(folder)
    return folder


@pytest.fixture(scope="module")
def short(outside: Commands, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """An uninterrupted run of 12 steps with a checkpoint every 4."""
    folder = tiny_run(tmp_path_factory.mktemp("runs"), "whole", **SHORT)
    outside.finish(folder)
    return folder


def again(whole: RunFolder, root: Path, name: str = "again") -> RunFolder:
    """The same run before its first step."""
    return RunFolder.create(root / name, whole.config(), {})


def assert_nothing_left_over(folder: RunFolder) -> None:
    assert list(folder.path.rglob(".tmp-*")) == []
    assert not (folder.path / "claim.json").exists()


def test_the_same_config_gives_the_same_run_in_every_process_and_another_seed_another(
    outside: Commands, tmp_path: Path
):
    one, two = (tiny_run(tmp_path, name) for name in ("one", "two"))
    other = tiny_run(tmp_path, "other", seed=1)
    for folder in (one, two, other):
        outside.finish(folder)
    assert_same_run(one, two)
    assert one.weights_sha256() == two.weights_sha256() != other.weights_sha256()


# Killed at random moments


def kill_and_go_on(outside: Commands, folder: RunFolder, n_kills: int, moments: random.Random) -> int:
    """Kill the training of a run at random moments, go on each time, and train it to its end; how often it died."""
    killed = 0
    while killed < n_kills:
        before = folder.checkpoint_steps()
        pid = outside.train(folder)
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
    outside.finish(folder)
    assert_nothing_left_over(folder)
    return killed


def is_trained_by(folder: RunFolder, pid: int) -> bool:
    """Whether the process has got to its first update, or is gone already."""
    return folder.status().pid == pid or not psutil.pid_exists(pid)


def test_a_run_killed_at_five_random_moments_ends_as_if_it_had_not_been(
    outside: Commands, long: RunFolder, tmp_path: Path
):
    folder = again(long, tmp_path)
    killed = kill_and_go_on(outside, folder, 5, random.Random(0))
    assert killed >= 3, "too fast a machine for this test: raise n_steps"
    assert_same_run(folder, long)


@pytest.mark.slow
def test_runs_killed_at_fifty_random_moments_end_as_if_they_had_not_been(
    outside: Commands, long: RunFolder, tmp_path: Path
):
    moments, killed, n_runs = random.Random(1), 0, 0
    while killed < 50:
        folder = again(long, tmp_path, f"run-{n_runs}")
        killed += kill_and_go_on(outside, folder, 5, moments)
        assert_same_run(folder, long)
        n_runs += 1
        assert n_runs < 40, "too fast a machine for this test: raise n_steps"


# Killed at a chosen one: before a change to the disk

SAVED_8, SAVED_12 = (rf"os.rename .*/checkpoints/{step}\Z" for step in ("step-00000008", "step-00000012"))
CLAIM, STATUS, METRICS = (rf".*/{name}\.jsonl?\Z" for name in ("claim", "status", "metrics"))
PLACES = {
    "before the claim": ([f"open {CLAIM}"], []),
    "before the claim takes its name": ([f"os.rename {CLAIM}"], []),
    "before a checkpoint's folder": (["os.mkdir .*/step-00000008"], [0, 4]),
    "between its files": ([r"open .*/step-00000008/train_state\.pt"], [0, 4]),
    "before its manifest": ([r"open .*/step-00000008/MANIFEST\.json"], [0, 4]),
    "between writing and renaming": ([SAVED_8], [0, 4]),
    "right after renaming": ([SAVED_8, ".*"], [0, 4, 8]),
    "before the next metrics": ([SAVED_8, f"open {METRICS}"], [0, 4, 8]),
    "before the last status": ([SAVED_12, f"open {STATUS}"], [0, 4, 8, 12]),
    "before the last status takes its name": ([SAVED_12, f"os.rename {STATUS}"], [0, 4, 8, 12]),
    "before the claim is given back": ([f"os.remove {CLAIM}"], [0, 4, 8, 12]),
}


@pytest.mark.parametrize(("patterns", "kept"), PLACES.values(), ids=PLACES)
def test_a_run_killed_inside_a_write_keeps_the_checkpoints_before_and_ends_as_if_it_had_not_been(
    outside: Commands, short: RunFolder, tmp_path: Path, patterns: list[str], kept: list[int]
):
    folder = again(short, tmp_path)
    pid = outside.train(folder, die_before=patterns)
    assert outside.exit_code(pid) == -signal.SIGKILL, outside.said(pid)
    assert folder.checkpoint_steps() == kept
    for step in kept:
        assert folder.train_state(step)["step"] == step
        assert folder.weights(step).keys() == short.weights(step).keys()
    outside.finish(folder)
    assert_same_run(folder, short)
    assert_nothing_left_over(folder)


@pytest.mark.parametrize(
    "pattern",
    ["shutil.rmtree .*/step-00000008", f"open {METRICS}", f"os.rename {METRICS}", f"os.rename {STATUS}"],
    ids=["while sweeping", "before cutting the metrics", "while cutting the metrics", "before the status"],
)
def test_a_run_killed_again_while_it_goes_on_ends_as_if_it_had_not_been(
    outside: Commands, short: RunFolder, tmp_path: Path, pattern: str
):
    folder = again(short, tmp_path)
    for place in (SAVED_8, pattern):
        pid = outside.train(folder, die_before=[place])
        assert outside.exit_code(pid) == -signal.SIGKILL, outside.said(pid)
        assert folder.checkpoint_steps() == [0, 4]
    outside.finish(folder)
    assert_same_run(folder, short)
    assert_nothing_left_over(folder)


@pytest.mark.slow
def test_a_run_killed_before_any_change_to_the_disk_ends_as_if_it_had_not_been(outside: Commands, tmp_path: Path):
    few = {"n_steps": 3, "checkpoint_every": 2, **SHORT}
    whole = tiny_run(tmp_path, "whole", **few)
    outside.finish(whole)
    died = 0
    while True:
        folder = again(whole, tmp_path, f"run-{died}")
        inside = rf"\S+ (?!/)|\S+ {folder.path}/"  # a path without root is one inside a folder that is being removed
        pid = outside.train(folder, die_before=[inside] * (died + 1))
        if outside.exit_code(pid) == 0:
            break
        died += 1
        outside.finish(folder)
        assert_same_run(folder, whole)
        assert_nothing_left_over(folder)
    assert died > 30, "three checkpoints of four renames each, and what is around them"


@pytest.mark.parametrize("pattern", [r"open .*/new/env\.json", r"os.rename .*/new\Z"], ids=["inside", "at its end"])
def test_a_run_whose_making_is_killed_is_not_there_and_its_name_is_free(
    outside: Commands, short: RunFolder, tmp_path: Path, pattern: str
):
    command = ["train", "linear_regression", "--config", short.config_path, "--runs", tmp_path, "--out", "new"]
    pid = outside.start(command, die_before=[pattern])
    assert outside.exit_code(pid) == -signal.SIGKILL, outside.said(pid)
    assert run_names(tmp_path) == []
    with pytest.raises(InputError, match="no run at"):
        RunFolder.open(tmp_path / "new")
    pid = outside.start(command)
    assert outside.exit_code(pid) == 0, outside.said(pid)
    assert os.listdir(tmp_path) == ["new"]
    assert_same_run(RunFolder.open(tmp_path / "new"), short)


# Asked to stop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_asked_to_stop_saves_and_says_so(
    outside: Commands, long: RunFolder, tmp_path: Path, number: signal.Signals
):
    folder = again(long, tmp_path)
    pid = outside.train(folder)
    wait_until(lambda: len(folder.metrics()) > 10 or not psutil.pid_exists(pid))
    os.kill(pid, number)
    assert outside.exit_code(pid) == 130, outside.said(pid)
    assert "Traceback" not in outside.said(pid)
    status = folder.status()
    assert status.state == "stopped"
    assert 0 < status.step < LONG["n_steps"]
    assert folder.checkpoint_steps()[-1] == status.step
    assert f"next: mesascope train --resume {folder.path}" in outside.said(pid)
    outside.finish(folder)
    assert_same_run(folder, long)


# Two at once


def test_of_two_processes_that_go_on_with_a_run_one_does_and_the_other_says_which(
    outside: Commands, long: RunFolder, tmp_path: Path
):
    folder = again(long, tmp_path)
    first = outside.train(folder)
    wait_until(lambda: folder.metrics())
    second = outside.train(folder)
    assert outside.exit_code(second) == 2
    assert f"run 'again' is being trained by process {first}. Wait for it or stop it." in outside.said(second)
    assert "Traceback" not in outside.said(second)
    assert outside.exit_code(first) == 0, outside.said(first)
    assert_same_run(folder, long)


def test_of_processes_that_make_the_same_run_at_once_one_does_and_the_others_say_that_it_is_there(
    outside: Commands, short: RunFolder, tmp_path: Path
):
    command = ["train", "linear_regression", "--config", short.config_path, "--runs", tmp_path, "--out", "new"]
    pids = [outside.start(command) for _ in range(4)]
    by_code = {pid: outside.exit_code(pid) for pid in pids}
    assert sorted(by_code.values()) == [0, 2, 2, 2]
    for pid, code in by_code.items():
        assert code == 0 or "run 'new' exists already" in outside.said(pid)
    assert os.listdir(tmp_path) == ["new"]
    assert_same_run(RunFolder.open(tmp_path / "new"), short)


# Not allowed to write


def test_a_checkpoint_that_may_not_be_written_is_a_failure_told_in_one_line(
    outside: Commands, short: RunFolder, tmp_path: Path
):
    if not outside.obeys_permissions:
        pytest.skip("root may write everywhere here")
    folder = again(short, tmp_path)
    outside.exit_code(outside.train(folder, die_before=["os.mkdir .*/step-00000008"]))
    (folder.path / "checkpoints").chmod(0o555)
    pid = outside.train(folder)
    assert outside.exit_code(pid) == 1
    *_, told = outside.said(pid).splitlines()
    assert "cannot be written (Permission denied); the last checkpoint is kept" in told
    assert "Traceback" not in outside.said(pid)
    status = folder.status()
    assert (status.state, status.step, folder.checkpoint_steps()) == ("failed", 4, [0, 4])
    (folder.path / "checkpoints").chmod(0o755)
    outside.finish(folder)
    assert_same_run(folder, short)


def test_a_run_that_may_not_be_written_is_not_trained(outside: Commands, short: RunFolder, tmp_path: Path):
    if not outside.obeys_permissions:
        pytest.skip("root may write everywhere here")
    folder = again(short, tmp_path)
    folder.path.chmod(0o555)
    pid = outside.train(folder)
    assert outside.exit_code(pid) == 2
    folder.path.chmod(0o755)
    assert f"{folder.path} must be writable; Permission denied" in outside.said(pid)
    assert folder.status().state == "new"
