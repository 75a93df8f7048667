"""The other processes of a training on this machine: which of them are gone, and an end for this one when one is.

Sums that go over the CPU break when a process dies; those between accelerators wait, and a captured graph for ever.
Here the system tells of a death at once, whatever the dead process and this one were doing.
"""

import os
import select
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from workbench.errors import ProcessGone
from workbench.processes import HOST

_GRACE = 10.0
"""Seconds in which a process may end by itself after one of the others, before it is ended."""
_DYING = 0.5
"""Seconds that a process may take to be gone after its connections are."""


@dataclass(frozen=True)
class Others:
    """The other processes of a training.

    Attributes:
        rank: Number of this process.
        size: How many there are with it.
        handles: For those on this machine, by number, a file descriptor that can be read once the process has ended.
    """

    rank: int = 0
    size: int = 1
    handles: Mapping[int, int] = field(default_factory=dict)

    def gone(self, seconds: float | None = 0.0, also: Sequence[int] = ()) -> set[int]:
        """Numbers of those that have ended.

        Args:
            seconds: How long to wait for the first one; None for ever.
            also: Other file descriptors that end the wait when they can be read.
        """
        poll = select.poll()
        for handle in (*self.handles.values(), *also):
            poll.register(handle, select.POLLIN)
        ready = {handle for handle, _ in poll.poll(None if seconds is None else 1000 * seconds)}
        return {rank for rank, handle in self.handles.items() if handle in ready}

    def lost(self, because: str) -> ProcessGone:
        """What to raise where another process does not answer.

        Args:
            because: What was seen of it.
        """
        gone = self.gone(_DYING)
        who = (
            f"process {', '.join(map(str, sorted(gone)))} of this training"
            if gone
            else "another process of this training"
        )
        first_left = min(set(range(self.size)) - gone)
        return ProcessGone(
            f"{who} is gone ({because}); the last checkpoint is kept. Go on with --resume.",
            told_here=self.rank == first_left,
        )


NOBODY = Others()


def this_process() -> list[str | int]:
    """What others need to find this process: machine, space of process ids, process id."""
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return [HOST, space, os.getpid()]


@contextmanager
def known(rank: int, members: Sequence[Sequence[Any]]) -> Iterator[Others]:
    """The other processes, as long as they can be asked after.

    Args:
        rank: Number of this process.
        members: What each process said of itself: see ``this_process``.
    """
    handles: dict[int, int] = {}
    for other, (*place, pid) in enumerate(members):
        if other != rank and place == members[rank][:2]:
            with suppress(OSError, AttributeError):  # systems without such handles go by broken connections alone
                handles[other] = os.pidfd_open(pid)
    try:
        yield Others(rank, len(members), handles)
    finally:
        for handle in handles.values():
            os.close(handle)


@contextmanager
def watched(others: Others) -> Iterator[None]:
    """Inside, this process does not outlive another by more than some seconds, whatever it waits for."""
    over, end = os.pipe()
    watcher = threading.Thread(target=_watch, args=(others, over), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        os.close(end)
        watcher.join()
        os.close(over)


def _watch(others: Others, over: int) -> None:
    """End this process if it goes on after another has gone; return once the pipe ``over`` is closed."""
    if not others.gone(None, [over]):
        return
    told = select.poll()
    told.register(over, select.POLLIN)
    if not told.poll(1000 * _GRACE):
        error = others.lost("this one still waited for it")
        if error.told_here:
            os.write(2, f"{error}\n".encode())
        os._exit(1)
