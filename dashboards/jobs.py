"""Long work that a page starts: the command line's own commands, as processes of their own."""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from workbench.errors import InputError
from workbench.runs import RunFolder

_AT_ONCE = 2
_TOLD = 4000
"""Characters of a failed command's standard error that are looked at."""


@dataclass
class Job:
    """One process.

    Attributes:
        running: Whether it still works.
        error: What went wrong, in a sentence, once it has failed.
    """

    running: bool = True
    error: str | None = None
    done: threading.Event = field(default_factory=threading.Event)


def agree_command(path: str, step: int) -> list[str]:
    """The command line's ``agree`` on one checkpoint, under the Python that runs this."""
    return [sys.executable, "-m", "workbench.cli", "agree", path, "--step", str(step), "--json"]


class Jobs:
    """The processes started from this app, by run and checkpoint.

    Args:
        command: From run path and step to what is executed; tests pass their own.
    """

    def __init__(self, command: Callable[[str, int], Sequence[str]] = agree_command) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._jobs: dict[tuple[str, int], Job] = {}

    def find(self, name: str, step: int) -> Job | None:
        """The last job for a checkpoint, if any was started."""
        with self._lock:
            return self._jobs.get((name, step))

    def start(self, folder: RunFolder, step: int) -> Job:
        """Compute the agreement record of a checkpoint; does nothing while that is being done.

        Raises:
            InputError: If there is no such checkpoint, or too many jobs are running.
        """
        folder.resolve_step(step)
        with self._lock:
            kept = self._jobs.get((folder.name, step))
            if kept is not None and kept.running:
                return kept
            if sum(job.running for job in self._jobs.values()) >= _AT_ONCE:
                raise InputError(f"at most {_AT_ONCE} computations may run at once. Wait for one to finish.")
            job = self._jobs[folder.name, step] = Job()
        arguments = list(self._command(str(folder.path.resolve()), step))
        threading.Thread(target=_watch, args=(job, arguments), daemon=True).start()
        return job


def _watch(job: Job, arguments: Sequence[str]) -> None:
    """Run a command to its end and note how it went."""
    try:
        with tempfile.TemporaryFile() as told:
            status = subprocess.run(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=told,
                start_new_session=True,
                check=False,
                env={"OMP_WAIT_POLICY": "passive", **os.environ},
            ).returncode
            told.seek(max(0, told.tell() - _TOLD))
            if status:
                job.error = _last_sentence(told.read().decode(errors="replace"), status)
    except OSError as error:
        job.error = f"the computation could not start; {error.strerror}."
    finally:
        job.running = False
        job.done.set()


def _last_sentence(told: str, status: int) -> str:
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return lines[-1][:500] if lines else f"the computation ended with status {status} and said nothing."
