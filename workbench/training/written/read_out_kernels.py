# pyright: reportMissingImports=false, reportIndexIssue=false, reportAttributeAccessIssue=false
"""The read-out of ``read_out`` as two Triton kernels: rows there and back while they are on the chip, and last sums."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench.models.norm import EPSILON

_SIZE, _PROGRAMS, _MOST_TILES = 1024, 2112, 8
"""Numbers of a tile, programs that keep an accelerator busy, and at most so many tiles after each other in one."""
_PARTS, _COLUMNS = 256, 16


def losses(
    stream: Tensor, labels: Tensor, counted: Tensor, weights: tuple[Tensor, ...], into: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    """Losses ``[replica]``, and the gradient of the stream ``[replica batch read d]``; of the weights ``into``."""
    n_replicas, n_batch, n_read, d = stream.shape
    n_rows, block = n_batch * n_read, triton.next_power_of_2(d)
    rows = max(1, _SIZE // block)
    n_tiles = max(1, min(_MOST_TILES, n_replicas * n_rows // (rows * _PROGRAMS)))
    n_parts = triton.cdiv(n_rows, rows * n_tiles)
    d_stream = torch.empty(stream.shape, device=stream.device)
    parts = d_stream.new_empty(n_replicas, n_parts, d + 2)
    found = d_stream.new_empty(n_replicas)
    _rows[(n_parts, n_replicas)](
        stream.contiguous(), labels.contiguous(), counted.contiguous(), *weights, weights[0].stride(0), d_stream,
        parts, n_rows, d, EPSILON, block, rows, n_tiles, num_warps=1,
    )  # fmt: skip
    columns = min(_COLUMNS, block)
    _sum_up[(triton.cdiv(d, columns), n_replicas)](
        parts, *weights[:3], *into, weights[0].stride(0), found, n_parts, d, _PARTS, columns, num_warps=4
    )
    return found, d_stream


@triton.jit
def _rows(
    stream, labels, counted, gain, shift, weight, bias, apart, d_stream, parts, n_rows, d, epsilon,
    block: tl.constexpr, rows: tl.constexpr, n_tiles: tl.constexpr,
):  # fmt: skip
    part, replica = tl.program_id(0), tl.program_id(1).to(tl.int64)
    column = tl.arange(0, block)
    there = column < d
    g = tl.load(gain + replica * apart + column, mask=there, other=0.0)
    w = tl.load(weight + replica * apart + column, mask=there, other=0.0)
    b = tl.load(shift + replica * apart + column, mask=there, other=0.0)
    steep = (g * w)[None, :]
    even = tl.sum(steep, 1)[:, None] / d
    rest = tl.sum(b * w, 0) + tl.load(bias + replica * apart)
    of_scaled = tl.zeros([block], tl.float32)
    of_said = tl.zeros([rows], tl.float32)
    loss = tl.zeros([rows], tl.float32)
    for tile in tl.range(0, n_tiles):
        row = (part * n_tiles + tile) * rows + tl.arange(0, rows)
        inside = (row < n_rows)[:, None] & there[None, :]
        at = (replica * n_rows + row)[:, None] * d + column[None, :]
        x = tl.load(stream + at, mask=inside, other=0.0)
        label = tl.load(labels + replica * n_rows + row, mask=row < n_rows, other=0.0)
        share = tl.load(counted + replica * n_rows + row, mask=row < n_rows, other=0.0)
        centred = tl.where(inside, x - tl.sum(x, 1)[:, None] / d, 0.0)
        rate = tl.rsqrt(tl.sum(centred * centred, 1) / d + epsilon)[:, None]
        scaled = centred * rate
        through = tl.sum(scaled * steep, 1)
        error = through + rest - label
        d_said = 2 * share * error
        inward = steep - even - scaled * (through / d)[:, None]
        tl.store(d_stream + at, d_said[:, None] * inward * rate, mask=inside)
        of_scaled += tl.sum(d_said[:, None] * scaled, 0)
        of_said += d_said
        loss += share * error * error
    to = parts + (replica * tl.num_programs(0) + part) * (d + 2)
    tl.store(to + column, of_scaled, mask=there)
    tl.store(to + d, tl.sum(of_said, 0))
    tl.store(to + d + 1, tl.sum(loss, 0))


@triton.jit
def _sum_up(
    parts, gain, shift, weight, d_gain, d_shift, d_weight, d_bias, apart, losses, n_parts, d,
    at_once: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    replica = tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) * columns + tl.arange(0, columns)
    there = column < d
    some = tl.arange(0, at_once)
    read = parts + replica * n_parts * (d + 2)
    of_scaled = tl.zeros([at_once, columns], tl.float32)
    of_said = tl.zeros([at_once], tl.float32)
    loss = tl.zeros([at_once], tl.float32)
    first = 0
    while first < n_parts:
        part, inside = first + some, first + some < n_parts
        start = read + part * (d + 2)
        of_scaled += tl.load(start[:, None] + column[None, :], mask=inside[:, None] & there[None, :], other=0.0)
        of_said += tl.load(start + d, mask=inside, other=0.0)
        loss += tl.load(start + d + 1, mask=inside, other=0.0)
        first += at_once
    at = replica * apart + column
    g = tl.load(gain + at, mask=there, other=0.0)
    b = tl.load(shift + at, mask=there, other=0.0)
    w = tl.load(weight + at, mask=there, other=0.0)
    scaled, said = tl.sum(of_scaled, 0), tl.sum(of_said, 0)
    tl.store(d_gain + at, w * scaled, mask=there)
    tl.store(d_shift + at, w * said, mask=there)
    tl.store(d_weight + at, g * scaled + b * said, mask=there)
    if tl.program_id(0) == 0:
        tl.store(d_bias + replica * apart, said)
        tl.store(losses + replica, tl.sum(loss, 0))
