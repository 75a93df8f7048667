"""Softmax attention over short sequences on the CPU, straight from the fused query-key-value map.

At the lengths of in-context-learning prompts ``scaled_dot_product_attention`` spends its time on preparations. Batched
products of all heads, the pattern kept for the gradient and that written out take half as long at 24 tokens, two
thirds at 40 and as long at 64.
"""

import math
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.models.watching import runs_line_by_line

MOST_POSITIONS = 48

Packed = Float[Tensor, "batch pos three head d_head"]
Mixed = Float[Tensor, "batch pos head d_head"]
Heads = Float[Tensor, "heads pos d_head"]
Pattern = Float[Tensor, "heads query key"]
Visible = Bool[Tensor, "query key"]


def can_mix(qkv: Packed) -> bool:
    """Whether ``attention`` is for such a tensor, and runs line by line; shapes on ``meta`` stand for it."""
    is_short = qkv.shape[1] <= MOST_POSITIONS
    is_exact = qkv.dtype in (torch.float32, torch.float64)
    return is_short and is_exact and qkv.device.type in ("cpu", "meta") and runs_line_by_line()


def attention(qkv: Packed, visible: Visible, scale: float) -> Mixed:
    """Softmax attention; every query must see a key.

    Args:
        qkv: Queries, keys and values.
        visible: True where a query may attend to a key.
        scale: Factor on query . key.
    """
    return _Attention.apply(qkv, visible, scale)  # type: ignore[return-value]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, visible: Tensor, scale: float) -> Tensor:
        mixed, *kept = _attention(qkv, visible, scale)
        ctx.save_for_backward(qkv, visible, *kept)
        ctx.scale = scale
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        qkv, visible, q, k, v, pattern = ctx.saved_tensors
        if torch.is_grad_enabled():  # this gradient may be differentiated itself, through what it is made from
            _, q, k, v, pattern = _attention(qkv, visible, ctx.scale)
        return _attention_backward(gradients[0], q, k, v, pattern, ctx.scale), None, None


def hidden_scores(visible: Visible, dtype: torch.dtype) -> Float[Tensor, "query key"]:
    """What is added to scores: -inf where a query must not attend."""
    return torch.zeros(visible.shape, dtype=dtype).masked_fill(~visible, -math.inf)


def _attention(qkv: Packed, visible: Visible, scale: float) -> tuple[Mixed, Heads, Heads, Heads, Pattern]:
    """The mixed values, and what the gradient needs: queries, keys, values and pattern."""
    q, k, v = rearrange(qkv, "batch pos three head d_head -> three (batch head) pos d_head", three=3)
    pattern = _softmax(torch.baddbmm(hidden_scores(visible, qkv.dtype), q, k.mT, alpha=scale))
    mixed = rearrange(pattern @ v, "(batch head) pos d_head -> batch pos head d_head", batch=len(qkv))
    return mixed, q, k, v, pattern


def _attention_backward(d_mixed: Mixed, q: Heads, k: Heads, v: Heads, pattern: Pattern, scale: float) -> Packed:
    d_z = rearrange(d_mixed, "batch pos head d_head -> (batch head) pos d_head")
    d_scores = torch.ops.aten._softmax_backward_data(d_z @ v.mT, pattern, -1, pattern.dtype) * scale
    d_qkv = torch.stack([d_scores @ k, d_scores.mT @ q, pattern.mT @ d_z])
    axes = "three (batch head) pos d_head -> batch pos three head d_head"
    return rearrange(d_qkv, axes, batch=len(d_mixed))


def _softmax(scores: Pattern) -> Pattern:
    """Softmax over the keys by way of exp2, which has a vector kernel on every processor; exp goes through MKL."""
    return (torch.log_softmax(scores, -1) * (1 / math.log(2))).exp2_()
