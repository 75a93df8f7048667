# pyright: reportMissingImports=false, reportIndexIssue=false, reportAttributeAccessIssue=false
"""The pieces of a block as in ``kernels``, some with own products: for maps of short sums, and whole tiles of columns.

Where a sum is short, a product moves more numbers than it multiplies: GELU inside it saves reading them again. Norms
stay apart: a product that holds whole rows of the stream loses more than that saves.
"""

from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor

from workbench.models.config import TransformerConfig
from workbench.training.written import kernels, wide_attention, wide_kernels
from workbench.training.written.kernels import Onward, mapped, n_norm_parts, precision
from workbench.training.written.narrow_parts import is_fast
from workbench.training.written.sums import n_received_parts, received, summed

__all__ = [
    "attention", "attention_backward", "gelu_backward", "map_add_norm", "map_gelu", "mapped", "n_attention_parts",
    "n_gelu_parts", "n_norm_parts", "n_received_parts", "norm", "norm_backward", "received", "summed",
]  # fmt: skip


@dataclass(frozen=True)
class Tiling:
    """How a kernel cuts its work; measured on an H200, at the shapes of preset paper.

    Attributes:
        rows: Of a tile; of attention, positions.
        columns: Of a tile.
        warps: Of one program.
        stages: Tiles that are on their way at once.
        inner: Of a sum at a time; all of it where a program keeps its part of the map.
    """

    rows: int
    columns: int
    warps: int
    stages: int
    inner: int = 0


MAPPED, MAP_GELU = Tiling(128, 128, 8, 3, 64), Tiling(128, 64, 8, 3, 64)
GELU_BACKWARD = Tiling(64, 128, 8, 3)
N_PROGRAMS = 132
"""Of a kernel that keeps its part of the map, about."""
_SIDE = 32
"""Positions of a tile of attention."""
_WIDTHS = (64, 128, 256)
_UNIT = 64
_CAPABILITIES = (9, 10)
"""Devices with 227 kB of shared memory for a program."""


def obstacle(config: TransformerConfig, capability: int) -> str:
    """Why these kernels cannot run the blocks of a model on a device of some major compute capability, or ""."""
    if capability not in _CAPABILITIES:
        return f"the device has compute capability {capability}, not {' or '.join(map(str, _CAPABILITIES))}"
    heads = config.n_heads * config.head_width
    if config.d_model not in _WIDTHS or heads % _UNIT or config.mlp_width % _UNIT:
        widths = f"d_model {config.d_model}, heads {heads}, MLP {config.mlp_width}"
        return f"{widths}: not one of {', '.join(map(str, _WIDTHS))} and multiples of {_UNIT}"
    return ""


