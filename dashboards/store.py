"""RunStore: read-only, cached access to a folder of runs."""

import json
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from circuits.heads import HeadsConfig
from circuits.kept_models import kept_patterns, model_names, record_paths
from circuits.of_runs import ANALYSIS as HEADS
from circuits.of_runs import SCHEMA as HEADS_SCHEMA
from circuits.of_runs import prompt_patterns, settings_of
from circuits.prompt_patterns import PromptPatterns
from dashboards.probe_studies import Study, studies
from dashboards.steering_studies import Steering, steerings
from probes.results import PROBES
from probes.results import SCHEMA as PROBE_SCHEMA
from probes.steering_results import SCHEMA as STEERING_SCHEMA
from probes.steering_results import STEERING
from workbench.agreement import record as agreement_record
from workbench.agreement.over_training import check_table
from workbench.agreement.record import SCHEMA as AGREEMENT_SCHEMA
from workbench.analyses import (
    AGREEMENT,
    AGREEMENT_CODE,
    FORGETTING,
    FORGETTING_SCHEMA,
    MEASURES,
    MEASURES_SCHEMA,
    OVER_TRAINING,
    THEORY,
    THEORY_SCHEMA,
    with_current_verdicts,
)
from workbench.errors import InputError
from workbench.files import read_json
from workbench.opened import Run, open_inside
from workbench.run_names import NAME
from workbench.runs import RunFolder, Status, has_traces
from workbench.tasks import TASKS, TokenTask
from workbench.training.config import SCHEMA as RUN_SCHEMA
from workbench.training.config import check_schema

_BESIDE = {MEASURES: MEASURES_SCHEMA, FORGETTING: FORGETTING_SCHEMA}
_KEPT_PATTERNS = 8
"""Checkpoints and prompts whose patterns are kept in memory."""
_PLANTED = "planted_confusion.json"
T = TypeVar("T")
Stamp = tuple[int, int] | None
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


@dataclass(frozen=True)
class Agreements:
    """Kept records of one analysis of a run.

    Attributes:
        records: Newest record of each checkpoint, in order of steps.
        faults: Sentences on records that cannot be read.
    """

    records: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelRecords:
    """Kept head records of a language model.

    Attributes:
        records: By key, the newest last.
        faults: Sentences on records that cannot be read.
    """

    records: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


