"""What a run is doing, and who trains it: ``status.json`` and ``claim.json``.

``RunFolder`` is what others ask.
"""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from workbench.configs import from_data
from workbench.errors import InputError
from workbench.files import read_json, write_json
from workbench.processes import HOST, alive, locked

STATUS, CLAIM = "status.json", "claim.json"


@dataclass(frozen=True)
class Status:
    """What a run is doing.

    Attributes:
        state: ``running``, ``finished``, ``stopped`` (asked to), ``failed``, or ``killed`` (running by its own
            word, but its process is gone).
        step: Updates done.
        n_steps: Updates in all.
        heartbeat: Unix time of the last sign of life.
        error: Last error in one line, or None.
        pid: Process that wrote this.
        pid_started: Start time of that process, so that a recycled pid is not taken for it.
        host: Machine of that process; this one if not given.
    """

    state: str
    step: int
    n_steps: int
    heartbeat: float
    error: str | None = None
    pid: int | None = None
    pid_started: float | None = None
    host: str | None = None


@dataclass(frozen=True)
class _Claim:
    """Who trains a run, and since when (Unix time)."""

    pid: int
    pid_started: float
    host: str
    since: float


def write_status(folder: Path, state: str, step: int, n_steps: int, error: str | None) -> None:
    """Replace the status; this process signs it."""
    me = psutil.Process()
    status = Status(state, step, n_steps, time.time(), error, me.pid, me.create_time(), HOST)
    write_json(folder / STATUS, vars(status))


def read_status(folder: Path) -> Status:
    """The status, with ``killed`` for a run whose process is gone.

    Raises:
        InputError: If it is damaged.
    """
    path = folder / STATUS
    if not path.exists():
        return Status("new", 0, 0, 0.0)
    status = from_data(Status, read_json(path), str(path))
    lives = alive(status.pid, status.pid_started, status.host or HOST, status.heartbeat)
    if status.state == "running" and not lives:
        return Status("killed", status.step, status.n_steps, status.heartbeat, status.error)
    return status


def take_claim(folder: Path) -> None:
    """Take a run for this process; a claim of a dead process is taken over.

    Raises:
        InputError: If a living process holds it, its claim is damaged, or the folder cannot be written.
    """
    me = psutil.Process()
    mine = _Claim(me.pid, me.create_time(), HOST, time.time())
    try:
        with locked(folder):
            _refuse_if_held(folder)
            write_json(folder / CLAIM, vars(mine))
    except OSError as error:
        raise InputError(f"{folder} must be writable; {error.strerror}.") from error


def _refuse_if_held(folder: Path) -> None:
    path = folder / CLAIM
    if not path.exists():
        return
    held = from_data(_Claim, read_json(path), str(path))
    here = held.host == HOST
    last_sign = held.since if here else max(held.since, read_status(folder).heartbeat)
    if alive(held.pid, held.pid_started, held.host, last_sign):
        where = "" if here else f" on {held.host}"
        raise InputError(f"run {folder.name!r} is being trained by process {held.pid}{where}. Wait for it or stop it.")


def give_back(folder: Path) -> None:
    """Remove the claim."""
    with suppress(FileNotFoundError), locked(folder):
        (folder / CLAIM).unlink()
