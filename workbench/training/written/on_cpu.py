"""Losses and gradients of one plain transformer on a CPU core, with the blocks' two passes written out.

Small updates are many short operations, and automatic differentiation takes as long to keep account of them as the core
takes to do them. Written out they are the same operations in the same order, so that the gradients are the same too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from workbench.models import fused_cpu, products_cpu
from workbench.models.norm import EPSILON
from workbench.models.prompt import plan_of
from workbench.models.transformer import Transformer
from workbench.training.config import RunConfig
from workbench.training.flat import FlatLayout
from workbench.training.gradients import Found, Leaves, Parts, bind
from workbench.training.loss import batch_of
from workbench.training.written.blocks import obstacle

_WEIGHTS = (
    *("ln1.w", "ln1.b", "attn.qkv.weight", "attn.qkv.bias", "attn.out.weight", "attn.out.bias"),
    *("ln2.w", "ln2.b", "mlp.inner.weight", "mlp.inner.bias", "mlp.out.weight", "mlp.out.bias"),
)
"""Of a block, in the order in which ``_Block`` has them."""

Stream = Float[Tensor, "row d_model"]
Read = Float[Tensor, "row d_in"]
Written = Float[Tensor, "row d_out"]
Norm = tuple[Tensor, Tensor, Tensor]
Shape = tuple[int, int, int, int, int]
"""Of packed queries, keys and values: batch, pos, 3, head, d_head."""


def fits(config: RunConfig) -> bool:
    """Whether this code runs a config: what it spells out is short prompts through plain blocks."""
    model, train = config.model, config.train
    if train.device not in ("cpu", "meta") or train.precision not in ("float32", "float64") or obstacle(model):
        return False
    n_positions = plan_of(model).n_positions(model.n_context) if model.n_context else model.n_ctx
    return n_positions is not None and n_positions <= fused_cpu.MOST_POSITIONS


class OnCpu:
    """As ``Bound``, for configs that fit.

    Read-in, read-out and loss stay with automatic differentiation: they are a small part, and of many kinds.
    """

    def __init__(self, model: Transformer, layout: FlatLayout, leaves: Leaves) -> None:
        self.model = model
        self._gradients, into = bind(model, layout, leaves)
        weights = dict(model.named_parameters())
        names = [[f"blocks.{i}.{name}" for name in _WEIGHTS] for i in range(model.config.n_layers)]
        attention = model.layers[0].attn
        self._blocks = [_Block(*(weights[name] for name in of_block)) for of_block in names]
        self._heads = attention.n_heads, model.config.head_width
        self._scale = attention.scale
        outside = [name for name in weights if not name.startswith("blocks.")]
        self._outside = [weights[name] for name in outside]
        self._into = [into[name] for name in [*(name for of_block in names for name in of_block), *outside]]

    def __call__(self, leaves: Leaves, parts: Parts) -> Found:  # noqa: ARG002  # it has them
        """Losses ``[1]``, and gradients that are overwritten at the next call."""
        *data, weights = (part[0] for part in parts)
        batch = batch_of(tuple(data))
        with torch.enable_grad():
            embedded = self.model(self.model.encode(batch), stop_at_layer=0)
        with torch.no_grad():
            stream, kept = self._forward(embedded.detach())
        with torch.enable_grad():
            stream.requires_grad_()
            output = self.model(stream, start_at_layer=len(self._blocks))
            loss = (self.model.losses(output, batch) * weights).sum()
            d_stream, *d_read_out = _gradients(loss, [stream, *self._outside])
        with torch.no_grad():
            d_embedded, d_blocks = self._backward(d_stream, kept)
        d_read_in = _gradients(embedded, self._outside, d_embedded)
        d_outside = [one + other for one, other in zip(d_read_in, d_read_out, strict=True)]
        torch._foreach_copy_(self._into, [*d_blocks, *d_outside])  # pyright: ignore[reportPrivateImportUsage]
        return loss.detach()[None], self._gradients

    def _forward(
        self, embedded: Float[Tensor, "batch pos d_model"]
    ) -> tuple[Float[Tensor, "batch pos d_model"], "list[_Kept]"]:
        n_positions = embedded.shape[1]
        hidden = fused_cpu.hidden_scores(self.model.visible[:n_positions, :n_positions], embedded.dtype)
        shape = self._shape(embedded)
        stream, kept = embedded.flatten(0, 1), []
        for block in self._blocks:
            stream, of_block = _forward(block, stream, shape, hidden, self._scale)
            kept.append(of_block)
        return stream.view(embedded.shape), kept

    def _shape(self, stream: Float[Tensor, "batch pos d_model"]) -> Shape:
        n_batch, n_positions, _ = stream.shape
        return n_batch, n_positions, 3, *self._heads

    def _backward(
        self, d_out: Float[Tensor, "batch pos d_model"], kept: "Sequence[_Kept]"
    ) -> tuple[Float[Tensor, "batch pos d_model"], list[Tensor]]:
        """The gradient of what enters the first block, and of the weights of all in their order."""
        d_stream, found, shape = d_out.flatten(0, 1), [], self._shape(d_out)
        for block, of_block in zip(reversed(self._blocks), reversed(kept), strict=True):
            d_stream, gradients = _backward(block, d_stream, of_block, shape, self._scale)
            found = gradients + found
        return d_stream.view(d_out.shape), found


@dataclass(frozen=True, eq=False)
class _Block:
    """The weights of a block."""

    gain_1: Tensor
    shift_1: Tensor
    qkv: Tensor
    qkv_bias: Tensor
    out: Tensor
    out_bias: Tensor
    gain_2: Tensor
    shift_2: Tensor
    inner: Tensor
    inner_bias: Tensor
    outer: Tensor
    outer_bias: Tensor


@dataclass(frozen=True, eq=False)
class _Kept:
    """What the backward pass needs of a block's forward pass."""

    stream: Stream
    norm_1: Norm
    attention: tuple[Tensor, Tensor, Tensor, Tensor]
    mixed: Tensor
    middle: Stream
    norm_2: Norm
    pre: Tensor
    post: Tensor