def n_gelu_parts(n_rows: int, d: int) -> int:
    """Parts over which the gradient of a bias before GELU is summed: programs that share the rows evenly."""
    n_tiles = triton.cdiv(n_rows, GELU_BACKWARD.rows)
    each = triton.cdiv(n_tiles, max(1, N_PROGRAMS * _columns(GELU_BACKWARD, d) // d))
    return triton.cdiv(n_tiles, each)


def n_attention_parts(n_batch: int, n_positions: int) -> int:
    """Parts over which the gradient of the bias of queries, keys and values is summed."""
    return n_batch * triton.cdiv(n_positions, _SIDE)


def _with_strides(*tensors: Tensor) -> list[Any]:
    """Every tensor, and how far its replicas are apart."""
    return [each for tensor in tensors for each in (tensor, tensor.stride(0))]


def _columns(cut: Tiling, n_out: int) -> int:
    """Columns of a tile that cuts ``n_out`` in whole ones."""
    return min(cut.columns, n_out & -n_out)


def _shape(cut: Tiling, rows: Tensor, weight: Tensor, *, even: bool) -> dict[str, Any]:
    """What a kernel must know of its product."""
    shape = {"n_out": weight.shape[1], "k_total": rows.shape[-1], "w_n": weight.stride(1), "w_k": weight.stride(2)}
    how = {"even": even, "stages": cut.stages, "precision": precision(rows), "num_warps": cut.warps}
    return {**shape, **how, "tile": cut.rows, "columns": _columns(cut, weight.shape[1])}


def _grid(cut: Tiling, rows: Tensor, weight: Tensor) -> tuple[int, int, int]:
    n_replicas, n_rows, _ = rows.shape
    return weight.shape[1] // _columns(cut, weight.shape[1]), triton.cdiv(n_rows, cut.rows), n_replicas


def map_gelu(rows: Tensor, weight: Tensor, bias: Tensor, slope: Tensor, out: Tensor) -> None:
    """GELU of rows through a map, into ``out``, and its slope."""
    n_rows, cut = rows.shape[1], MAP_GELU
    wide_kernels.map_gelu[_grid(cut, rows, weight)](
        *_with_strides(rows, weight, bias, slope, out), n_rows, inner=cut.inner, fast=is_fast(rows),
        **_shape(cut, rows, weight, even=n_rows % cut.rows == 0),
    )  # fmt: skip


def gelu_backward(d_rows: Tensor, weight: Tensor, slope: Tensor, d_pre: Tensor, parts: Tensor) -> None:
    """The gradient before GELU into ``d_pre``, and of the bias into ``parts``; ``weight`` maps gradients back."""
    n_rows, cut = d_rows.shape[1], GELU_BACKWARD
    n_columns, n_tiles, n_replicas = _grid(cut, d_rows, weight)
    shares = parts.shape[1]
    each = triton.cdiv(n_tiles, shares)
    wide_kernels.gelu_backward[n_columns, shares, n_replicas](
        *_with_strides(d_rows, weight, slope, d_pre, parts), n_rows, n_tiles=each,
        **_shape(cut, d_rows, weight, even=each * shares * cut.rows == n_rows),
    )  # fmt: skip


def norm(
    stream: Tensor, gain: Tensor, shift: Tensor, out: Tensor, total: Tensor, onward: Onward | None
) -> tuple[Tensor, Tensor]:
    """Normalise; ``onward`` with its bias."""
    found = kernels.norm(stream, gain, shift, out, total, None)
    return _then(found, out, onward)


def map_add_norm(
    rows: Tensor, weight: Tensor, bias: Tensor, stream: Tensor, gain: Tensor, shift: Tensor, out: Tensor, total: Tensor,
    onward: Onward | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Add rows through a map to the stream and normalise; ``onward`` with its bias."""
    found = kernels.map_add_norm(rows, weight, bias, stream, gain, shift, out, total, None)
    return _then(found, out, onward)


def _then(found: tuple[Tensor, Tensor], read: Tensor, onward: Onward | None) -> tuple[Tensor, Tensor]:
    if onward is not None:
        weight, bias, to = onward
        n_rows, cut = read.shape[1], MAPPED
        wide_kernels.mapped[_grid(cut, read, weight)](
            *_with_strides(read, weight, bias, to), n_rows, inner=cut.inner,
            **_shape(cut, read, weight, even=n_rows % cut.rows == 0),
        )  # fmt: skip
    return found


norm_backward = kernels.norm_backward


def attention(qkv: Tensor, bias: Tensor, out: Tensor, scale: float) -> Tensor:  # noqa: ARG001
    """Causal softmax attention; the base-2 logarithms of the rows' sums come back, ``qkv`` holds its bias."""
    n_replicas, n_batch, n_positions, _, n_heads, d_head = qkv.shape
    logs = torch.empty(n_replicas, n_batch, n_heads, n_positions, device=qkv.device)
    n_tiles = triton.cdiv(n_positions, _SIDE)
    wide_attention.attention[(n_tiles * n_heads, n_batch, n_replicas)](
        *_with_strides(qkv, out), logs, scale * 1.4426950408889634, n_positions, n_heads, d_head, _SIDE, n_tiles,
        precision(qkv), num_warps=max(1, d_head // 32),
    )  # fmt: skip
    return logs


def attention_backward(
    d_out: Tensor, out: Tensor, logs: Tensor, qkv: Tensor, bias: Tensor, d_qkv: Tensor, parts: Tensor,  # noqa: ARG001
    scale: float,
) -> None:  # fmt: skip
    """The gradient of ``qkv`` into ``d_qkv``, and of its bias into ``parts``."""
    n_replicas, n_batch, n_positions, _, n_heads, d_head = qkv.shape
    n_tiles = triton.cdiv(n_positions, _SIDE)
    wide_attention.attention_backward[(n_tiles * n_heads, n_batch, n_replicas)](
        *_with_strides(d_out, out), logs, *_with_strides(qkv, d_qkv, parts), scale, n_positions, n_heads, d_head,
        _SIDE, n_tiles, precision(qkv), num_warps=2 if d_head <= 32 else 4, maxnreg=168 if d_head <= 32 else None,
    )  # fmt: skip
