"""Models of Garg et al. 2022 (arXiv:2208.01066), in the layout of their released code, as run folders.

A folder holds ``config.yaml``, ``state.pt`` (weights, optimizer, step) and ``model_<step>.pt`` (weights alone) of a
Hugging Face GPT-2 between two linear maps. Nothing in it is run.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
from torch import Tensor

from workbench.configs import is_count
from workbench.errors import InputError
from workbench.files import open_file
from workbench.importers.garg_config import CONFIG, GargConfig, read_config
from workbench.importers.garg_weights import renamed
from workbench.received import receive
from workbench.runs import RunFolder
from workbench.tensors import state_from_bytes

SOURCE = "the code of Garg et al. 2022, arXiv:2208.01066"
_STATE, _EXTRA = "state.pt", re.compile(r"model_([0-9]{1,9})\.pt")
_LARGEST_FILE = 2**31


@dataclass(frozen=True)
class Imported:
    """What became of a folder.

    Attributes:
        folder: The run.
        steps: Its checkpoints.
        notes: What the run does not say as the original did.
    """

    folder: RunFolder
    steps: tuple[int, ...]
    notes: tuple[str, ...]


def import_garg(source: Path, path: Path) -> Imported:
    """A run folder of a folder of theirs, complete or not there at all.

    A checkpoint is numbered as theirs: number n, of ``train_step`` or a file's name, has had n + 1 updates.

    Args:
        source: The folder with ``config.yaml``.
        path: Where the run will stand.

    Raises:
        InputError: If something is missing, of another shape or model, or more than plain tensors, or ``path`` exists.
    """
    config = read_config(source / CONFIG)
    files = _Files(source, config)
    notes = (*config.notes, *files.notes())
    origin = {"kind": "garg", "source": SOURCE, "files": files.sums, "config_yaml": config.text, "notes": list(notes)}
    last = files.steps[-1]
    finished = last + 1 >= config.training.train_steps
    folder = receive(path, config.run_config(), origin, files.checkpoints(), finished=finished)
    return Imported(folder, files.steps, notes)


class _Files:
    """The checkpoints of a folder, each looked at once; the checksums of those looked at stand in ``sums``."""

    def __init__(self, source: Path, config: GargConfig) -> None:
        self.source, self.config = source, config
        self.sums: dict[str, str] = {}
        names = sorted(entry.name for entry in source.iterdir())
        extra = {int(match[1]): name for name in names if (match := _EXTRA.fullmatch(name))}
        self._extra = extra
        self._unread = [name for name in names if name not in (CONFIG, _STATE, *extra.values())]
        self._state = self._read_state() if _STATE in names else None
        known = {*extra} if self._state is None else {*extra, self._state[0]}
        if not known:
            raise InputError(f"{source} must hold {_STATE} or a model_<step>.pt; it holds {_listed(names)}.")
        self.steps = tuple(sorted(known))
        for step in self.steps:
            if step >= config.training.train_steps:
                raise InputError(
                    f"{source} must hold checkpoints of steps below training.train_steps "
                    f"{config.training.train_steps} of {CONFIG}; got step {step}."
                )
        for name in extra.values():  # checksums go into env.json, which is written first
            self._read(name)

    def notes(self) -> Iterator[str]:
        """What of the folder is not in the run."""
        yield "weights alone: the optimizer's state is left out, and the run cannot be trained on"
        yield "checkpoint n has had n + 1 updates, as in the original"
        if self._unread:
            yield f"not read: {_listed(self._unread)}"

    def checkpoints(self) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """Steps and weights under our names, the steps rising."""
        for step in self.steps:
            extra = self._weights(self.source / self._extra[step]) if step in self._extra else None
            if self._state is None or step != self._state[0]:
                assert extra is not None, "a step is that of the state or of a file"
                yield step, extra
                continue
            weights = self._state[1]
            if extra is not None and any(not torch.equal(weights[name], extra[name]) for name in weights):
                raise InputError(
                    f"{self.source / self._extra[step]} must hold the weights of {_STATE}, which is of that step too; "
                    "they differ. Move one of the two away."
                )
            yield step, weights

    def _read_state(self) -> tuple[int, dict[str, Tensor]]:
        path = self.source / _STATE
        state = self._load(path)
        step, weights = state.get("train_step"), state.get("model_state_dict")
        if not isinstance(weights, dict) or not is_count(step, 0, 10**9):
            raise InputError(
                f"{path} must hold a model_state_dict and a whole number train_step; it holds {_listed(list(state))}."
            )
        assert isinstance(step, int)
        return step, renamed(weights, self.config.model, path)

    def _weights(self, path: Path) -> dict[str, Tensor]:
        return renamed(self._load(path), self.config.model, path)

    def _load(self, path: Path) -> dict[str, Any]:
        content = self._read(path.name)
        try:
            state = state_from_bytes(content)
        except ValueError as error:
            raise InputError(
                f"{path} must be a torch file of tensors and plain values alone; {error}. If you trust it, load it "
                "with torch elsewhere and save its tensors again with torch.save."
            ) from error
        damaged = _damage(content)
        if damaged:
            raise InputError(f"{path} must match its own checksums; {damaged} in it was damaged. Copy it anew.")
        return state

    def _read(self, name: str) -> bytes:
        path = self.source / name
        content = read_bytes(path, _LARGEST_FILE)
        found = sha256(content).hexdigest()
        if self.sums.setdefault(name, found) != found:
            raise InputError(f"{path} must not change while it is read.")
        return content


def _damage(content: bytes) -> str:
    """What of an archive does not match its checksum, or ""; torch itself compares none."""
    try:
        with ZipFile(BytesIO(content)) as archive:
            return archive.testzip() or ""
    except Exception:  # whatever a damaged archive makes its reader raise
        return "something"


def read_bytes(path: Path, at_most: int) -> bytes:
    """The whole file.

    Raises:
        InputError: If it cannot be read or is longer.
    """
    try:
        with open_file(path) as file:
            content = file.read(at_most + 1)
    except OSError as error:
        raise InputError(f"{path} must be readable; {error.strerror}.") from error
    if len(content) > at_most:
        raise InputError(f"{path} must have at most {at_most} bytes; it has more.")
    return content


def _listed(names: list[Any]) -> str:
    told = [str(name)[:60] for name in names[:10]]
    return ", ".join(told + ["..."] * (len(names) > 10)) or "nothing"