def _forward(w: _Block, stream: Stream, shape: Shape, hidden: Tensor, scale: float) -> tuple[Stream, _Kept]:
    norm_1 = torch.native_layer_norm(stream, w.gain_1.shape, w.gain_1, w.shift_1, EPSILON)
    packed = _map(norm_1[0], w.qkv, w.qkv_bias).view(shape)
    z, q, k, v, pattern = fused_cpu.mixed(packed, hidden, scale)
    mixed = z.reshape(stream.shape[0], -1)
    middle = stream + _map(mixed, w.out, w.out_bias)
    norm_2 = torch.native_layer_norm(middle, w.gain_2.shape, w.gain_2, w.shift_2, EPSILON)
    pre = _map(norm_2[0], w.inner, w.inner_bias)
    post = F.gelu(pre)
    kept = _Kept(stream, norm_1, (q, k, v, pattern), mixed, middle, norm_2, pre, post)
    return middle + _map(post, w.outer, w.outer_bias), kept


def _backward(w: _Block, d_stream: Stream, kept: _Kept, shape: Shape, scale: float) -> tuple[Stream, list[Tensor]]:
    """The gradient of what enters the block, and of its weights in their order."""
    d_post, *outer = _map_backward(d_stream, kept.post, w.outer)
    d_pre = torch.ops.aten.gelu_backward(d_post, kept.pre)
    d_normed, *inner = _map_backward(d_pre, kept.norm_2[0], w.inner)
    d_through, *norm_2 = _norm_backward(d_normed, kept.middle, kept.norm_2, w.gain_2, w.shift_2)
    d_middle = d_stream + d_through
    d_mixed, *out = _map_backward(d_middle, kept.mixed, w.out)
    n_batch, n_positions, _, n_heads, d_head = shape
    d_z = d_mixed.view(n_batch, n_positions, n_heads, d_head)
    d_packed = fused_cpu.mixed_backward(d_z, *kept.attention, scale).reshape(len(d_stream), -1)
    d_normed, *qkv = _map_backward(d_packed, kept.norm_1[0], w.qkv)
    d_through, *norm_1 = _norm_backward(d_normed, kept.stream, kept.norm_1, w.gain_1, w.shift_1)
    return d_middle + d_through, [*norm_1, *qkv, *out, *norm_2, *inner, *outer]


def _map(rows: Read, weight: Tensor, bias: Tensor) -> Written:
    fast = products_cpu.can_map(rows, weight)
    return (products_cpu.product if fast else F.linear)(rows, weight, bias)


def _map_backward(d_out: Written, rows: Read, weight: Tensor) -> tuple[Read, Tensor, Tensor]:
    """The gradients of what a map reads, of its weight and of its bias."""
    if products_cpu.can_map(rows, weight):
        return products_cpu.product(d_out, weight.mT, None), products_cpu.for_weight_of(d_out, rows), d_out.sum(0)
    return d_out @ weight, d_out.mT @ rows, d_out.sum(0)


def _norm_backward(d_out: Stream, read: Stream, norm: Norm, gain: Tensor, shift: Tensor) -> Norm:
    """The gradients of what a norm reads, of its gain and of its shift."""
    _, mean, rate = norm
    return torch.ops.aten.native_layer_norm_backward(
        d_out, read, list(gain.shape), mean, rate, gain, shift, [True, True, True]
    )


def _gradients(of: Tensor, by: Sequence[Tensor], along: Tensor | None = None) -> tuple[Tensor, ...]:
    return torch.autograd.grad(of, by, along, allow_unused=True, materialize_grads=True)
