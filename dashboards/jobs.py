"""Long work that a page starts: the command line's own commands, as processes of their own."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from workbench.errors import InputError
from workbench.runs import RunFolder

_AT_ONCE = 2
_TOLD = 500
"""Characters of a command's line that are told."""
_LONGEST_LINE = 2**16


@dataclass
class Job:
    """One process.

    Attributes:
        running: Whether it still works.
        error: What went wrong, in a sentence, once it has failed.
        said: The last line that it said, which names the stage.
        process: What runs, once it does.
    """

    running: bool = True
    error: str | None = None
    said: str = ""
    process: subprocess.Popen[bytes] | None = None
    done: threading.Event = field(default_factory=threading.Event)


def agree_command(path: str, step: int | None) -> list[str]:
    """The command line's ``agree`` on one checkpoint, or on a run, under the Python that runs this."""
    which = [] if step is None else ["--step", str(step)]
    return [sys.executable, "-m", "workbench.cli", "agree", path, *which, "--json"]


def theory_command(path: str, step: int | None) -> list[str]:
    """The command line's ``theory`` in the same way."""
    which = [] if step is None else ["--step", str(step)]
    return [sys.executable, "-m", "workbench.cli", "theory", path, *which, "--json"]


def heads_command(path: str, step: int | None) -> list[str]:
    """The command line's ``heads`` in the same way."""
    which = [] if step is None else ["--step", str(step)]
    return [sys.executable, "-m", "workbench.cli", "heads", path, *which, "--json"]


def probe_command(path: str, step: int | None) -> list[str]:
    """The command line's ``probe`` in the same way; runs beside which it probes lie in the same folder."""
    which = [] if step is None else ["--step", str(step)]
    root = str(Path(path).parent)
    return [sys.executable, "-m", "workbench.cli", "probe", path, *which, "--runs", root, "--json"]


def steer_command(path: str, step: int | None) -> list[str]:
    """The command line's ``steer`` in the same way."""
    which = [] if step is None else ["--step", str(step)]
    return [sys.executable, "-m", "workbench.cli", "steer", path, *which, "--json"]


class Jobs:
    """The processes started from this app, by run, checkpoint and what else is asked for.

    Args:
        command: From run path and step to what is executed; tests pass their own.
    """

    def __init__(self, command: Callable[[str, int | None], Sequence[str]] = agree_command) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._jobs: dict[tuple[str, int | None, tuple[str, ...]], Job] = {}

    def find(self, name: str, step: int | None, asked: Sequence[str] = ()) -> Job | None:
        """The last job for a checkpoint, or for a run, if any was started."""
        with self._lock:
            return self._jobs.get((name, step, tuple(asked)))

    def start(self, folder: RunFolder, step: int | None, asked: Sequence[str] = ()) -> Job:
        """Compute what is kept of a checkpoint; does nothing while that is being done.

        Args:
            folder: The run.
            step: The checkpoint; None where the run is meant.
            asked: Further words of the command: what else to compute.

        Raises:
            InputError: If there is no such checkpoint, or too many jobs are running.
        """
        folder.resolve_step(step)
        with self._lock:
            kept = self._jobs.get((folder.name, step, tuple(asked)))
            if kept is not None and kept.running:
                return kept
            if sum(job.running for job in self._jobs.values()) >= _AT_ONCE:
                raise InputError(f"at most {_AT_ONCE} computations may run at once. Wait for one to finish.")
            job = self._jobs[folder.name, step, tuple(asked)] = Job()
        arguments = [*self._command(str(folder.path.resolve()), step), *asked]
        threading.Thread(target=_watch, args=(job, arguments), daemon=True).start()
        return job


def _watch(job: Job, arguments: Sequence[str]) -> None:
    """Run a command to its end, noting what it says and how it went."""
    try:
        with subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={"OMP_WAIT_POLICY": "passive", **os.environ},
        ) as process:
            assert process.stderr is not None
            job.process = process
            for line in iter(partial(process.stderr.readline, _LONGEST_LINE), b""):
                job.said = line.decode(errors="replace").strip()[:_TOLD] or job.said
        if process.returncode:
            job.error = job.said or f"the computation ended with status {process.returncode} and said nothing."
    except OSError as error:
        job.error = f"the computation could not start; {error.strerror}."
    finally:
        job.running = False
        job.done.set()
