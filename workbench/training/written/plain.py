"""The pieces of a block and their gradients in plain tensor code: what the kernels compute, and a check on them.

Rows are positions of prompts ``[replica row d]``; a bias or gain is ``[replica d]``; a map is ``[replica d_out d_in]``,
for the way back transposed. Gradients of biases and gains
come as sums over parts of the rows, so that a kernel may leave the last sum to one reduction over all layers.
"""

import math

import torch
from einops import einsum, rearrange, reduce
from jaxtyping import Float
from torch import Tensor

from workbench.models.norm import EPSILON

Rows = Float[Tensor, "replica row d"]
Read = Float[Tensor, "replica row d_in"]
Map = Float[Tensor, "replica d d_in"]
Each = Float[Tensor, "replica d"]
Packed = Float[Tensor, "replica batch pos three head d_head"]
Mixed = Float[Tensor, "replica batch pos head d_head"]
Onward = tuple[Tensor, Tensor, Tensor]
PerRow = Float[Tensor, "replica row"]


def mapped(rows: Read, weight: Map, out: Rows | None = None) -> Rows:
    """Rows through a linear map, into ``out`` if it is given."""
    found = rows @ weight.mT
    return found if out is None else out.copy_(found)


def norm(stream: Rows, gain: Each, shift: Each, out: Rows, total: Rows, onward: Onward | None) -> tuple[PerRow, PerRow]:
    """Normalise: ``out`` is written, ``stream`` copied to ``total``; mean and 1 / deviation come back.

    Args:
        stream: What is normalised.
        gain: Of the norm.
        shift: Of the norm.
        out: Its output.
        total: The stream again, for the way back.
        onward: A map of the output, with a bias that ``attention`` may add later, and where that goes.
    """
    total.copy_(stream)
    mean = total.mean(-1)
    rate = (total.var(-1, correction=0) + EPSILON).rsqrt()
    out.copy_((total - mean[..., None]) * rate[..., None] * gain[:, None] + shift[:, None])
    if onward is not None:
        weight, _later, to = onward
        mapped(out, weight, to)
    return mean, rate


def map_add_norm(
    rows: Read, weight: Map, bias: Each, stream: Rows, gain: Each, shift: Each, out: Rows, total: Rows,
    onward: Onward | None,
) -> tuple[PerRow, PerRow]:  # fmt: skip
    """Add rows through a map to the stream, and normalise as ``norm`` does."""
    return norm(stream + mapped(rows, weight) + bias[:, None], gain, shift, out, total, onward)


def norm_backward(
    d_rows: Read, weight: Map, d_total: Rows, total: Rows, mean: PerRow, rate: PerRow, gain: Each, d_added: Rows,
    parts: Tensor, onward: tuple[Tensor, Tensor] | None,
) -> None:  # fmt: skip
    """Add to ``d_total`` what comes through the map back and the norm before it; write it to ``d_added`` as well.

    ``parts [replica part 3 d]`` gets the gradients of gain, shift and the added bias; ``onward`` is a map further back
    and where that goes.
    """
    d_out = mapped(d_rows, weight)
    scaled = (total - mean[..., None]) * rate[..., None]
    d_scaled = d_out * gain[:, None]
    inward = d_scaled - d_scaled.mean(-1, keepdim=True) - scaled * (d_scaled * scaled).mean(-1, keepdim=True)
    d_total.add_(inward * rate[..., None])
    d_added.copy_(d_total)
    parts.zero_()
    parts[:, 0] = torch.stack([(d_out * scaled).sum(1), d_out.sum(1).to(total.dtype), d_total.sum(1)], 1)
    if onward is not None:
        mapped(d_added, *onward)


def map_gelu(rows: Read, weight: Map, bias: Each, slope: Rows, out: Rows) -> None:
    """GELU of rows through a map with its bias, into ``out``; its slope into ``slope``."""
    x = mapped(rows, weight) + bias[:, None]
    share = (1 + torch.erf(x / math.sqrt(2))) / 2
    out.copy_(x * share)
    slope.copy_(share + x * torch.exp(-x * x / 2) / math.sqrt(2 * math.pi))


