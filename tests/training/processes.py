"""Commands in processes that can be killed, forked from one that has everything imported: they start at once."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.runs import RunFolder

_ROOT = Path(__file__).parents[2]
_CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree")
_TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{8}-\d+-\d+-")


@dataclass(frozen=True)
class Commands:
    """Runs ``mesascope`` commands, each in a process of its own.

    Attributes:
        server: What they are forked from.
        notes: Folder of what they say.
        obeys_permissions: Whether files that forbid writing are not written, as root may.
    """

    server: "subprocess.Popen[str]"
    notes: Path
    obeys_permissions: bool

    def start(
        self,
        words: Sequence[object],
        die_before: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        fault: str = "",
    ) -> int:
        """Start a command; the id of its process.

        Args:
            words: Its arguments.
            die_before: Patterns of changes to the disk that are let through, in order, and last of the one before
                which it kills itself. A change is what is done, a space, and the path without marks of temporary
                files: ``os.rename .*/status.json``.
            environment: Variables that it has besides.
            fault: Name of what goes wrong in it: one of ``faults.FAULTS``.
        """
        order = {"words": list(map(str, words)), "die_before": list(die_before), "fault": fault}
        return self._ask({**order, "environment": environment or {}})

    def train(self, folder: RunFolder, die_before: Sequence[str] = ()) -> int:
        """Start ``mesascope train --resume`` on a run; the id of its process."""
        return self.start(["train", "--resume", folder.path], die_before)

    def exit_code(self, pid: int) -> int:
        """The exit code of a process, once it has ended; minus the signal that killed it."""
        return self._ask({"wait": pid})

    def kill(self, pid: int) -> int:
        """The exit code after ``kill -9``."""
        os.kill(pid, signal.SIGKILL)
        return self.exit_code(pid)

    def finish(self, folder: RunFolder) -> None:
        """Train a run to its end."""
        pid = self.train(folder)
        assert self.exit_code(pid) == 0, self.said(pid)

    def said(self, pid: int) -> str:
        """What a process wrote to its standard output and error."""
        return (self.notes / str(pid)).read_text()

    def _ask(self, order: Mapping[str, Any]) -> int:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(order) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())


@contextmanager
def commands() -> Iterator[Commands]:
    """Commands, gone afterwards."""
    bound = _without_roots_rights()
    words = [*(bound or []), sys.executable, "-m", "tests.training.processes"]
    with tempfile.TemporaryDirectory() as notes:
        with subprocess.Popen(
            [*words, notes], cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server:
            yield Commands(server, Path(notes), bound is not None)
            server.communicate()


def _without_roots_rights() -> list[str] | None:
    """What to put before a command so that permissions of files bind it; None if that cannot be had."""
    if os.geteuid() != 0:
        return []
    drop = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    try:
        subprocess.run([*drop, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return drop


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


# In the process that the others are forked from


def serve(notes: Path) -> None:
    """Answer each order on standard input with one number."""
    import torch._dynamo  # noqa: F401  # what the first update imports

    from tests.training import faults  # noqa: F401
    from workbench.cli import train  # noqa: F401
    from workbench.training import loop  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
        else:
            answer = os.fork() or run(notes, **order)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def run(
    notes: Path, words: Sequence[str], die_before: Sequence[str], environment: Mapping[str, str], fault: str
) -> int:
    """Be a command until its end."""
    from tests.training.faults import FAULTS
    from workbench.cli import main

    os.environ.update(environment)
    said = os.open(notes / str(os.getpid()), os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(said, stream)
    if fault:
        FAULTS[fault]()
    if die_before:
        sys.addaudithook(killer(die_before))
    status = 1
    try:
        status = main(words)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def killer(patterns: Sequence[str]) -> Callable[[str, tuple[Any, ...]], None]:
    """What Python calls before it changes the disk, among other things: kills this process before one such change."""
    waiting = list(patterns)

    def listen(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR))
        if not writes and event not in _CHANGES:
            return
        if re.match(waiting[0], f"{event} {_TEMPORARY.sub('', str(arguments[0]))}"):
            if len(waiting) == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            del waiting[0]

    return listen


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
