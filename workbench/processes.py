"""Who lives, and one at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


def alive(pid: int | None, started: float | None) -> bool:
    """Whether the process lives that had this id and started then (Unix time): a recycled id is another process."""
    if pid is None or started is None:
        return False
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError):
        return False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time inside; the system unlocks when a process dies."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
