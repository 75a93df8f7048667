"""Blocks so narrow that their maps fit on the chip beside a tile of rows: two kernels per layer and direction.

Between two attentions a row of the stream meets no other row. One kernel therefore takes a tile of rows from what one
layer's heads mixed to the next layer's queries, keys and values: output map, norm, MLP, norm and map. What ``kernels``
exchanges between its eight stays in registers. Only what norms leave, queries, keys and values, and what heads mixed
are kept; the backward kernel computes the rest again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workbench.models.config import TransformerConfig
from workbench.training.flat import FlatLayout
from workbench.training.written import narrow_kernels as pieces
from workbench.training.written.blocks import Stack, Stream, differentiable

_WIDTHS = (16, 32, 64)
_HIDDEN = (16, 32, 64, 128, 256)
MOST_POSITIONS = 64


def obstacle(config: TransformerConfig, n_positions: int) -> str:
    """Why these kernels cannot run the blocks of a model, or "": they are too wide, or not a power of two."""
    if n_positions > MOST_POSITIONS:
        return f"prompts have {n_positions} positions, more than {MOST_POSITIONS}"
    if config.head_width not in (16, 32):
        return f"d_head is {config.head_width}, not 16 or 32"
    heads = config.n_heads * config.head_width
    if config.d_model not in _WIDTHS or heads != config.d_model or config.mlp_width not in _HIDDEN:
        return f"d_model {config.d_model}, heads {heads}, MLP {config.mlp_width}: not powers of two up to 64, 64, 256"
    return ""


@dataclass(frozen=True)
class Kept:
    """What the backward pass needs of the forward pass.

    Attributes:
        norms: What the first and the second norm of each block left.
        qkv: Queries, keys and values, ``[replica layer row 3*d_model]``.
        mixed: What the heads mixed, ``[replica layer row d_model]``.
        logs: Of the sums of the attention's rows, of each layer.
    """

    norms: tuple[pieces.Normed, pieces.Normed]
    qkv: Tensor
    mixed: Tensor
    logs: list[Tensor]


class NarrowBlocks:
    """As ``WrittenBlocks``, for configs without an ``obstacle``."""

    def __init__(self, config: TransformerConfig, layout: FlatLayout, compiler: Callable[[Any], Any]) -> None:
        self.config, self.stack = config, Stack(layout, config.n_layers)
        self.scale = config.attention_scale or config.head_width**-0.5
        self._summed = compiler(_summed)

    def __call__(self, stream: Stream, maps: Tensor, rest: Tensor) -> Stream:
        """The stream after the last block, differentiable in all three arguments."""
        return differentiable(self, stream, maps, rest)

    def _heads(self, rows: Tensor, n_batch: int, *shape: int) -> Tensor:
        return rows.unflatten(1, (n_batch, -1)).unflatten(-1, (*shape, self.config.n_heads, self.config.head_width))

    def _around(self, weights: pieces.Weights, layer: int) -> tuple[pieces.Weights | None, pieces.Weights | None]:
        """The weights of the blocks below and above a boundary between layers."""
        below = {name: weight[:, layer - 1] for name, weight in weights.items()}
        above = {name: weight[:, layer] for name, weight in weights.items()} if layer < self.stack.n_layers else None
        return (below if layer else None), above

    def forward(self, stream: Stream, maps: Tensor, rest: Tensor) -> tuple[Stream, Kept]:
        """The stream after the last block, and what the backward pass needs."""
        n_batch, n_layers = stream.shape[1], self.stack.n_layers
        now = stream.flatten(1, 2).contiguous()
        shape = (now.shape[0], n_layers, now.shape[1])
        d_model = self.config.d_model
        norms = (self._room(maps, shape), self._room(maps, shape))
        kept = Kept(norms, maps.new_empty(*shape, 3 * d_model), maps.new_empty(*shape, d_model), [])
        weights = self.stack.weights(maps, rest)
        for layer in range(n_layers + 1):
            mixed = kept.mixed[:, layer - 1] if layer else None
            qkv = kept.qkv[:, layer] if layer < n_layers else None
            now = pieces.forward(now, mixed, *self._around(weights, layer), qkv, norms, layer)
            if qkv is not None:
                out = self._heads(kept.mixed[:, layer], n_batch)
                kept.logs.append(pieces.attention(self._heads(qkv, n_batch, 3), out, self.scale))
        return now.reshape(stream.shape), kept

    def _room(self, maps: Tensor, shape: tuple[int, ...]) -> pieces.Normed:
        return pieces.Normed(maps.new_empty(*shape, self.config.d_model), maps.new_empty(shape, dtype=torch.float32))

    def backward(self, d_out: Stream, kept: Kept, maps: Tensor, rest: Tensor) -> tuple[Stream, Tensor, Tensor]:
        """Gradients with respect to the incoming stream and both parts of the weights."""
        n_batch, weights = d_out.shape[1], self.stack.weights(maps, rest)
        now = d_out.flatten(1, 2).contiguous()
        d_mid, d_post = torch.empty_like(kept.mixed), torch.empty_like(kept.mixed)
        left = pieces.Left(kept.norms[0], torch.empty_like(kept.qkv), kept.mixed, d_mid, kept.norms[1], d_post)
        d_mixed = kept.mixed.new_empty(now.shape)
        for layer in reversed(range(self.stack.n_layers + 1)):
            now = pieces.backward(now, d_mixed, left, layer, *self._around(weights, layer))
            if layer:
                pieces.attention_backward(
                    self._heads(d_mixed, n_batch), kept.logs[layer - 1],
                    self._heads(kept.qkv[:, layer - 1], n_batch, 3),
                    self._heads(left.d_qkv[:, layer - 1], n_batch, 3), self.scale,
                )  # fmt: skip
        return now.reshape(d_out.shape), *self._weight_gradients(left, maps, rest)

    def _weight_gradients(self, left: pieces.Left, maps: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        d_maps, d_rest = maps.new_zeros(maps.shape), rest.new_zeros(rest.shape)
        weights, into = self.stack.weights(maps, rest), self.stack.weights(d_maps, d_rest)
        of_attention, norm_1 = pieces.attention_gradients(left, weights, into)
        of_mlp, norm_2 = pieces.mlp_gradients(left, weights, into)
        parts = {**of_attention, **of_mlp}
        first, second, *sums = self._summed(norm_1, norm_2, *parts.values())
        found = {"ln1.w": first[:, :, 0], "ln1.b": first[:, :, 1], "ln2.w": second[:, :, 0], "ln2.b": second[:, :, 1]}
        for name, gradient in {**found, **dict(zip(parts, sums, strict=True))}.items():
            into[name].copy_(gradient)
        return d_maps, d_rest


def _summed(*parts: Tensor) -> tuple[Tensor, ...]:
    return tuple(part.sum(2) for part in parts)
