"""Processes that train, group of runs by group of runs, and the side that gives them their groups.

An order is a line of JSON with the paths of runs. The answers are lines with progress, and one with how each run ended,
in a pipe of their own: what libraries print goes to standard error. Nothing but the run folders is kept: a process may
die at any time.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.linalg import cpu_threads
from workbench.runs import RunFolder
from workbench.training.groups import train_group
from workbench.training.loop import STOPPED, MemoryRanOut, Progress, Report, TrainingFailed, stop_signals

_STDERR = 2
_ERRORS = {error.__name__: error for error in (InputError, TrainingFailed, MemoryRanOut)}


class WorkerDied(RuntimeError):
    """The process is gone before its answer."""


class Worker:
    """A process that trains with one thread, unless a run was made for more."""

    def __init__(self) -> None:
        answers, told = os.pipe()
        self._answers = os.fdopen(answers)
        words = [sys.executable, "-P", "-m", "workbench.training.workers", str(told)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": _STDERR, "pass_fds": [told]}
        try:
            # In a session of its own: Ctrl-C asks the command alone, which then asks its workers.
            self._process = subprocess.Popen(words, text=True, start_new_session=True, **pipes)
        finally:
            os.close(told)

    def train(self, runs: Sequence[RunFolder], report: Report) -> list[str | Exception]:
        """What ``train_group`` returns, from the process.

        Raises:
            WorkerDied: If it is killed meanwhile.
        """
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps([str(run.path.absolute()) for run in runs]) + "\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # told below, with its status
        for line in self._answers:
            answer = json.loads(line)
            if isinstance(answer, list):
                return [_state(each) for each in answer]
            report(Progress(**answer))
        raise WorkerDied(f"the process that trained it ended with status {self._process.wait()}")

    def stop(self) -> None:
        """Ask it to save what it trains, and to train nothing more."""
        self._process.terminate()

    def close(self) -> None:
        """Let it end; what it still trains, it saves."""
        self._answers.close()
        self._process.communicate()


def _state(told: dict[str, str]) -> str | Exception:
    if "state" in told:
        return told["state"]
    return _ERRORS.get(told["error"], RuntimeError)(told["because"])


# In the process


def main() -> None:
    """Answer each order on standard input, into the pipe that was given."""
    handle = int(sys.argv[1])
    os.set_inheritable(handle, False)  # else whatever it starts would keep the pipe open after its death
    with os.fdopen(handle, "w") as answers, stop_signals() as stop, cpu_threads(1):

        def tell(answer: Any) -> None:
            try:
                answers.write(json.dumps(answer) + "\n")
                answers.flush()
            except BrokenPipeError:  # nobody listens any more
                os.dup2(os.open(os.devnull, os.O_WRONLY), handle)
                signal.raise_signal(signal.SIGTERM)

        for line in sys.stdin:
            runs = [RunFolder(Path(path)) for path in json.loads(line)]
            states = [STOPPED] * len(runs) if stop.is_set() else train_group(runs, lambda told: tell(asdict(told)))
            tell([{"state": s} if isinstance(s, str) else _told(s) for s in states])


def _told(error: Exception) -> dict[str, str]:
    return {"error": type(error).__name__, "because": str(error)}


if __name__ == "__main__":
    main()
