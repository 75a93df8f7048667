"""Losses and gradients of one plain transformer on a CPU core, with both passes through its blocks written out.

Small updates are many short operations. Written out they are those of automatic differentiation, in the same order, so
that the gradients are the same bit by bit; what is saved is the account that it keeps and Python's part of each.
"""

from collections.abc import Sequence

import torch
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
from workbench.training.written.passes_cpu import LINE_BY_LINE, WEIGHTS, scripted_if_possible

_NEVER = 2**62
"""More multiplications than any map has."""

Stream = Float[Tensor, "batch pos d_model"]


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
        inside = [f"blocks.{i}.{name}" for i in range(model.config.n_layers) for name in WEIGHTS]
        outside = [name for name in weights if not name.startswith("blocks.")]
        self._inside = [weights[name].detach() for name in inside]
        self._outside = [weights[name] for name in outside]
        self._into = [into[name] for name in (*inside, *outside)]
        attention = model.layers[0].attn
        self._heads, self._scale = (attention.n_heads, model.config.head_width), attention.scale
        on_cpu = leaves[0].device.type == "cpu"
        self.passes = scripted_if_possible() if on_cpu else LINE_BY_LINE
        self._least = products_cpu.LEAST_PRODUCTS if products_cpu.takes(leaves[0]) else _NEVER

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
            output = self.model(stream, start_at_layer=self.model.config.n_layers)
            loss = (self.model.losses(output, batch) * weights).sum()
            d_stream, *d_read_out = _gradients(loss, [stream, *self._outside])
        with torch.no_grad():
            d_embedded, d_blocks = self._backward(d_stream, kept)
        d_read_in = _gradients(embedded, self._outside, d_embedded)
        d_outside = [one + other for one, other in zip(d_read_in, d_read_out, strict=True)]
        torch._foreach_copy_(self._into, [*d_blocks, *d_outside])  # pyright: ignore[reportPrivateImportUsage]
        return loss.detach()[None], self._gradients

    def _forward(self, embedded: Stream) -> tuple[Stream, list[Tensor]]:
        """The stream after the last block, and what the backward pass needs."""
        n_positions = embedded.shape[1]
        hidden = fused_cpu.hidden_scores(self.model.visible[:n_positions, :n_positions], embedded.dtype)
        rows, shape = embedded.flatten(0, 1), self._shape(embedded)
        rows, kept = self.passes.forward(rows, self._inside, shape, hidden, self._scale, EPSILON, self._least)
        return rows.view(embedded.shape), kept

    def _backward(self, d_out: Stream, kept: list[Tensor]) -> tuple[Stream, list[Tensor]]:
        """The gradient of what enters the first block, and of the weights of all in their order."""
        rows, shape = d_out.flatten(0, 1), self._shape(d_out)
        rows, found = self.passes.backward(rows, self._inside, kept, shape, self._scale, self._least)
        return rows.view(d_out.shape), found

    def _shape(self, stream: Stream) -> list[int]:
        return [*stream.shape[:2], *self._heads]


def _gradients(of: Tensor, by: Sequence[Tensor], along: Tensor | None = None) -> tuple[Tensor, ...]:
    return torch.autograd.grad(of, by, along, allow_unused=True, materialize_grads=True)
