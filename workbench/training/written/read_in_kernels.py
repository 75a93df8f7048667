# pyright: reportMissingImports=false, reportIndexIssue=false, reportAttributeAccessIssue=false
"""Prompts into the stream: a map of few columns, added one after the other to rows that stay in registers."""

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS, _COLUMNS = 64, 64


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
