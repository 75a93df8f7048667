"""The table of runs: one row per run folder, read again only where its files have changed."""

import math
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dashboards.file_cache import FileCache, Stamp, stamp_of
from workbench.errors import InputError
from workbench.opened import open_inside
from workbench.run_names import NAME
from workbench.runs import RunFolder, Status, has_traces
from workbench.tasks import TASKS
from workbench.training.config import SCHEMA, check_schema

Stamps = tuple[Stamp, ...]


@dataclass(frozen=True)
class RunRow:
    """One line of the table of runs.

    Attributes:
        name: The folder's name.
        task: The task in words.
        state: As in `Status`, or ``damaged``, or ``unread`` where there was no time yet.
        step: Updates done.
        n_steps: Updates in all.
        loss: Loss of the last logged step, or None.
        excess: The same minus that of least squares on the same prompts, or None.
        created: Unix time.
        updated: Unix time of the last sign of life.
        error: What is wrong, in a sentence, or None.
        version: Rises whenever anything above changes, over all rows of a store.
    """

    name: str
    task: str = ""
    state: str = "damaged"
    step: int = 0
    n_steps: int = 0
    loss: float | None = None
    excess: float | None = None
    created: float = 0.0
    updated: float = 0.0
    error: str | None = None
    version: int = field(default=0, compare=False)


class RunTable:
    """The rows of a runs folder.

    Args:
        root: The runs folder; it may be missing.
        files: What was read of them.
    """

    def __init__(self, root: Path, files: FileCache) -> None:
        self._root = root
        self._files = files
        self._lock = threading.RLock()
        self._version = 0
        self._rows: dict[str, tuple[Stamps, RunRow]] = {}

    def names(self) -> list[str]:
        """Names of all runs, damaged ones among them, sorted."""
        return sorted(entry.name for entry in self._entries())

    def rows(self, budget_s: float = math.inf) -> list[RunRow]:
        """One row per run, newest first. A folder that cannot be read becomes a row with a sentence.

        Args:
            budget_s: Time after which runs not seen before are listed with state ``unread``; the next call
                goes on with them.
        """
        deadline = time.monotonic() + budget_s
        with self._lock:
            entries = sorted(((self._stamps(entry), entry) for entry in self._entries()), key=_newest_first)
            found = [self._row(entry, stamps, deadline) for stamps, entry in entries]
            self._rows = {row.name: self._rows[row.name] for row in found if row.name in self._rows}
        return found

    def row(self, name: str) -> RunRow:
        """The line of one run.

        Raises:
            InputError: If there is no such run.
        """
        with self._lock:
            entry = next((e for e in self._entries() if e.name == name), None)
            if entry is None:
                raise InputError(f"run {name!r} is gone from {self._root}.")
            return self._row(entry, self._stamps(entry))

    def _entries(self) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self._root) as entries:
                named = [entry for entry in entries if NAME.match(entry.name)]
        except OSError:
            return []
        return [entry for entry in named if has_traces(entry.path)]

    def _stamps(self, entry: os.DirEntry[str]) -> Stamps:
        folder = RunFolder(Path(entry.path))
        return tuple(map(stamp_of, (folder.config_path, folder.status_path, folder.metrics_path)))

    def _row(self, entry: os.DirEntry[str], stamps: Stamps, deadline: float = math.inf) -> RunRow:
        kept = self._rows.get(entry.name)
        if kept is not None and kept[0] == stamps and kept[1].state != "running":
            return kept[1]
        if kept is None and time.monotonic() > deadline:
            return RunRow(entry.name, state="unread", created=_time(stamps[0]))
        row = self._read_row(entry, stamps)
        if kept is not None and kept[1] == row:
            row = kept[1]
        else:
            self._version += 1
            row = replace(row, version=self._version)
        self._rows[entry.name] = (stamps, row)
        return row

    def _read_row(self, entry: os.DirEntry[str], stamps: Stamps) -> RunRow:
        times = [stamp[0] / 1e9 for stamp in stamps if stamp is not None]
        row = RunRow(entry.name, created=_time(stamps[0]), updated=max(times, default=0.0))
        try:
            # Only a link can lead elsewhere: a plain entry of the root lies in it.
            folder = open_inside(self._root, entry.name) if entry.is_symlink() else RunFolder.open(Path(entry.path))
            row = replace(row, task=self._task(folder))
            return _with_progress(row, folder.status(), folder.last_metrics())
        except InputError as error:
            return replace(row, error=str(error))

    def _task(self, folder: RunFolder) -> str:
        data = self._files.read(folder.config_path, lambda _: folder.config())
        check_schema(data.get("schema"), SCHEMA)
        return task_words(data.get("task"))


def task_words(task: object) -> str:
    """A task in a few words: label and size.

    Args:
        task: Its part of a run's config.
    """
    if not isinstance(task, Mapping):
        return "unknown task"
    name = task.get("name")
    known = TASKS.get(name) if isinstance(name, str) else None
    told = [known.label if known else f"unknown task {str(name)[:100]!r}"]
    if "d_input" in task:
        told.append(f"d = {str(task['d_input'])[:20]}")
    if "n_context" in task:
        told.append(f"{str(task['n_context'])[:20]} examples")
    return ", ".join(told)


def _with_progress(row: RunRow, status: Status, line: Mapping[str, Any]) -> RunRow:
    updated = max(row.updated, status.heartbeat)
    loss, excess = _finite(line.get("loss")), _finite(line.get("excess"))
    told = {"state": status.state, "step": status.step, "n_steps": status.n_steps, "error": status.error}
    return replace(row, **told, loss=loss, excess=excess, updated=updated)


def _finite(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < float("inf") else None  # type: ignore[arg-type]


def _newest_first(found: tuple[Stamps, os.DirEntry[str]]) -> tuple[float, str]:
    stamps, entry = found
    return -_time(stamps[0]), entry.name


def _time(stamp: Stamp) -> float:
    return 0.0 if stamp is None else stamp[0] / 1e9
