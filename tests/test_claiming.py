"""Who trains a run: one process at a time, and the others are told which; the dead hold nothing."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers import NOBODY, tiny_run
from workbench import run_status
from workbench.errors import InputError
from workbench.files import read_json, write_json
from workbench.processes import HOST
from workbench.runs import RunFolder
from workbench.training.loop import train

CLAIMER = """
import sys
from pathlib import Path
from workbench.runs import RunFolder
folder = RunFolder(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
try:
    folder.claim()
    folder.write_status("running", 3, 12)
    print("claimed", flush=True)
except ValueError as error:
    print(error, flush=True)
sys.stdin.readline()
"""


@contextmanager
def claimers(folder: RunFolder, n: int = 1) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that claim the run as soon as they read a line, say what came of it, and stay."""
    command = [sys.executable, "-c", CLAIMER, str(folder.path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(n)]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def claim_in(process: subprocess.Popen[str]) -> str:
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_a_second_claimer_is_told_who_trains_until_that_process_is_killed(tmp_path: Path):
    folder = tiny_run(tmp_path)
    with claimers(folder) as [process]:
        assert claim_in(process) == "claimed"
        with pytest.raises(InputError, match=f"run 'tiny' is being trained by process {process.pid}. Wait"):
            folder.claim()
        with pytest.raises(InputError, match=f"by process {process.pid}"):
            train(folder)
        assert folder.status().state == "running"
        process.kill()
        deadline = time.monotonic() + 5  # the process stays a zombie: nobody has waited for it
        while folder.status().state == "running" and time.monotonic() < deadline:
            time.sleep(0.01)
        status = folder.status()
        assert (status.state, status.step, status.n_steps, status.pid) == ("killed", 3, 12, None)
        assert train(folder) == "finished"


def change(path: Path, **changes: object) -> None:
    """Let a document say something else."""
    write_json(path, {**read_json(path), **changes})


def test_a_claim_of_another_process_with_the_same_id_is_taken_over(tmp_path: Path):
    folder = tiny_run(tmp_path)
    with claimers(folder) as [process]:
        claim_in(process)
        claim, status = folder.path / "claim.json", folder.path / "status.json"
        assert read_json(claim)["pid"] == process.pid
        change(claim, pid_started=read_json(claim)["pid_started"] - 3600)
        change(status, pid_started=read_json(status)["pid_started"] - 3600)
        assert folder.status().state == "killed"
        folder.claim()
        assert read_json(claim)["pid"] == os.getpid()
        folder.release()
        folder.claim()


def test_of_many_claimers_of_a_stale_claim_exactly_one_wins(tmp_path: Path):
    folder = tiny_run(tmp_path)
    folder.claim()
    change(folder.path / "claim.json", pid=NOBODY)
    with claimers(folder, 4) as processes:
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        told = [process.stdout.readline().strip() for process in processes]
        [winner] = [process for process, line in zip(processes, told) if line == "claimed"]
        others = [line for line in told if line != "claimed"]
        assert len(others) == 3
        assert all(f"is being trained by process {winner.pid}" in line for line in others)


@pytest.mark.parametrize("silent", [10, 3600])
def test_a_process_on_another_machine_holds_a_run_until_it_is_silent_for_two_minutes(tmp_path: Path, silent: float):
    folder = tiny_run(tmp_path)
    folder.claim()
    folder.write_status("running", 3, 12)
    long_ago = time.time() - 3600
    change(folder.path / "claim.json", host="elsewhere", pid=NOBODY, since=long_ago)
    change(folder.path / "status.json", host="elsewhere", pid=NOBODY, heartbeat=time.time() - silent)
    if silent > 120:
        assert folder.status().state == "killed"
        assert train(folder) == "finished"
    else:
        assert folder.status().state == "running"
        with pytest.raises(InputError, match=f"is being trained by process {NOBODY} on elsewhere. Wait for it or"):
            train(folder)


@pytest.mark.parametrize("fields", [{"pid": 1}, {"pid": "x"}, {"host": None}, {"more": 1}])
def test_a_claim_that_is_none_is_refused_by_the_files_name(tmp_path: Path, fields: dict[str, object]):
    folder = tiny_run(tmp_path)
    write_json(folder.path / "claim.json", fields)
    with pytest.raises(InputError, match=r"claim.json"):
        folder.claim()


def test_a_run_that_cannot_be_written_cannot_be_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def deny(*args: object) -> None:
        raise OSError(30, "Read-only file system")

    folder = tiny_run(tmp_path)
    monkeypatch.setattr(run_status, "write_json", deny)
    with pytest.raises(InputError, match=r"tiny must be writable; Read-only file system"):
        train(folder)


def test_a_status_keeps_its_error_and_who_wrote_it(tmp_path: Path):
    folder = tiny_run(tmp_path)
    folder.write_status("failed", 4, 12, "ValueError: no")
    status = folder.status()
    assert (status.state, status.step, status.n_steps, status.error) == ("failed", 4, 12, "ValueError: no")
    assert (status.pid, status.host) == (os.getpid(), HOST)
    assert abs(status.heartbeat - time.time()) < 5
