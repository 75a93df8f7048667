"""The state dict of Garg et al.'s model under our names: a Hugging Face GPT-2 between two linear maps."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from workbench.errors import InputError
from workbench.importers.garg_config import CONFIG, GargModel

_NAMED = 4
"""Faults of a file that are told one by one."""
_LEFT_OUT = re.compile(r"_backbone\.(wte\.weight|h\.[0-9]+\.attn\.(bias|masked_bias))")
"""What nothing reads: the table of tokens, and the causal mask that older versions keep beside the weights."""


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
    return "" if bool(found.float().isfinite().all()) else f"{name} must be finite in float32"


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
