"""The run folder: what others ask for everything inside one, so that nobody else needs to know its file names.

config.json      resolved config, canonical JSON; reproduces the run
env.json         versions, command, machine, and the sha256 of config.json
status.json      state, process, heartbeat, step, last error
metrics.jsonl    one line per logged step
claim.json       who trains it now
checkpoints/     see checkpoints.py
results/<analysis>/<key>.{json,safetensors}
report.html
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.checkpoints import Checkpoint, remove_checkpoint, steps_in, write_checkpoint
from workbench.configs import canonical_json, digest
from workbench.errors import InputError
from workbench.files import read_json, read_object, sweep, sync, write_bytes, write_json
from workbench.new_runs import new_run
from workbench.run_metrics import METRICS, append_line, keep_until, last_line, read_lines
from workbench.run_names import NAME, check_name
from workbench.run_status import STATUS, Status, give_back, read_status, take_claim, write_status

if TYPE_CHECKING:
    from torch import Tensor

_CONFIG = "config.json"
_CHECKPOINTS = "checkpoints"
_TRACES = (_CONFIG, STATUS, METRICS, "env.json", _CHECKPOINTS)


class RunFolder:
    """One run on disk. Every write is atomic; everything read is checked."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def config_path(self) -> Path:
        """The resolved config."""
        return self.path / _CONFIG

    @property
    def status_path(self) -> Path:
        """The status."""
        return self.path / STATUS

    @property
    def metrics_path(self) -> Path:
        """The metrics."""
        return self.path / METRICS

    # Making and opening

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any], env: Mapping[str, Any]) -> "RunFolder":
        """A new run, complete or not there at all.

        Raises:
            InputError: If the name is not a run name, the folder exists, or it cannot be written.
        """
        with new_run(path) as folder:
            for each in (folder, folder / _CHECKPOINTS, folder / "results"):
                each.mkdir()
            write_bytes(folder / _CONFIG, (canonical_json(config) + "\n").encode())
            write_json(folder / "env.json", {**env, "config_sha256": digest(config)})
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """An existing run.

        Raises:
            InputError: If there is none; the message lists the runs beside it.
        """
        if not os.path.isfile(path / _CONFIG):
            known = ", ".join(run_names(path.parent)) or "none"
            raise InputError(f"no run at {path}; known in {path.parent}: {known}.")
        return cls(path)

    def config(self) -> dict[str, Any]:
        """The resolved config as written.

        Raises:
            InputError: If it does not match the checksum in env.json.
        """
        config = read_object(self.config_path)
        if digest(config) != self.env().get("config_sha256"):
            raise InputError(
                f"{self.path / 'config.json'} must match its checksum in env.json; it was changed or damaged."
            )
        return config

    def env(self) -> dict[str, Any]:
        """Versions, command and machine at creation."""
        return read_json(self.path / "env.json")

    @property
    def origin(self) -> dict[str, Any] | None:
        """Where the weights of a run that was not trained here come from; None for one that was."""
        origin = self.env().get("origin")
        return origin if isinstance(origin, dict) else None

    def check_trainable(self) -> None:
        """Refuse to train a run that came as weights alone.

        Raises:
            InputError: With the way to train such a model anew.
        """
        if self.origin is not None:
            raise InputError(
                f"run {self.name!r} must have been trained here to go on; it came as weights alone, without the state "
                f"of its optimizer. Train anew: mesascope train TASK --config {self.config_path}."
            )

    # Status and claim

    def write_status(self, state: str, step: int, n_steps: int, error: str | None = None) -> None:
        """Replace the status; this process signs it."""
        write_status(self.path, state, step, n_steps, error)

    def status(self) -> Status:
        """The status, with ``killed`` for a run whose process is gone.

        Raises:
            InputError: If it is damaged.
        """
        return read_status(self.path)

    def claim(self) -> None:
        """Take the run for this process; a claim of a dead process is taken over.

        Raises:
            InputError: If a living process holds it, its claim is damaged, or the folder cannot be written.
        """
        take_claim(self.path)

    def release(self) -> None:
        """Give the run back."""
        give_back(self.path)

    def sweep(self) -> None:
        """Remove what interrupted writes left behind. Only the holder of the claim may."""
        for folder in (self.path, self._checkpoints, *(self.path / "results").glob("*")):
            sweep(folder)

    # Metrics

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Add one line, handed to the system at once."""
        append_line(self.metrics_path, line)

    def metrics(self) -> list[dict[str, Any]]:
        """All lines; a torn last one is dropped.

        Raises:
            InputError: If another line is damaged, names no step, or holds anything but numbers.
        """
        return read_lines(self.metrics_path)

    def last_metrics(self) -> dict[str, Any]:
        """The last whole line, from the end of the file alone and unchecked; empty if there is none."""
        return last_line(self.metrics_path)

    def forget_after(self, step: int) -> None:
        """Remove checkpoints and metrics after a step: those that a resumed run will write again.

        Checkpoints go first, so that a run never has one beyond its metrics.
        """
        for later in reversed([known for known in self.checkpoint_steps() if known > step]):
            remove_checkpoint(self._checkpoints, later)
        self.truncate_metrics(step)

    def truncate_metrics(self, step: int) -> None:
        """Keep the lines of steps up to ``step`` only: those that a resumed run will not write again."""
        keep_until(self.metrics_path, step)

    # Checkpoints

    def checkpoint_steps(self) -> list[int]:
        """Steps with a complete checkpoint, in order."""
        return steps_in(self._checkpoints)

    def save_checkpoint(self, step: int, weights: "Mapping[str, Tensor]", state: Mapping[str, Any]) -> None:
        """Add a checkpoint, whole or not at all."""
        if self.metrics_path.exists():  # after a power cut, no line before a checkpoint may be missing
            sync(self.metrics_path)
        write_checkpoint(self._checkpoints, step, weights, state, self.env()["config_sha256"])

    def weights(self, step: int | None = None) -> "dict[str, Tensor]":
        """Weights of a checkpoint, the last one if ``step`` is None.

        Raises:
            InputError: If there is no such checkpoint or its content does not match its manifest.
        """
        return self._checkpoint(step).weights()

    def train_state(self, step: int | None = None) -> dict[str, Any]:
        """What training needs beside the weights; read without executing anything.

        Raises:
            InputError: If there is no such checkpoint, its content does not match its manifest, is of another step, or
                holds more than tensors and plain values.
        """
        return self._checkpoint(step).train_state()

    def weights_sha256(self, step: int | None = None) -> str:
        """Checksum of a checkpoint's weights, from its manifest: the identity of what an analysis ran on."""
        return self._checkpoint(step).weights_sha256()

    def resolve_step(self, step: int | None) -> int:
        """The step itself if it has a checkpoint; the last one for None.

        Raises:
            InputError: If it has none; the message lists those that exist.
        """
        steps = self.checkpoint_steps()
        if not steps:
            raise InputError(f"run {self.name!r} must have a checkpoint; it has none yet. Train it first.")
        if step is None:
            return steps[-1]
        if step not in steps:
            raise InputError(f"step must be a checkpoint of run {self.name!r}; got {step}. Known: {steps}.")
        return step

    @property
    def _checkpoints(self) -> Path:
        return self.path / _CHECKPOINTS

    def _checkpoint(self, step: int | None) -> Checkpoint:
        return Checkpoint(self._checkpoints, self.resolve_step(step), self.env().get("config_sha256"))

    # Results

    def save_result(self, analysis: str, key: str, payload: Mapping[str, Any]) -> None:
        """Keep a result under the hash of everything that it depends on."""
        folder = self.path / "results" / analysis
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"{key}.json", payload)

    def result(self, analysis: str, key: str) -> dict[str, Any] | None:
        """A kept result, or None.

        Raises:
            InputError: If it is damaged.
        """
        path = self.path / "results" / analysis / f"{key}.json"
        return read_json(path) if path.exists() else None

    def result_paths(self, analysis: str) -> list[Path]:
        """Files of all kept results of an analysis, oldest first."""
        found = (self.path / "results" / analysis).glob("[!.]*.json")
        return sorted(found, key=lambda path: path.stat().st_mtime)

    def results(self, analysis: str) -> list[dict[str, Any]]:
        """All kept results of an analysis, oldest first; damaged ones raise `InputError`."""
        return [read_json(path) for path in self.result_paths(analysis)]

    @property
    def report_path(self) -> Path:
        """Where the report goes."""
        return self.path / "report.html"

    def write_report(self, html: str) -> Path:
        """Replace the report."""
        write_bytes(self.report_path, html.encode())
        return self.report_path


def result_key(parts: Mapping[str, Any]) -> str:
    """The key of a result: a hash of all that it depends on."""
    return digest(parts)[:16]


def run_names(root: Path) -> list[str]:
    """Names of the runs in a runs folder, sorted."""
    try:
        entries = sorted(entry for entry in root.iterdir() if NAME.match(entry.name))
    except OSError:
        return []
    return [entry.name for entry in entries if (entry / _CONFIG).is_file()]


def has_traces(path: str) -> bool:
    """Whether a folder holds anything of a run, be it damaged."""
    return any(os.path.lexists(os.path.join(path, name)) for name in _TRACES)


def run_inside(root: Path, name: str) -> RunFolder:
    """The run of that name directly inside ``root``, wherever the name comes from.

    Raises:
        InputError: If the name is not a run name, leads elsewhere, or there is no such run.
    """
    path = root / check_name(name)
    if path.resolve().parent != root.resolve():
        raise InputError(f"run {name!r} must lie in {root}; it leads elsewhere.")
    return RunFolder.open(path)
