"""Training in processes that can be killed, forked from one that has everything imported: they start at once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from workbench.runs import RunFolder

_SERVER = """
import os, sys, traceback
from pathlib import Path
from workbench.runs import RunFolder
import torch._dynamo  # what the first optimizer step imports
from workbench.training.loop import train

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        try:
            train(RunFolder(Path(line.rstrip())))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Trainer:
    """Trains runs, each in a fresh process, one at a time."""

    server: "subprocess.Popen[str]"

    def start(self, folder: RunFolder) -> int:
        """The id of a process that trains the run."""
        assert self.server.stdin is not None
        self.server.stdin.write(f"{folder.path}\n")
        self.server.stdin.flush()
        return self._read()

    def exit_code(self) -> int:
        """The exit code of the process that was started last, once it has ended; minus the signal that killed it."""
        return self._read()

    def kill(self, pid: int) -> int:
        """The exit code after ``kill -9``."""
        os.kill(pid, signal.SIGKILL)
        return self.exit_code()

    def finish(self, folder: RunFolder) -> None:
        """Train a run to its end."""
        self.start(folder)
        assert self.exit_code() == 0

    def _read(self) -> int:
        assert self.server.stdout is not None
        return int(self.server.stdout.readline())


@contextmanager
def trainer() -> Iterator[Trainer]:
    """A trainer, gone afterwards."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        yield Trainer(server)
        server.communicate()


def wait_until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Return as soon as the condition holds.

    Raises:
        TimeoutError: If it does not within the time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{condition} did not come true in {seconds} s")
        time.sleep(0.005)
