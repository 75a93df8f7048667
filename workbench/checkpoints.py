"""Checkpoints of a run: complete or not there, and every byte checked when it is read.

step-00001000/{model.safetensors, train_state.pt, MANIFEST.json}

``RunFolder`` is what others ask: it finds the folder and knows which config they must belong to.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.configs import is_count
from workbench.errors import InputError
from workbench.files import aside, open_file, read_json, sync, write_bytes, write_json

if TYPE_CHECKING:
    from torch import Tensor

_STEP = re.compile(r"step-([0-9]{8,15})\Z")
_WEIGHTS, _STATE, _MANIFEST = "model.safetensors", "train_state.pt", "MANIFEST.json"
_SCHEMA = "mesascope/checkpoint/1"


def _path(checkpoints: Path, step: int) -> Path:
    return checkpoints / f"step-{step:08d}"


def steps_in(checkpoints: Path) -> list[int]:
    """Steps with a complete checkpoint, in order."""
    found = (_STEP.match(path.name) for path in checkpoints.glob("step-*"))
    steps = {int(match[1]) for match in found if match}
    return sorted(step for step in steps if (_path(checkpoints, step) / _MANIFEST).is_file())


def write_checkpoint(
    checkpoints: Path, step: int, weights: "Mapping[str, Tensor]", state: Mapping[str, Any], config_sha256: str
) -> None:
    """Add a checkpoint: written aside, its manifest last, then renamed into place."""
    from workbench.tensors import state_to_bytes, weights_to_bytes

    final = _path(checkpoints, step)
    unfinished = aside(final)
    content = {_WEIGHTS: weights_to_bytes(weights), _STATE: state_to_bytes(state)}
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    try:
        unfinished.mkdir(parents=True)
        for name, data in content.items():
            write_bytes(unfinished / name, data)
        manifest = {"schema": _SCHEMA, "step": step, "files": sums, "config_sha256": config_sha256}
        write_json(unfinished / _MANIFEST, manifest)
        shutil.rmtree(final, ignore_errors=True)
        os.rename(unfinished, final)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    sync(checkpoints)


def remove_checkpoint(checkpoints: Path, step: int) -> None:
    """Remove a checkpoint: it is whole until it is gone."""
    unfinished = aside(_path(checkpoints, step))
    os.rename(_path(checkpoints, step), unfinished)
    shutil.rmtree(unfinished)


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint, read.

    Attributes:
        checkpoints: The folder in which it lies.
        step: Updates done.
        config_sha256: Of the config that it must belong to.
    """

    checkpoints: Path
    step: int
    config_sha256: Any

    def weights(self) -> "dict[str, Tensor]":
        """The weights.

        Raises:
            InputError: If they are not what the manifest says.
        """
        from workbench.tensors import weights_from_bytes

        content = self._content(_WEIGHTS)
        try:
            return weights_from_bytes(content)
        except ValueError as error:
            raise InputError(f"{self._file(_WEIGHTS)} must be a safetensors file of weights; {error}.") from error

    def train_state(self) -> dict[str, Any]:
        """What training needs beside the weights; read without executing anything.

        Raises:
            InputError: If it is not what the manifest says, is of another step, or holds more than tensors and plain
                values.
        """
        from workbench.tensors import state_from_bytes

        content, path = self._content(_STATE), self._file(_STATE)
        try:
            state = state_from_bytes(content)
        except ValueError as error:
            raise InputError(
                f"{path} must hold tensors and plain values only; {error}. Delete the folder {path.parent.name}."
            ) from error
        step = state.get("step", self.step)
        if not is_count(step, at_least=0) or step != self.step:
            raise InputError(
                f"{path} must be of step {self.step}; it is of step {str(step)[:80]}. "
                f"Delete the folder {path.parent.name} to fall back on an earlier checkpoint."
            )
        return state

    def weights_sha256(self) -> str:
        """Checksum of the weights, from the manifest."""
        return self._sums()[_WEIGHTS]

    def _file(self, name: str) -> Path:
        return _path(self.checkpoints, self.step) / name

    def _content(self, name: str) -> bytes:
        """A file that matches its checksum."""
        path, expected = self._file(name), self._sums()[name]
        try:
            with open_file(path) as file:
                content = file.read()
        except OSError:
            content = None
        if content is None or hashlib.sha256(content).hexdigest() != expected:
            raise InputError(
                f"{path} must match its checksum in {_MANIFEST}; it is missing, truncated or damaged. "
                f"Delete the folder {path.parent.name} to fall back on an earlier checkpoint."
            )
        return content

    def _sums(self) -> dict[str, str]:
        """Checksums of the files, from the manifest."""
        path = self._file(_MANIFEST)
        manifest = read_json(path)
        if manifest.get("schema") != _SCHEMA:
            raise InputError(f"{path} must have schema {_SCHEMA!r}; got {manifest.get('schema')!r}. Update mesascope.")
        if manifest.get("config_sha256") != self.config_sha256:
            raise InputError(f"{path} must belong to this run's config; it comes from another run.")
        if manifest.get("step") != self.step:
            raise InputError(f"{path} must be of step {self.step}; it is of step {manifest.get('step')!r}.")
        sums = manifest.get("files")
        if not isinstance(sums, dict) or not all(isinstance(sums.get(name), str) for name in (_WEIGHTS, _STATE)):
            raise InputError(f"{path} must list {_WEIGHTS} and {_STATE} with their checksums; got {sums!r}.")
        return sums
