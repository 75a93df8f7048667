# pyright: reportMissingImports=false, reportIndexIssue=false, reportAttributeAccessIssue=false
"""Prompts into the stream, and back: a map of few columns, one after the other while rows stay in registers."""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS, _COLUMNS = 64, 64
_GROUP, _PARTS = 8, 32
_PROGRAMS, _PIECES = 1024, 16
"""That keep an accelerator busy with sums, and at most so many pieces of the prompts for that."""


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
    n_rows, columns = n_batch * n_positions, min(_COLUMNS, triton.next_power_of_2(d))
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
    columns = min(_COLUMNS, triton.next_power_of_2(d))
    n_groups, n_across = triton.cdiv(n_positions, _GROUP), triton.cdiv(d, columns)
    wanted = triton.next_power_of_2(triton.cdiv(_PROGRAMS, n_replicas * n_groups * n_across))
    pieces = math.gcd(n_batch, min(wanted, _PIECES))
    n_summed = n_batch // pieces
    by_position = d_stream.new_empty(n_replicas, pieces, n_positions, d)
    by_column = d_stream.new_empty(n_replicas, pieces * n_groups, n_columns + 1, d)
    _sum_parts[(n_groups, pieces, n_replicas * n_across)](
        d_stream.contiguous(), prompts.contiguous(), by_position, by_column, n_summed, n_positions, d,
        n_across, math.gcd(n_summed, 4), n_columns, _GROUP, columns, num_warps=4,
    )  # fmt: skip
    has_positions = positions is not None
    _sum_up[(n_columns + 1 + (n_positions if has_positions else 0), n_replicas, n_across)](
        by_position, by_column, weight, bias, positions if has_positions else bias, weight.stride(0), pieces,
        pieces * n_groups, n_positions, d, n_columns, _PARTS, columns, num_warps=4,
    )  # fmt: skip


@triton.jit
def _sum_parts(
    d_stream, prompts, by_position, by_column, n_summed, n_positions, d, n_across, at_once: tl.constexpr,
    n_columns: tl.constexpr, group: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    """Of some positions, sums over some prompts; over all of these, sums of products with each column, and the sum."""
    part, piece = tl.program_id(0), tl.program_id(1)
    replica = (tl.program_id(2) // n_across).to(tl.int64)
    n_batch = n_summed * tl.num_programs(1)
    position = part * group + tl.arange(0, group)
    column = tl.program_id(2) % n_across * columns + tl.arange(0, columns)
    there, inside = position < n_positions, column < d
    both = there[:, None] & inside[None, :]
    total = tl.zeros([group, columns], tl.float32)
    products = ()
    for _ in tl.static_range(n_columns):
        products += (tl.zeros([group, columns], tl.float32),)
    first = piece * n_summed
    while first < (piece + 1) * n_summed:
        for later in tl.static_range(at_once):
            row = (replica * n_batch + first + later) * n_positions + position
            x = tl.load(d_stream + row[:, None] * d + column[None, :], mask=both, other=0.0)
            total += x
            more = ()
            for i in tl.static_range(n_columns):
                times = tl.load(prompts + row * n_columns + i, mask=there, other=0.0)
                more += (products[i] + x * times[:, None],)
            products = more
        first += at_once
    to = by_position + ((replica * tl.num_programs(1) + piece) * n_positions + position)[:, None] * d + column[None, :]
    tl.store(to, total, mask=both)
    number = (replica * tl.num_programs(1) + piece) * tl.num_programs(0) + part
    for i in tl.static_range(n_columns):
        tl.store(by_column + (number * (n_columns + 1) + i) * d + column, tl.sum(products[i], 0), mask=inside)
    tl.store(by_column + (number * (n_columns + 1) + n_columns) * d + column, tl.sum(total, 0), mask=inside)


@triton.jit
def _sum_up(
    by_position, by_column, weight, bias, positions, apart, pieces, n_parts, n_positions, d, n_columns: tl.constexpr,
    parts: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    """One program sums the parts of a column's weight, then of the bias, then of a position."""
    which, replica = tl.program_id(0), tl.program_id(1).to(tl.int64)
    column = tl.program_id(2) * columns + tl.arange(0, columns)
    inside = column < d
    position = which - n_columns - 1
    wide = (n_columns + 1) * d
    start, step, count = by_column + replica * n_parts * wide + which * d, wide, n_parts
    to = weight + replica * apart + column * n_columns + which
    if which == n_columns:
        to = bias + replica * apart + column
    if which > n_columns:
        start, step, count = by_position + (replica * pieces * n_positions + position) * d, n_positions * d, pieces
        to = positions + replica * apart + position * d + column
    total = tl.zeros([parts, columns], tl.float32)
    first = 0
    while first < count:
        number = first + tl.arange(0, parts)
        mask = (number < count)[:, None] & inside[None, :]
        total += tl.load(start + number[:, None] * step + column[None, :], mask=mask, other=0.0)
        first += parts
    tl.store(to, tl.sum(total, 0), mask=inside)
