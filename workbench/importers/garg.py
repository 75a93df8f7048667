"""Models of Garg et al. 2022 (arXiv:2208.01066), in the layout of their released code, as run folders.

A folder holds ``config.yaml``, ``state.pt`` (weights, optimizer, step) and ``model_<step>.pt`` (weights alone) of a
Hugging Face GPT-2 between two linear maps. Nothing in it is run.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.configs import is_count
from workbench.errors import InputError
from workbench.files import open_file
from workbench.importers.garg_config import CONFIG, GargConfig, GargModel, read_config
from workbench.received import receive
from workbench.runs import RunFolder
from workbench.tensors import state_from_bytes

SOURCE = "the code of Garg et al. 2022, arXiv:2208.01066"
_STATE, _EXTRA = "state.pt", re.compile(r"model_([0-9]{1,9})\.pt")
_LARGEST_FILE = 2**31
_NAMED = 4
"""Faults of a file that are told one by one."""
_LEFT_OUT = re.compile(r"_backbone\.(wte\.weight|h\.[0-9]+\.attn\.(bias|masked_bias))")
"""What nothing reads: the table of tokens, and the causal mask that older versions keep beside the weights."""


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
        try:
            return state_from_bytes(self._read(path.name))
        except ValueError as error:
            raise InputError(
                f"{path} must be a torch file of tensors and plain values alone; {error}. If you trust it, load it "
                "with torch elsewhere and save its tensors again with torch.save."
            ) from error

    def _read(self, name: str) -> bytes:
        path = self.source / name
        content = read_bytes(path, _LARGEST_FILE)
        found = sha256(content).hexdigest()
        if self.sums.setdefault(name, found) != found:
            raise InputError(f"{path} must not change while it is read.")
        return content


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


@dataclass(frozen=True)
class _Weight:
    """One tensor of theirs.

    Attributes:
        ours: Its name here.
        shape: Its shape there.
        turned: Whether it is a Conv1D's, [in, out], where ours are [out, in].
    """

    ours: str
    shape: tuple[int, ...]
    turned: bool = False


def renamed(theirs: Mapping[str, Any], model: GargModel, path: Path) -> dict[str, Tensor]:
    """Their weights under our names, in float32 and as [out, in].

    Args:
        theirs: A state dict of theirs.
        model: Its sizes.
        path: The file, for messages.

    Raises:
        InputError: If a weight is missing, unknown, of another shape, or not of finite numbers.
    """
    wanted = _wanted(model)
    faults = [f"{name} is missing" for name in wanted if name not in theirs]
    faults += [f"{str(name)[:100]} is unknown" for name in theirs if name not in wanted and not _is_left_out(name)]
    faults += [
        fault for name, weight in wanted.items() if name in theirs and (fault := _fault(name, theirs[name], weight))
    ]
    if faults:
        told = "; ".join(faults[:_NAMED]) + (f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else "")
        raise InputError(f"{path} must hold the weights of the model in {CONFIG}; {told}.")
    found = {weight.ours: theirs[name].float() for name, weight in wanted.items()}
    return {
        weight.ours: (found[weight.ours].T if weight.turned else found[weight.ours]).contiguous()
        for weight in wanted.values()
    }


def _fault(name: str, found: Any, weight: _Weight) -> str:
    if not isinstance(found, Tensor) or not found.is_floating_point():
        return f"{name} must be a tensor of numbers"
    if tuple(found.shape) != weight.shape:
        return f"{name} must be of shape {list(weight.shape)}, and is of {list(found.shape)}"
    return "" if bool(found.isfinite().all()) else f"{name} must be finite"


def _is_left_out(name: object) -> bool:
    return isinstance(name, str) and _LEFT_OUT.fullmatch(name) is not None


def _wanted(model: GargModel) -> dict[str, _Weight]:
    """Every tensor that their model reads, by its name there."""
    d = model.n_embd
    table = {
        "_read_in.weight": _Weight("embed.weight", (d, model.n_dims)),
        "_read_in.bias": _Weight("embed.bias", (d,)),
        "_backbone.wpe.weight": _Weight("positions.weight", (2 * model.n_positions, d)),
        "_backbone.ln_f.weight": _Weight("ln_final.w", (d,)),
        "_backbone.ln_f.bias": _Weight("ln_final.b", (d,)),
        "_read_out.weight": _Weight("unembed.weight", (1, d)),
        "_read_out.bias": _Weight("unembed.bias", (1,)),
    }
    maps = {
        "attn.c_attn": ("attn.qkv", d, 3 * d),
        "attn.c_proj": ("attn.out", d, d),
        "mlp.c_fc": ("mlp.inner", d, 4 * d),
        "mlp.c_proj": ("mlp.out", 4 * d, d),
    }
    for layer in range(model.n_layer):
        there, here = f"_backbone.h.{layer}", f"blocks.{layer}"
        for name, (ours, d_in, d_out) in maps.items():
            table[f"{there}.{name}.weight"] = _Weight(f"{here}.{ours}.weight", (d_in, d_out), turned=True)
            table[f"{there}.{name}.bias"] = _Weight(f"{here}.{ours}.bias", (d_out,))
        for name, ours in (("ln_1", "ln1"), ("ln_2", "ln2")):
            table[f"{there}.{name}.weight"] = _Weight(f"{here}.{ours}.w", (d,))
            table[f"{there}.{name}.bias"] = _Weight(f"{here}.{ours}.b", (d,))
    return table


def _listed(names: list[Any]) -> str:
    told = [str(name)[:60] for name in names[:10]]
    return ", ".join(told + ["..."] * (len(names) > 10)) or "nothing"
