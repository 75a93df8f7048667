"""Blocks so narrow that their maps fit on the chip beside a tile of rows: two kernels per layer and direction.

One holds whole prompts, from what the first norm left to what the heads mixed. Between two attentions a row of the
stream meets no other row: the second takes a tile of rows from what one layer's heads mixed to what the next layer's
first norm leaves. What ``kernels`` exchanges between its eight stays in registers. Only what norms leave and what heads
mixed are kept; going back computes the rest again. After the last attention, only rows count where predictions are
read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workbench.models.config import TransformerConfig
from workbench.training.flat import FlatLayout
from workbench.training.written import narrow_rows
from workbench.training.written.blocks import Read, Stack, Stream
from workbench.training.written.narrow_attention import attention, attention_backward
from workbench.training.written.narrow_gradients import attention_gradients, mlp_gradients
from workbench.training.written.narrow_parts import Left, Normed, Places, Weights

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
        mixed: What the heads mixed, ``[replica layer row d_model]``.
        logs: Of the sums of the attention's rows, ``[layer replica batch head pos]``.
        places: Where predictions are read.
    """

    norms: tuple[Normed, Normed]
    mixed: Tensor
    logs: Tensor
    places: Places


class NarrowBlocks:
    """As ``WrittenBlocks``, for configs without an ``obstacle``."""

    def __init__(self, config: TransformerConfig, layout: FlatLayout, compiler: Callable[[Any], Any]) -> None:  # noqa: ARG002  # as others
        self.config, self.stack = config, Stack(layout, config.n_layers)
        self.scale = config.attention_scale or config.head_width**-0.5

    def _around(self, weights: Weights, layer: int) -> tuple[Weights | None, Weights | None]:
        """The weights of the blocks below and above a boundary between layers."""
        return _of_layer(weights, layer - 1) if layer else None, (
            _of_layer(weights, layer) if layer < self.stack.n_layers else None
        )

    def forward(self, stream: Stream, maps: Tensor, rest: Tensor, every: int) -> tuple[Read, Kept]:
        """The stream after the last block at every so many-th position, and what the backward pass needs."""
        n_replicas, n_batch, n_positions, d_model = stream.shape
        now, n_layers = stream.flatten(1, 2).contiguous(), self.stack.n_layers
        shape = (n_replicas, n_layers, now.shape[1])
        norms = (self._room(maps, shape), self._room(maps, shape))
        logs = stream.new_empty(n_layers, n_replicas, n_batch, self.config.n_heads, n_positions)
        kept = Kept(norms, maps.new_empty(*shape, d_model), logs, Places(n_batch, n_positions, every))
        weights = self.stack.weights(maps, rest)
        for layer in range(n_layers + 1):
            below, above = self._around(weights, layer)
            mixed = kept.mixed[:, layer - 1] if layer else None
            now = narrow_rows.forward(now, mixed, below, above, norms, layer, kept.places)
            if above is not None:
                attention(norms[0].scaled[:, layer], above, kept.mixed[:, layer], logs[layer], self.scale)
        return now.unflatten(1, (n_batch, -1)), kept

    def _room(self, maps: Tensor, shape: tuple[int, ...]) -> Normed:
        return Normed(maps.new_empty(*shape, self.config.d_model), maps.new_empty(shape, dtype=torch.float32))

    def backward(self, d_read: Read, kept: Kept, maps: Tensor, rest: Tensor, d_rest: Tensor) -> tuple[Stream, Tensor]:
        """Gradients of the incoming stream and of the maps; those of norms are written into ``d_rest``."""
        now, weights = d_read.flatten(1, 2).contiguous(), self.stack.weights(maps, rest)
        d_qkv = kept.mixed.new_empty(*kept.mixed.shape[:3], 3 * self.config.d_model)
        d_mid, d_post = torch.empty_like(kept.mixed), torch.empty_like(kept.mixed)
        left = Left(kept.norms[0], d_qkv, kept.mixed, d_mid, kept.norms[1], d_post, kept.places)
        for layer in reversed(range(self.stack.n_layers + 1)):
            below, above = self._around(weights, layer)
            now = narrow_rows.backward(now, left, layer, below, above, kept.places)
            if below is not None:
                scaled, logs = kept.norms[0].scaled[:, layer - 1], kept.logs[layer - 1]
                attention_backward(scaled, d_mid[:, layer - 1], logs, below, d_qkv[:, layer - 1], self.scale)
        d_maps = self.stack.room(maps)
        into = self.stack.weights(d_maps, d_rest)
        attention_gradients(left, weights, into)
        mlp_gradients(left, weights, into)
        return now.unflatten(1, (d_read.shape[1], -1)), d_maps


def _of_layer(weights: Weights, layer: int) -> Weights:
    return {name: weight[:, layer] for name, weight in weights.items()}
