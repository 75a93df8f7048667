"""Softmax attention over short sequences as one kernel each way, straight from the fused query-key-value map.

At the lengths of in-context-learning prompts a whole head fits into one block on the accelerator, so that scores and
pattern never leave the chip, no layout is changed, and the backward kernel writes one gradient buffer. Elsewhere
the same operator is written out in plain tensor code.
"""

import math
from typing import Any

import torch
from einops import einsum, rearrange, reduce
from jaxtyping import Bool, Float
from torch import Tensor

MOST_POSITIONS = 128
MOST_HEAD_WIDTH = 128

Packed = Float[Tensor, "batch pos three head d_head"]
Mixed = Float[Tensor, "batch pos head d_head"]


def can_mix(n_positions: int, d_head: int, tensor: Tensor) -> bool:
    """Whether the operator has an accelerator kernel for such a tensor."""
    fits = n_positions <= MOST_POSITIONS and d_head <= MOST_HEAD_WIDTH and d_head >= 16 and d_head % 16 == 0
    return tensor.is_cuda and fits and (d_head & (d_head - 1)) == 0 and tensor.dtype in (torch.float32, torch.bfloat16)


@torch.library.custom_op("mesascope::attention", mutates_args=())
def attention(qkv: Tensor, visible: Tensor, scale: float) -> Tensor:
    """Softmax attention; every query must see a key.

    Args:
        qkv: Queries, keys and values ``[batch pos three head d_head]``.
        visible: True where a query may attend ``[query key]``.
        scale: Factor on query . key.

    Returns:
        Values mixed by the pattern ``[batch pos head d_head]``.
    """
    q, k, v = qkv.unbind(2)
    return einsum(_pattern(q, k, visible, scale), v, "b h q k, b k h d -> b q h d").contiguous()


@torch.library.custom_op("mesascope::attention_backward", mutates_args=())
def attention_backward(grad: Tensor, qkv: Tensor, visible: Tensor, scale: float) -> Tensor:
    """The gradient of ``attention`` with respect to ``qkv``, from that with respect to its result."""
    q, k, v = qkv.unbind(2)
    pattern = _pattern(q, k, visible, scale)
    d_pattern = einsum(grad, v, "b q h d, b k h d -> b h q k")
    d_scores = pattern * (d_pattern - reduce(d_pattern * pattern, "b h q k -> b h q 1", "sum")) * scale
    d_q = einsum(d_scores, k, "b h q k, b k h d -> b q h d")
    d_k = einsum(d_scores, q, "b h q k, b q h d -> b k h d")
    d_v = einsum(pattern, grad, "b h q k, b q h d -> b k h d")
    return torch.stack([d_q, d_k, d_v], 2)


def _pattern(q: Mixed, k: Mixed, visible: Bool[Tensor, "query key"], scale: float) -> Tensor:
    scores = einsum(q, k, "b q h d, b k h d -> b h q k") * scale
    return scores.masked_fill(~visible, -math.inf).softmax(-1)


@attention.register_kernel("cuda")
def _(qkv: Tensor, visible: Tensor, scale: float) -> Tensor:
    from workbench.models.fused_kernels import forward

    return forward(qkv.contiguous(), visible, scale)


@attention_backward.register_kernel("cuda")
def _(grad: Tensor, qkv: Tensor, visible: Tensor, scale: float) -> Tensor:
    from workbench.models.fused_kernels import backward

    return backward(grad.contiguous(), qkv.contiguous(), visible, scale)


@attention.register_fake
def _(qkv: Tensor, visible: Tensor, scale: float) -> Tensor:  # noqa: ARG001
    batch, pos, _, head, d_head = qkv.shape
    return qkv.new_empty(batch, pos, head, d_head)


@attention_backward.register_fake
def _(grad: Tensor, qkv: Tensor, visible: Tensor, scale: float) -> Tensor:  # noqa: ARG001
    return qkv.new_empty(qkv.shape)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: Tensor) -> None:  # noqa: ARG001
    qkv, visible, ctx.scale = inputs
    ctx.save_for_backward(qkv, visible)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    return attention_backward(grad, *ctx.saved_tensors, ctx.scale), None, None


attention.register_autograd(_differentiate, setup_context=_keep)


@attention.register_vmap
def _(info: Any, in_dims: Any, qkv: Tensor, visible: Tensor, scale: float) -> tuple[Tensor, int]:
    """Replicas are more prompts."""
    folded = rearrange(qkv.movedim(in_dims[0], 0), "replica batch ... -> (replica batch) ...")
    mixed = attention(folded, visible, scale)
    return rearrange(mixed, "(replica batch) ... -> replica batch ...", replica=info.batch_size), 0
