"""Who lives, and one at a time."""

import fcntl
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

HOST = platform.node()
"""This machine's name: ids of processes on another one mean nothing here."""
_LONGEST_SILENCE = 120.0
"""Seconds without a sign of life after which a process on another machine counts as gone."""


def started(pid: int) -> float | None:
    """When the living process with this id started (Unix time); None if there is none."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except (psutil.Error, ValueError):
        return None


def alive(pid: int | None, pid_started: float | None, host: str, last_sign: float) -> bool:
    """Whether the process lives that had this id and started then: a recycled id is another process.

    Args:
        pid: Its id.
        pid_started: When it started (Unix time).
        host: Its machine.
        last_sign: When it last gave a sign of life (Unix time); decides if it is on another machine.
    """
    if host != HOST:
        return time.time() - last_sign < _LONGEST_SILENCE
    if pid is None or pid_started is None:
        return False
    now = started(pid)
    return now is not None and abs(now - pid_started) < 1.0


def n_together() -> int:
    """How many processes torchrun started together with this one, itself included; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def leads() -> bool:
    """Whether this process speaks for all that torchrun started with it."""
    return n_together() == 1 or os.environ.get("RANK") == "0"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time inside; the system unlocks when a process dies."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
