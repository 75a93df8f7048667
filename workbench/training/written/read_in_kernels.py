# pyright: reportMissingImports=false, reportIndexIssue=false, reportAttributeAccessIssue=false
"""Prompts into the stream, and back: a map of few columns.

There, columns are taken one after the other while rows stay in registers; back, as products padded to 16 or 32 columns.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS, _COLUMNS, _PROMPTS, _POSITIONS, _PARTS = 64, 64, 64, 16, 32
"""Rows and columns of a tile of the stream, prompts of a tile of a sum, positions of a program, parts of a last sum."""
_PROGRAMS = 264
"""Of sums over prompts, that an accelerator runs at once."""


def _columns(d: int) -> int:
    """Coordinates of the stream of one program."""
    return min(_COLUMNS, max(16, triton.next_power_of_2(d)))


def _padded(n_columns: int) -> int:
    """Columns of a tile of prompts, with zeros after the last."""
    return max(16, triton.next_power_of_2(n_columns))


def place(prompts: Tensor, weight: Tensor, bias: Tensor, positions: Tensor | None) -> Tensor:
    """The stream ``[replica batch pos d]`` of prompts ``[replica batch pos column]``.

    Args:
        prompts: As vectors.
        weight: ``[replica d column]``, the last two axes without gaps.
        bias: ``[replica d]``, as far apart as the weights.
        positions: ``[replica at_least_pos d]``, as far apart as the weights, or None.
    """
    (n_replicas, n_batch, n_positions, n_columns), d = prompts.shape, bias.shape[-1]
    out = torch.empty(n_replicas, n_batch, n_positions, d, device=prompts.device, dtype=prompts.dtype)
    n_rows, columns = n_batch * n_positions, _columns(d)
    _place[(triton.cdiv(n_rows, _ROWS), triton.cdiv(d, columns), n_replicas)](
        prompts.contiguous(), weight, bias, bias if positions is None else positions, out, weight.stride(0), n_rows,
        n_positions, d, n_columns, _ROWS, columns, positions is not None, num_warps=4,
    )  # fmt: skip
    return out


@triton.jit
def _place(
    prompts, weight, bias, positions, out, apart, n_rows, n_positions, d, n_columns: tl.constexpr, rows: tl.constexpr,
    columns: tl.constexpr, has_positions: tl.constexpr,
):  # fmt: skip
    replica = tl.program_id(2).to(tl.int64)
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    there, inside = row < n_rows, column < d
    both = there[:, None] & inside[None, :]
    x = (
        tl.zeros([rows, columns], tl.float32)
        + tl.load(bias + replica * apart + column, mask=inside, other=0.0)[None, :]
    )
    if has_positions:
        place = positions + replica * apart + (row % n_positions)[:, None] * d + column[None, :]
        x += tl.load(place, mask=both, other=0.0)
    for i in tl.static_range(n_columns):
        read = tl.load(prompts + (replica * n_rows + row) * n_columns + i, mask=there, other=0.0)
        times = tl.load(weight + replica * apart + column * n_columns + i, mask=inside, other=0.0)
        x += read[:, None] * times[None, :]
    to = out + (replica * n_rows + row)[:, None] * d + column[None, :]
    tl.store(to, x.to(out.dtype.element_ty), mask=both)


def gradients(d_stream: Tensor, prompts: Tensor, weight: Tensor, bias: Tensor, positions: Tensor | None) -> None:
    """Gradients of ``place``'s last three arguments into tensors that lie as those, from that of the stream."""
    (n_replicas, n_batch, n_positions, n_columns), d = prompts.shape, bias.shape[-1]
    columns = _columns(d)
    n_across = triton.cdiv(d, columns)
    each = min(_POSITIONS, triton.cdiv(n_positions, max(1, _PROGRAMS // (n_replicas * n_across))))
    n_groups, tile = triton.cdiv(n_positions, each), min(_PROMPTS, max(16, triton.next_power_of_2(n_batch)))
    by_group = d_stream.new_empty(n_replicas, n_groups, n_columns + 1, d)
    to = bias if positions is None else positions
    _sum_groups[(n_groups, n_replicas * n_across)](
        d_stream.contiguous(), prompts.contiguous(), to, to.stride(0), by_group, n_batch, n_positions, d, n_across,
        each, triton.cdiv(n_batch, tile), n_columns, _padded(n_columns + 1), tile, columns,
        positions is not None, num_warps=4,
    )  # fmt: skip
    _sum_up[(n_columns + 1, n_replicas, n_across)](
        by_group, weight, bias, weight.stride(0), n_groups, d, n_columns, _PARTS, columns, num_warps=4
    )


@triton.jit
def _sum_groups(
    d_stream, prompts, positions, apart, by_group, n_batch, n_positions, d, n_across, each: tl.constexpr,
    n_tiles: tl.constexpr, n_columns: tl.constexpr, padded: tl.constexpr, tile: tl.constexpr, columns: tl.constexpr,
    has_positions: tl.constexpr,
):  # fmt: skip
    """Of some positions, sums over all prompts: of products with each column, and after these, of the gradient itself.

    Prompts get a column of ones, so that the last sum is one of the products: it is what the position gets.
    """
    group, replica = tl.program_id(0), (tl.program_id(1) // n_across).to(tl.int64)
    column = tl.program_id(1) % n_across * columns + tl.arange(0, columns)
    k, number = tl.arange(0, padded), tl.arange(0, tile)
    inside = column < d
    read = d_stream + replica * n_batch * n_positions * d + column[None, :]
    times = prompts + replica * n_batch * n_positions * n_columns + k[None, :]
    total = tl.zeros([columns, padded], tl.float32)
    for i in tl.static_range(each):
        position = group * each + i
        found = tl.zeros([columns, padded], tl.float32)
        for t in tl.range(0, n_tiles, num_stages=1):
            prompt = t * tile + number
            row = prompt * n_positions + position
            there = ((prompt < n_batch) & (position < n_positions))[:, None]
            x = tl.load(read + row[:, None] * d, mask=there & inside[None, :], other=0.0)
            y = tl.load(times + row[:, None] * n_columns, mask=there & (k < n_columns)[None, :], other=0.0)
            y = tl.where((k == n_columns)[None, :], 1.0, y)
            found = tl.dot(tl.trans(x), y, found, input_precision="tf32x3")
        if has_positions:
            to = positions + replica * apart + position * d + column[:, None] + 0 * k[None, :]
            tl.store(to, found, mask=inside[:, None] & ((k == n_columns) & (position < n_positions))[None, :])
        total += found
    to = by_group + (replica * tl.num_programs(0) + group) * (n_columns + 1) * d
    tl.store(to + k[None, :] * d + column[:, None], total, mask=inside[:, None] & (k <= n_columns)[None, :])


@triton.jit
def _sum_up(
    by_group, weight, bias, apart, n_groups, d, n_columns: tl.constexpr, parts: tl.constexpr, columns: tl.constexpr
):
    """One program sums a column's weight over groups of positions, the last one the bias."""
    which, replica = tl.program_id(0), tl.program_id(1).to(tl.int64)
    column = tl.program_id(2) * columns + tl.arange(0, columns)
    inside = column < d
    start = by_group + (replica * n_groups * (n_columns + 1) + which) * d + column[None, :]
    total = tl.zeros([parts, columns], tl.float32)
    first = 0
    while first < n_groups:
        number = first + tl.arange(0, parts)
        mask = (number < n_groups)[:, None] & inside[None, :]
        total += tl.load(start + number[:, None] * (n_columns + 1) * d, mask=mask, other=0.0)
        first += parts
    to = weight + replica * apart + column * n_columns + which
    if which == n_columns:
        to = bias + replica * apart + column
    tl.store(to, tl.sum(total, 0), mask=inside)
