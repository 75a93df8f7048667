# pyright: reportMissingImports=false, reportIndexIssue=false, reportAttributeAccessIssue=false
"""Triton kernels at both ends of a backward pass: the gradient as it comes in, and last sums of what biases get."""

import triton
import triton.language as tl
from torch import Tensor

_ROWS, _COLUMNS, _PARTS = 32, 64, 64


def n_received_parts(n_rows: int) -> int:
    """Parts over which ``received`` sums."""
    return triton.cdiv(n_rows, _ROWS)


def received(d_read: Tensor, d_total: Tensor, d_added: Tensor, parts: Tensor, every: int) -> None:
    """Copy ``d_read`` to every so many-th position, in full and rounded, and sum parts of the rows."""
    n_replicas, n_rows, d = d_total.shape
    tensors = (d_read, d_total, d_added, parts)
    _received[(parts.shape[1], triton.cdiv(d, _COLUMNS), n_replicas)](
        *(each for tensor in tensors for each in (tensor, tensor.stride(0))), n_rows, n_rows // d_read.shape[1],
        d_read.shape[2], d, every, _ROWS, _COLUMNS,
    )  # fmt: skip


@triton.jit
def _received(
    d_read, d_read_apart, d_total, d_total_apart, d_added, d_added_apart, parts, parts_apart, n_rows, n_positions,
    n_read, d, every: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    replica = tl.program_id(2).to(tl.int64)
    row = tl.program_id(0) * rows + tl.arange(0, rows)[:, None]
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    at, inside = row * d + column[None, :], (row < n_rows) & (column < d)[None, :]
    position = row % n_positions
    come = (row // n_positions * n_read + position // every) * d + column[None, :]
    x = tl.load(d_read + replica * d_read_apart + come, mask=inside & (position % every == 0), other=0.0)
    tl.store(d_total + replica * d_total_apart + at, x, mask=inside)
    tl.store(d_added + replica * d_added_apart + at, x.to(d_added.dtype.element_ty), mask=inside)
    tl.store(parts + replica * parts_apart + tl.program_id(0) * d + column, tl.sum(x, 0), mask=column < d)


def summed(parts: Tensor, *into: Tensor) -> None:
    """Sum ``parts [replica layer part each d]``; those of one ``into`` that lacks layers lacks the first."""
    n_replicas, n_layers, n_parts, _, d = parts.shape
    blocks = triton.cdiv(d, _COLUMNS)
    three = (into * 3)[:3]
    _summed[(blocks * len(into), n_layers, n_replicas)](
        parts, parts.stride(0), parts.stride(1), parts.stride(2), parts.stride(3),
        *(each for to in three for each in (to, to.stride(0), to.stride(1), n_layers - to.shape[1])), n_parts, d,
        blocks, triton.cdiv(n_parts, _PARTS), _PARTS, _COLUMNS,
    )  # fmt: skip


@triton.jit
def _summed(
    parts, apart, per_layer, per_part, per_each, out_0, apart_0, layer_0, lacks_0, out_1, apart_1, layer_1, lacks_1,
    out_2, apart_2, layer_2, lacks_2, n_parts, d, blocks: tl.constexpr, n_tiles: tl.constexpr,
    rows: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    which, layer, replica = tl.program_id(0) // blocks, tl.program_id(1), tl.program_id(2).to(tl.int64)
    column = tl.program_id(0) % blocks * columns + tl.arange(0, columns)
    some = tl.arange(0, rows)[:, None]
    read = parts + replica * apart + layer.to(tl.int64) * per_layer + which * per_each
    total = tl.zeros([columns], tl.float32)
    for tile in tl.range(0, n_tiles, num_stages=3):
        part = tile * rows + some
        inside = (part < n_parts) & (column < d)[None, :]
        total += tl.sum(tl.load(read + part * per_part + column[None, :], mask=inside, other=0.0), 0)
    if which == 0:
        _put(out_0 + replica * apart_0 + (layer - lacks_0) * layer_0, total, column, (column < d) & (layer >= lacks_0))
    elif which == 1:
        _put(out_1 + replica * apart_1 + (layer - lacks_1) * layer_1, total, column, (column < d) & (layer >= lacks_1))
    else:
        _put(out_2 + replica * apart_2 + (layer - lacks_2) * layer_2, total, column, (column < d) & (layer >= lacks_2))


@triton.jit
def _put(out, total, column, inside):
    tl.store(out + column, total.to(out.dtype.element_ty), mask=inside)
