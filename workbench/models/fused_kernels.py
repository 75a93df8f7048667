"""The kernels of ``fused`` in Triton: one program per prompt and head, everything of it on the chip."""

import torch
import triton
import triton.language as tl
from torch import Tensor


def forward(qkv: Tensor, visible: Tensor, scale: float) -> Tensor:
    """Mixed values ``[batch pos head d_head]``."""
    batch, n_positions, _, n_heads, d_head = qkv.shape
    mixed = qkv.new_empty(batch, n_positions, n_heads, d_head)
    block = _block(n_positions)
    _forward[(batch, n_heads)](
        qkv, visible.contiguous(), mixed, scale, n_positions, n_heads, d_head, block, _precision(qkv),
        num_warps=4 if block <= 64 else 8,
    )  # fmt: skip
    return mixed


def backward(grad: Tensor, qkv: Tensor, visible: Tensor, scale: float) -> Tensor:
    """The gradient with respect to ``qkv``."""
    batch, n_positions, _, n_heads, d_head = qkv.shape
    d_qkv = torch.empty_like(qkv)
    block = _block(n_positions)
    _backward[(batch, n_heads)](
        grad, qkv, visible.contiguous(), d_qkv, scale, n_positions, n_heads, d_head, block, _precision(qkv),
        num_warps=4 if block <= 64 else 8,
    )  # fmt: skip
    return d_qkv


def _block(n_positions: int) -> int:
    return max(16, triton.next_power_of_2(n_positions))


def _precision(tensor: Tensor) -> str:
    exact = tensor.dtype == torch.float32 and not torch.backends.cuda.matmul.allow_tf32
    return "ieee" if exact else "tf32"


@triton.jit
def _pattern(q, k, visible, scale, n_positions, block: tl.constexpr, precision: tl.constexpr):
    rows, columns = tl.arange(0, block)[:, None], tl.arange(0, block)[None, :]
    inside = (rows < n_positions) & (columns < n_positions)
    seen = tl.load(visible + rows * n_positions + columns, mask=inside, other=0) != 0
    scores = tl.dot(q, tl.trans(k), input_precision=precision) * scale
    scores = tl.where(seen, scores, -1e30)
    raised = tl.where(seen, tl.exp(scores - tl.max(scores, 1)[:, None]), 0.0)
    return raised / (tl.sum(raised, 1)[:, None] + tl.where(rows < n_positions, 0.0, 1.0))


@triton.jit
def _forward(
    qkv, visible, mixed, scale, n_positions, n_heads,
    d_head: tl.constexpr, block: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    prompt, head = tl.program_id(0), tl.program_id(1)
    rows, width = tl.arange(0, block)[:, None], tl.arange(0, d_head)[None, :]
    inside = rows < n_positions
    apart = n_heads * d_head
    at = (prompt.to(tl.int64) * n_positions + rows) * 3 * apart + head * d_head + width
    q = tl.load(qkv + at, mask=inside, other=0.0)
    k = tl.load(qkv + at + apart, mask=inside, other=0.0)
    v = tl.load(qkv + at + 2 * apart, mask=inside, other=0.0)
    pattern = _pattern(q, k, visible, scale, n_positions, block, precision)
    z = tl.dot(pattern.to(v.dtype), v, input_precision=precision)
    to = (prompt.to(tl.int64) * n_positions + rows) * apart + head * d_head + width
    tl.store(mixed + to, z.to(v.dtype), mask=inside)


@triton.jit
def _backward(
    grad, qkv, visible, d_qkv, scale, n_positions, n_heads,
    d_head: tl.constexpr, block: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    prompt, head = tl.program_id(0), tl.program_id(1)
    rows, width = tl.arange(0, block)[:, None], tl.arange(0, d_head)[None, :]
    inside = rows < n_positions
    apart = n_heads * d_head
    at = (prompt.to(tl.int64) * n_positions + rows) * 3 * apart + head * d_head + width
    q = tl.load(qkv + at, mask=inside, other=0.0)
    k = tl.load(qkv + at + apart, mask=inside, other=0.0)
    v = tl.load(qkv + at + 2 * apart, mask=inside, other=0.0)
    d_z = tl.load(
        grad + (prompt.to(tl.int64) * n_positions + rows) * apart + head * d_head + width, mask=inside, other=0.0
    )
    pattern = _pattern(q, k, visible, scale, n_positions, block, precision)
    d_v = tl.dot(tl.trans(pattern.to(v.dtype)), d_z, input_precision=precision)
    tl.store(d_qkv + at + 2 * apart, d_v.to(v.dtype), mask=inside)
    d_pattern = tl.dot(d_z, tl.trans(v), input_precision=precision)
    d_scores = pattern * (d_pattern - tl.sum(d_pattern * pattern, 1)[:, None]) * scale
    d_scores = d_scores.to(v.dtype)
    d_q = tl.dot(d_scores, k, input_precision=precision)
    tl.store(d_qkv + at, d_q.to(v.dtype), mask=inside)
    d_k = tl.dot(tl.trans(d_scores), q, input_precision=precision)
    tl.store(d_qkv + at + apart, d_k.to(v.dtype), mask=inside)