def gelu_backward(d_rows: Read, weight: Map, slope: Rows, d_pre: Rows, parts: Tensor) -> None:
    """The gradient before GELU into ``d_pre``, from that after the map; ``parts [replica part d]`` gets the bias's."""
    d_pre.copy_(mapped(d_rows, weight) * slope)
    parts.zero_()
    parts[:, 0] = d_pre.sum(1)


def attention(qkv: Packed, bias: Each, out: Mixed, scale: float) -> Float[Tensor, "replica batch head pos"]:
    """Causal softmax attention on ``qkv`` plus bias, into ``out``; the logarithms of the rows' sums come back."""
    q, k, v = _biased(qkv, bias)
    scores = _scores(q, k, scale)
    out.copy_(einsum(scores.softmax(-1), v, "r b h q k, r b k h d -> r b q h d"))
    return scores.logsumexp(-1)


def attention_backward(
    d_out: Mixed, out: Mixed, logs: Tensor, qkv: Packed, bias: Each, d_qkv: Packed, parts: Tensor, scale: float
) -> None:
    """The gradient of ``qkv`` into ``d_qkv``; ``parts [replica part d]`` gets that of the bias."""
    q, k, v = _biased(qkv, bias)
    pattern = (_scores(q, k, scale) - logs[..., None]).exp()
    d_pattern = einsum(d_out, v, "r b q h d, r b k h d -> r b h q k")
    through = reduce(d_out * out, "r b q h d -> r b h q 1", "sum")
    d_scores = pattern * (d_pattern - through) * scale
    d_q = einsum(d_scores, k, "r b h q k, r b k h d -> r b q h d")
    d_k = einsum(d_scores, q, "r b h q k, r b q h d -> r b k h d")
    d_v = einsum(pattern, d_out, "r b h q k, r b q h d -> r b k h d")
    d_qkv.copy_(torch.stack([d_q, d_k, d_v], 3))
    parts.copy_(rearrange(d_qkv.sum(2), "r b three h d -> r b (three h d)"))


def _biased(qkv: Packed, bias: Each) -> tuple[Tensor, ...]:
    per_head = rearrange(bias, "r (three h d) -> r three h d", three=3, h=qkv.shape[4])
    return (qkv + per_head[:, None, None]).unbind(3)


def _scores(q: Mixed, k: Mixed, scale: float) -> Tensor:
    scores = einsum(q, k, "r b q h d, r b k h d -> r b h q k") * scale
    seen = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool, device=q.device).tril()
    return scores.masked_fill(~seen, -math.inf)


def n_norm_parts(n_rows: int, d: int) -> int:  # noqa: ARG001  # kernels take more
    """Parts over which the gradients of a norm's gain and shift are summed."""
    return 1


def n_gelu_parts(n_rows: int, d: int) -> int:  # noqa: ARG001  # kernels take more
    """Parts over which the gradient of a bias before GELU is summed."""
    return 1


def n_attention_parts(n_batch: int, n_positions: int) -> int:  # noqa: ARG001  # kernels take more
    """Parts over which the gradient of the bias of queries, keys and values is summed."""
    return n_batch


def received(
    d_read: Float[Tensor, "replica batch read d"], d_total: Rows, d_added: Rows, parts: Tensor, every: int
) -> None:
    """Copy what comes in to every so many-th position, in full and rounded, zeros between.

    ``parts [replica part d]`` gets its sum over rows.
    """
    d_total.zero_().unflatten(1, (d_read.shape[1], -1))[:, :, ::every] = d_read
    d_added.copy_(d_total)
    parts.zero_()
    parts[:, 0] = d_total.sum(1)


def n_received_parts(n_rows: int) -> int:  # noqa: ARG001  # kernels take more
    """Parts over which ``received`` sums."""
    return 1


def summed(parts: Float[Tensor, "replica layer part each d"], *into: Float[Tensor, "replica _layer d"]) -> None:
    """Sum over parts, each into its place; a place that lacks layers lacks the first ones."""
    for total, to in zip(parts.sum(2).unbind(2), into, strict=True):
        to.copy_(total[:, total.shape[1] - to.shape[1] :])
