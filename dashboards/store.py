"""RunStore: read-only, cached access to a folder of runs."""

import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from circuits.heads import HeadsConfig
from circuits.kept_models import kept_patterns, model_names, record_paths
from circuits.of_runs import ANALYSIS as HEADS
from circuits.of_runs import SCHEMA as HEADS_SCHEMA
from circuits.of_runs import prompt_patterns, settings_of
from circuits.prompt_patterns import PromptPatterns
from dashboards.file_cache import FileCache
from dashboards.kept_records import (
    Agreements,
    ModelRecords,
    beside_agreement,
    by_checkpoint,
    by_key,
    checked,
    table_over_training,
)
from dashboards.probe_studies import Study, studies
from dashboards.run_table import RunRow, RunTable
from dashboards.steering_studies import Steering, steerings
from probes.results import PROBES
from probes.results import SCHEMA as PROBE_SCHEMA
from probes.steering_results import SCHEMA as STEERING_SCHEMA
from probes.steering_results import STEERING
from workbench.agreement.record import SCHEMA as AGREEMENT_SCHEMA
from workbench.analyses import AGREEMENT, THEORY, THEORY_SCHEMA
from workbench.errors import InputError
from workbench.opened import Run, open_inside
from workbench.runs import RunFolder
from workbench.tasks import TASKS, TokenTask

_KEPT_PATTERNS = 8
"""Checkpoints and prompts whose patterns are kept in memory."""


class RunStore:
    """A runs folder as the app and the report see it. Runs are only read; what has not changed is not read again.

    Args:
        root: The runs folder; it may be missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._files = FileCache()
        self._table = RunTable(self.root, self._files)
        self._lock = threading.RLock()
        self._patterns: dict[tuple[str, str, HeadsConfig, int], list[PromptPatterns]] = {}
        self._model_patterns: dict[tuple[str, str], list[PromptPatterns]] = {}

    # The table

    def names(self) -> list[str]:
        """Names of all runs, damaged ones among them, sorted."""
        return self._table.names()

    def rows(self, budget_s: float = math.inf) -> list[RunRow]:
        """One row per run, newest first. A folder that cannot be read becomes a row with a sentence.

        Args:
            budget_s: Time after which runs not seen before are listed with state ``unread``; the next call
                goes on with them.
        """
        return self._table.rows(budget_s)

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
        return self._table.row(name)

    def config(self, name: str) -> Mapping[str, Any]:
        """The resolved config as written.

        Raises:
            InputError: If the run is not there or its config is damaged.
        """
        folder = self.folder(name)
        return self._files.read(folder.config_path, lambda _: folder.config())

    def metrics(self, name: str) -> list[dict[str, Any]]:
        """All logged lines.

        Raises:
            InputError: If the run is not there or a line is damaged.
        """
        folder = self.folder(name)
        return self._files.read(folder.metrics_path, lambda _: folder.metrics())

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
        return by_checkpoint(self._files, self.folder(name), AGREEMENT, AGREEMENT_SCHEMA)

    def theories(self, name: str) -> Agreements:
        """Kept theory records in the same way.

        Raises:
            InputError: If the run is not there.
        """
        return by_checkpoint(self._files, self.folder(name), THEORY, THEORY_SCHEMA)

    def heads(self, name: str) -> Agreements:
        """Kept head records in the same way.

        Raises:
            InputError: If the run is not there.
        """
        return by_checkpoint(self._files, self.folder(name), HEADS, HEADS_SCHEMA)

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
        return by_key(self._files, record_paths(self.root, name), HEADS_SCHEMA)

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
        records, faults = checked(self._files, self.folder(name), PROBES, PROBE_SCHEMA, studies)
        return studies(records), faults

    def steering(self, name: str) -> tuple[tuple[Steering, ...], tuple[str, ...]]:
        """What is kept of replacing and erasing, the last made at the end, and what is wrong with other records.

        Raises:
            InputError: If the run is not there.
        """
        records, faults = checked(self._files, self.folder(name), STEERING, STEERING_SCHEMA, steerings)
        return steerings(records), faults

    def has_probes(self, name: str) -> bool:
        """Whether the run has any probe record, by looking at file names alone."""
        return self._has(name, PROBES)

    def beside(self, name: str, analysis: str) -> Mapping[tuple[int, bool], Mapping[str, Any]]:
        """Newest record of an analysis beside agreement, by checkpoint and whether through the final norm.

        Args:
            name: The run.
            analysis: ``measures`` or ``forgetting``.

        Raises:
            InputError: If the run is not there.
        """
        return beside_agreement(self._files, self.folder(name), analysis)

    def over_training(self, name: str) -> Mapping[str, Any] | None:
        """The newest table over training of a run, or None.

        Raises:
            InputError: If the run is not there, or the table is damaged.
        """
        return table_over_training(self._files, self.folder(name))

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
