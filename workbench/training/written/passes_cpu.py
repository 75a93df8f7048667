"""Both passes through plain blocks on one CPU core, spelled out so that TorchScript can run them.

They call the kernels that automatic differentiation calls, in its order, but without Python's lock: threads beside each
other, each with its share of the prompts, would wait for that at every operation. TorchScript is deprecated: where
torch has none, or cannot read these functions, Python runs them.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

WEIGHTS = (
    *("ln1.w", "ln1.b", "attn.qkv.weight", "attn.qkv.bias", "attn.out.weight", "attn.out.bias"),
    *("ln2.w", "ln2.b", "mlp.inner.weight", "mlp.inner.bias", "mlp.out.weight", "mlp.out.bias"),
)
"""The twelve of a block, in the order in which both passes take them."""


def forward(
    stream: Tensor,
    weights: list[Tensor],
    shape: list[int],
    hidden: Tensor,
    scale: float,
    epsilon: float,
    least: int,
) -> tuple[Tensor, list[Tensor]]:
    """The stream ``[row d_model]`` after the last block, and what the backward pass needs.

    Args:
        stream: Before the first block.
        weights: Of all blocks, in their order.
        shape: Prompts, positions, heads, width of a head.
        hidden: Added to scores: -inf where a query must not attend.
        scale: Factor on query . key.
        epsilon: What norms add to variances.
        least: Multiplications from which oneDNN takes a map.
    """
    kept: list[Tensor] = []
    n_batch, n_positions, n_heads, d_head = shape
    width = [stream.size(1)]
    for start in range(0, len(weights), 12):
        gain_1, shift_1, qkv, qkv_bias, out, out_bias = weights[start : start + 6]
        gain_2, shift_2, inner, inner_bias, outer, outer_bias = weights[start + 6 : start + 12]
        normed_1, mean_1, rate_1 = torch.native_layer_norm(stream, width, gain_1, shift_1, epsilon)
        packed = _map(normed_1, qkv, qkv_bias, least).view(n_batch, n_positions, 3, n_heads, d_head)
        apart = packed.permute(2, 0, 3, 1, 4).reshape(3, n_batch * n_heads, n_positions, d_head)
        q, k, v = apart[0], apart[1], apart[2]
        logarithms = torch.log_softmax(torch.baddbmm(hidden, q, k.mT, beta=1, alpha=scale), -1)
        pattern = logarithms.mul_(1.4426950408889634).exp2_()  # 1 / log 2: exp2 has a vector kernel everywhere
        mixed = torch.bmm(pattern, v).view(n_batch, n_heads, n_positions, d_head).permute(0, 2, 1, 3)
        z = mixed.reshape(stream.size(0), n_heads * d_head)
        middle = _map(z, out, out_bias, least).add_(stream)
        normed_2, mean_2, rate_2 = torch.native_layer_norm(middle, width, gain_2, shift_2, epsilon)
        pre = _map(normed_2, inner, inner_bias, least)
        post = F.gelu(pre)
        kept += [stream, normed_1, mean_1, rate_1, q, k, v, pattern, z]
        kept += [middle, normed_2, mean_2, rate_2, pre, post]
        stream = _map(post, outer, outer_bias, least).add_(middle)
    return stream, kept


def backward(
    d_stream: Tensor,
    weights: list[Tensor],
    kept: list[Tensor],
    shape: list[int],
    scale: float,
    least: int,
) -> tuple[Tensor, list[Tensor]]:
    """The gradient of what enters the first block, and of all weights in their order.

    Args:
        d_stream: Gradient of what leaves the last block.
        weights: Of all blocks.
        kept: By ``forward``.
        shape: Prompts, positions, heads, width of a head.
        scale: Factor on query . key.
        least: Multiplications from which oneDNN takes a map.
    """
    found: list[Tensor] = []
    n_batch, n_positions, n_heads, d_head = shape
    n_rows, width = d_stream.size(0), [d_stream.size(1)]
    n_blocks = len(weights) // 12
    for i in range(n_blocks):
        start, first = 12 * (n_blocks - 1 - i), 15 * (n_blocks - 1 - i)
        gain_1, shift_1, qkv, _, out, _ = weights[start : start + 6]
        gain_2, shift_2, inner, _, outer, _ = weights[start + 6 : start + 12]
        stream, normed_1, mean_1, rate_1, q, k, v, pattern, z = kept[first : first + 9]
        middle, normed_2, mean_2, rate_2, pre, post = kept[first + 9 : first + 15]
        d_post, d_outer, d_outer_bias = _map_backward(d_stream, post, outer, least)
        d_pre = torch.ops.aten.gelu_backward(d_post, pre)
        d_normed_2, d_inner, d_inner_bias = _map_backward(d_pre, normed_2, inner, least)
        d_middle, d_gain_2, d_shift_2 = torch.ops.aten.native_layer_norm_backward(
            d_normed_2, middle, width, mean_2, rate_2, gain_2, shift_2, [True, True, True]
        )
        d_middle.add_(d_stream)
        d_mixed, d_out, d_out_bias = _map_backward(d_middle, z, out, least)
        d_z = d_mixed.view(n_batch, n_positions, n_heads, d_head).permute(0, 2, 1, 3)
        d_z = d_z.reshape(n_batch * n_heads, n_positions, d_head)
        d_scores = torch.ops.aten._softmax_backward_data(torch.bmm(d_z, v.mT), pattern, -1, pattern.dtype).mul_(scale)
        d_apart = torch.stack([torch.bmm(d_scores, k), torch.bmm(d_scores.mT, q), torch.bmm(pattern.mT, d_z)])
        d_packed = d_apart.view(3, n_batch, n_heads, n_positions, d_head).permute(1, 3, 0, 2, 4).reshape(n_rows, -1)
        d_normed_1, d_qkv, d_qkv_bias = _map_backward(d_packed, normed_1, qkv, least)
        d_stream, d_gain_1, d_shift_1 = torch.ops.aten.native_layer_norm_backward(
            d_normed_1, stream, width, mean_1, rate_1, gain_1, shift_1, [True, True, True]
        )
        d_stream.add_(d_middle)
        of_block = [d_gain_1, d_shift_1, d_qkv, d_qkv_bias, d_out, d_out_bias]
        of_block += [d_gain_2, d_shift_2, d_inner, d_inner_bias, d_outer, d_outer_bias]
        found = of_block + found
    return d_stream, found


def _map(rows: Tensor, weight: Tensor, bias: Tensor, least: int) -> Tensor:
    if rows.numel() * weight.size(0) >= least:
        return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return F.linear(rows, weight, bias)


def _map_backward(d_out: Tensor, rows: Tensor, weight: Tensor, least: int) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of what a map reads, of its weight and of its bias: see ``products_cpu``."""
    if rows.numel() * weight.size(0) < least:
        return torch.mm(d_out, weight), torch.mm(d_out.mT, rows), d_out.sum(0)
    d_rows = torch.ops.mkldnn._linear_pointwise(d_out, weight.mT, None, "none", [], "")
    if d_out.size(1) > rows.size(1):
        d_weight = torch.ops.mkldnn._linear_pointwise(rows.mT, d_out.mT, None, "none", [], "").mT
    else:
        d_weight = torch.ops.mkldnn._linear_pointwise(d_out.mT, rows.mT, None, "none", [], "")
    return d_rows, d_weight, d_out.sum(0)


@dataclass(frozen=True)
class Passes:
    """``forward`` and ``backward``, and whether TorchScript runs them."""

    forward: Callable[..., tuple[Tensor, list[Tensor]]]
    backward: Callable[..., tuple[Tensor, list[Tensor]]]
    scripted: bool


LINE_BY_LINE = Passes(forward, backward, scripted=False)


@cache
def scripted_if_possible() -> Passes:
    """Without Python's lock, if torch can."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Passes(torch.jit.script(forward), torch.jit.script(backward), scripted=True)
        except Exception:  # whatever it cannot read, or if there is none
            return LINE_BY_LINE