class RunStore:
    """A runs folder as the app and the report see it. Runs are only read; what has not changed is not read again.

    Args:
        root: The runs folder; it may be missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._lock = threading.RLock()
        self._kept: dict[Path, tuple[Stamp, Any]] = {}
        self._version = 0
        self._rows: dict[str, tuple[Stamps, RunRow]] = {}
        self._patterns: dict[tuple[str, str, HeadsConfig, int], list[PromptPatterns]] = {}
        self._model_patterns: dict[tuple[str, str], list[PromptPatterns]] = {}

    # The table

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

    def _entries(self) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.root) as entries:
                named = [entry for entry in entries if NAME.match(entry.name)]
        except OSError:
            return []
        return [entry for entry in named if has_traces(entry.path)]

    def _stamps(self, entry: os.DirEntry[str]) -> Stamps:
        folder = RunFolder(Path(entry.path))
        return tuple(map(_stamp, (folder.config_path, folder.status_path, folder.metrics_path)))

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
            folder = self.folder(entry.name) if entry.is_symlink() else RunFolder.open(Path(entry.path))
            row = replace(row, task=self._task(folder))
            return _with_progress(row, folder.status(), folder.last_metrics())
        except InputError as error:
            return replace(row, error=str(error))

    def _task(self, folder: RunFolder) -> str:
        data = self._read(folder.config_path, lambda _: folder.config())
        check_schema(data.get("schema"), RUN_SCHEMA)
        return task_words(data.get("task"))

    # One run

    def folder(self, name: str) -> RunFolder:
        """The run of that name; a model of the zoo becomes one, the only thing that is ever written here.

        Raises:
            InputError: If it is not a run's name, leads elsewhere, or there is no such run.
        """
        return open_inside(self.root, name)

    def row(self, name: str) -> RunRow:
        """The run's line in the table.

        Raises:
            InputError: If there is no such run.
        """
        self.folder(name)
        with self._lock:
            entry = next((e for e in self._entries() if e.name == name), None)
            if entry is None:
                raise InputError(f"run {name!r} is gone from {self.root}.")
            return self._row(entry, self._stamps(entry))

    def config(self, name: str) -> Mapping[str, Any]:
        """The resolved config as written.

        Raises:
            InputError: If the run is not there or its config is damaged.
        """
        folder = self.folder(name)
        return self._read(folder.config_path, lambda _: folder.config())

    def metrics(self, name: str) -> list[dict[str, Any]]:
        """All logged lines.

        Raises:
            InputError: If the run is not there or a line is damaged.
        """
        folder = self.folder(name)
        return self._read(folder.metrics_path, lambda _: folder.metrics())

    def checkpoints(self, name: str) -> list[int]:
        """Steps with a complete checkpoint, in order.

        Raises:
            InputError: If the run is not there.
        """
        return self.folder(name).checkpoint_steps()

    def agreements(self, name: str) -> Agreements:
        """Kept agreement records, and what is wrong with those that cannot be read.

        Raises:
            InputError: If the run is not there.
        """
        return self._records(name, AGREEMENT, AGREEMENT_SCHEMA)

    def theories(self, name: str) -> Agreements:
        """Kept theory records in the same way.

        Raises:
            InputError: If the run is not there.
        """
        return self._records(name, THEORY, THEORY_SCHEMA)

    def heads(self, name: str) -> Agreements:
        """Kept head records in the same way.

        Raises:
            InputError: If the run is not there.
        """
        return self._records(name, HEADS, HEADS_SCHEMA)

    def has_heads(self, name: str) -> bool:
        """Whether the run has any head record, by looking at file names alone."""
        return self._has(name, HEADS)

    def is_on_tokens(self, name: str) -> bool:
        """Whether the run's prompts are token ids, which heads are measured on.

        Raises:
            InputError: If the run is not there or its config is damaged.
        """
        config = self.config(name)
        task, model = config.get("task"), config.get("model")
        known = TASKS.get(str(task.get("name"))) if isinstance(task, Mapping) else None
        reads = model.get("input") if isinstance(model, Mapping) else None
        return isinstance(known, type) and issubclass(known, TokenTask) and reads == "tokens"

    def patterns(self, name: str, step: int, prompt: int) -> list[PromptPatterns]:
        """What heads attend to on a few prompts of the record of a checkpoint, run now and kept for a while.

        Args:
            name: The run.
            step: A checkpoint that has a head record.
            prompt: Number of the first prompt, from 0.

        Raises:
            InputError: If run, checkpoint or record is not there, or they are damaged.
        """
        record = self.heads(name).records.get(step)
        if record is None:
            raise InputError(f"heads of {name} at step {step} must be measured first; there is no record.")
        folder = self.folder(name)
        config = settings_of(record)
        key = (name, folder.weights_sha256(step), config, prompt)
        with self._lock:
            if key not in self._patterns:
                self._patterns[key] = prompt_patterns(Run(folder), step, prompt, config)
                for old in list(self._patterns)[:-_KEPT_PATTERNS]:
                    del self._patterns[old]
            return self._patterns[key]

    def model_names(self) -> list[str]:
        """Names of the language models of which head records are kept, sorted."""
        return model_names(self.root)

    def model_heads(self, name: str) -> ModelRecords:
        """Kept head records of a language model, and what is wrong with those that cannot be read.

        Raises:
            InputError: If it cannot be a model's name.
        """
        records: dict[str, Mapping[str, Any]] = {}
        faults = []
        for key, path in record_paths(self.root, name).items():
            try:
                record = self._read(path, read_json)
                check_schema(record.get("schema"), HEADS_SCHEMA)
                records[key] = record
            except InputError as error:
                faults.append(str(error))
        return ModelRecords(records, tuple(faults))

    def model_patterns(self, name: str, key: str) -> list[PromptPatterns]:
        """What heads of a language model attend to on the prompts kept beside a record.

        Raises:
            InputError: If there are none, or they are damaged.
        """
        with self._lock:
            if (name, key) not in self._model_patterns:
                self._model_patterns[name, key] = kept_patterns(self.root, name, key)
                for old in list(self._model_patterns)[:-_KEPT_PATTERNS]:
                    del self._model_patterns[old]
            return self._model_patterns[name, key]

    def probes(self, name: str) -> tuple[tuple[Study, ...], tuple[str, ...]]:
        """Kept probe studies, the last added to at the end, and what is wrong with records that cannot be read.

        Raises:
            InputError: If the run is not there.
        """
        records, faults = self._checked(name, PROBES, PROBE_SCHEMA, studies)
        return studies(records), faults

    def steering(self, name: str) -> tuple[tuple[Steering, ...], tuple[str, ...]]:
        """What is kept of replacing and erasing, the last made at the end, and what is wrong with other records.

        Raises:
            InputError: If the run is not there.
        """
        records, faults = self._checked(name, STEERING, STEERING_SCHEMA, steerings)
        return steerings(records), faults

    def _checked(
        self, name: str, analysis: str, schema: str, check: Callable[[Sequence[Mapping[str, Any]]], object]
    ) -> tuple[list[Mapping[str, Any]], tuple[str, ...]]:
        """Records that ``check`` takes, oldest first, and what is wrong with the others."""
        records, faults = [], []
        for path in self.folder(name).result_paths(analysis):
            try:
                record = self._read(path, read_json)
                check_schema(record.get("schema"), schema)
                check([record])
                records.append({**record, "run": name})
            except InputError as error:
                faults.append(f"{path}: {error}")
            except (AttributeError, KeyError, TypeError, ValueError):
                faults.append(f"{path} must hold a record of analysis {analysis!r}; it is damaged. Delete it.")
        return records, tuple(faults)

    def has_probes(self, name: str) -> bool:
        """Whether the run has any probe record, by looking at file names alone."""
        return self._has(name, PROBES)

    def _records(self, name: str, analysis: str, schema: str) -> Agreements:
        paths = self.folder(name).result_paths(analysis)
        records: dict[int, Mapping[str, Any]] = {}
        faults = []
        for path in paths:
            try:
                record = self._read(path, read_json)
                check_schema(record.get("schema"), schema)
                records[int(record["checkpoint"])] = record
            except InputError as error:
                faults.append(str(error))
            except (KeyError, TypeError, ValueError):
                faults.append(f"{path} must hold a record of analysis {analysis!r}; it names no checkpoint.")
        return Agreements(dict(sorted(records.items())), tuple(faults))

    def beside(self, name: str, analysis: str) -> Mapping[tuple[int, bool], Mapping[str, Any]]:
        """Newest record of an analysis beside agreement, by checkpoint and whether through the final norm.

        Args:
            name: The run.
            analysis: ``measures`` or ``forgetting``.

        Raises:
            InputError: If the run is not there.
        """
        found: dict[tuple[int, bool], Mapping[str, Any]] = {}
        for path in self.folder(name).result_paths(analysis):
            try:
                record = self._read(path, read_json)
                check_schema(record.get("schema"), _BESIDE[analysis])
                if "best_steps" in record:  # else of an older version
                    found[int(record["checkpoint"]), bool(record["final_norm"])] = record
            except (InputError, KeyError, TypeError, ValueError):
                continue  # computed anew when asked for
        return found

    def over_training(self, name: str) -> Mapping[str, Any] | None:
        """The newest table over training of a run, or None.

        Raises:
            InputError: If the run is not there, or the table is damaged.
        """
        paths = self.folder(name).result_paths(OVER_TRAINING)
        if not paths:
            return None
        table = self._read(paths[-1], read_json)
        try:
            check_table(table)
        except ValueError as error:
            raise InputError(f"{paths[-1]} must be a table over training; {error}. Delete it.") from error
        return {**with_current_verdicts(table), "run": name}

    def has_theory(self, name: str) -> bool:
        """Whether the run has any theory record, by looking at file names alone."""
        return self._has(name, THEORY)

    def _has(self, name: str, analysis: str) -> bool:
        try:
            return bool(self.folder(name).result_paths(analysis))
        except InputError:
            return False

    def has_agreement(self, name: str) -> bool:
        """Whether the run has any agreement record, by looking at file names alone."""
        return self._has(name, AGREEMENT)

    def _read(self, path: Path, load: Callable[[Path], T]) -> T:
        """What ``load`` returned for the file as it is now; called again once the file has changed."""
        stamp = _stamp(path)
        with self._lock:
            kept = self._kept.get(path)
        if kept is None or kept[0] != stamp:
            try:
                value: Any = load(path)
            except InputError as error:
                value = error
            kept = (stamp, value)
            with self._lock:
                self._kept[path] = kept
        if isinstance(kept[1], InputError):
            raise InputError(str(kept[1]))
        return kept[1]


def planted_confusion(path: Path | None = None) -> Mapping[str, Any] | None:
    """Verdicts on planted models that no rule was tuned on, by truth, if the benchmark's result is there.

    Its ``former`` says whether rules have changed since.

    Args:
        path: Its file; the one that the package brings if None.
    """
    path = path or Path(agreement_record.__file__).with_name(_PLANTED)
    try:
        kept = json.loads(path.read_bytes())
        found, former = kept["held_out"], kept.get("code") != AGREEMENT_CODE
        rows, width = len(found["truths"]), len(found["verdicts"])
        counts = [[int(count) for count in row] for row in found["counts"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    fits = len(counts) == rows and all(len(row) == width for row in counts)
    return {**found, "counts": counts, "former": former} if fits else None


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


def _stamp(path: str | Path) -> Stamp:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _newest_first(found: tuple[Stamps, os.DirEntry[str]]) -> tuple[float, str]:
    stamps, entry = found
    return -_time(stamps[0]), entry.name


def _time(stamp: Stamp) -> float:
    return 0.0 if stamp is None else stamp[0] / 1e9
