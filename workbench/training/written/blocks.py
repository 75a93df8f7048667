"""The blocks of a plain transformer with their backward pass written out.

Automatic differentiation launches some twenty kernels per layer and direction; written out it is eight, gradients
of weights wait until the end, where one batched product serves all layers, and they land in the flat gradient
without a copy.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.models.config import TransformerConfig
from workbench.training.flat import FlatLayout
from workbench.training.written.beside import beside

Stream = Float[Tensor, "replica batch pos d_model"]
Read = Float[Tensor, "replica batch read d_model"]


_KNOWN: Mapping[str, tuple[Any, ...]] = {
    "attention": ("softmax",),
    "first_attention": (None, "softmax"),
    "products": ("separate",),
    "projections": (True,),
    "mlp_first": (False,),
    "attention_gate": (False,),
    "sink": ("none",),
    "positions": ("none", "learned"),
    "layout": ("interleaved", "interleaved_shared"),
    "causal": (True,),
    "norm": ("layer_norm",),
    "mlp": ("gelu",),
    "bias": (True,),
    "tied_layers": (False,),
    "stream_limit": (None,),
    "input_injection": (False,),
}
"""Values of the switches that change what a block does, for which the backward pass is written out."""


def obstacle(config: TransformerConfig) -> str:
    """Why the blocks of a model cannot be run by this code, or ""."""
    values = {name: getattr(config, name) for name in _KNOWN}
    return ", ".join(f"{name} is {value!r}" for name, value in values.items() if value not in _KNOWN[name])


@dataclass
class Kept:
    """What the backward pass needs of the forward pass, of all layers: ``[replica layer row d]``."""

    buffers: dict[str, Tensor] = field(default_factory=dict)
    logs: list[Tensor] = field(default_factory=list)
    norms: dict[tuple[int, int], tuple[Tensor, Tensor]] = field(default_factory=dict)
    every: int = 1


@dataclass(frozen=True)
class Stack:
    """The weights of all blocks in the flat vectors; every layer lies there in the same order."""

    layout: FlatLayout
    n_layers: int

    def of(self, part: Tensor, name: str) -> Float[Tensor, "replica layer ..."]:
        """A weight of all layers as one view."""
        start, shape = self.layout.starts[f"blocks.0.{name}"], self.layout.shapes[f"blocks.0.{name}"]
        apart = self.layout.starts[f"blocks.1.{name}"] - start if self.n_layers > 1 else part.shape[1]
        offset = start if start < self.layout.n_maps else start - self.layout.n_maps
        inner = [shape[1], 1] if len(shape) == 2 else [1]
        return part.as_strided(
            (part.shape[0], self.n_layers, *shape), (part.stride(0), apart, *inner), part.storage_offset() + offset
        )

    def room(self, maps: Tensor) -> Tensor:
        """For gradients of the maps: zeros where none is written, between weights."""
        shapes, starts = self.layout.shapes, self.layout.starts
        used = sum(math.prod(shapes[name]) for name, start in starts.items() if start < self.layout.n_maps)
        return maps.new_empty(maps.shape) if used == self.layout.n_maps else maps.new_zeros(maps.shape)

    def weights(self, maps: Tensor, rest: Tensor) -> dict[str, Tensor]:
        """Every weight of all layers, by its name in a block."""
        names = [name.removeprefix("blocks.0.") for name in self.layout.starts if name.startswith("blocks.0.")]
        return {name: self.of(rest if name.startswith("ln") else maps, name) for name in names}


class WrittenBlocks:
    """The blocks of R replicas.

    Args:
        config: Of the model, without an ``obstacle``.
        layout: Of the flat weights.
        compiler: Applied to the small pieces that need no kernel of their own.
        pieces: The module of kernels: ``plain``, ``kernels`` or ``wide``.
    """

    def __init__(
        self, config: TransformerConfig, layout: FlatLayout, compiler: Callable[[Any], Any], pieces: ModuleType
    ) -> None:
        self.config, self.stack, self.pieces = config, Stack(layout, config.n_layers), pieces
        self.n_layers, self.n_heads, self.d_head = config.n_layers, config.n_heads, config.head_width
        self.scale = config.attention_scale or self.d_head**-0.5
        self._added = compiler(_added)

    # Forward

    def forward(self, stream: Stream, maps: Tensor, rest: Tensor, every: int) -> tuple[Read, Kept]:
        """The stream after the last block at every so many-th position, and what the backward pass needs."""
        n_replicas, n_batch, n_positions, d_model = stream.shape
        n_rows = n_batch * n_positions
        kept, get = self._buffers(stream, maps.dtype, n_rows), self.stack.weights(maps, rest)
        kept.every = every
        per_layer = [
            {name: part[:, layer] for name, part in {**get, **kept.buffers}.items()} for layer in range(self.n_layers)
        ]
        onward = [(at["attn.qkv.weight"], at["attn.qkv.bias"], at["qkv"]) for at in per_layer]
        at = per_layer[0]
        kept.norms[0, 1] = self.pieces.norm(
            stream.reshape(n_replicas, n_rows, d_model), at["ln1.w"], at["ln1.b"], at["normed_1"], at["stream_1"],
            onward[0],
        )  # fmt: skip
        for layer, at in enumerate(per_layer):
            qkv, mixed = self._packed(at["qkv"], n_batch), self._mixed(at["mixed"], n_batch)
            kept.logs.append(self.pieces.attention(qkv, at["attn.qkv.bias"], mixed, self.scale))
            kept.norms[layer, 2] = self.pieces.map_add_norm(
                at["mixed"], at["attn.out.weight"], at["attn.out.bias"], at["stream_1"], at["ln2.w"], at["ln2.b"],
                at["normed_2"], at["stream_2"], None,
            )  # fmt: skip
            self.pieces.map_gelu(at["normed_2"], at["mlp.inner.weight"], at["mlp.inner.bias"], at["slope"], at["post"])
            if layer + 1 < self.n_layers:
                above = per_layer[layer + 1]
                kept.norms[layer + 1, 1] = self.pieces.map_add_norm(
                    at["post"], at["mlp.out.weight"], at["mlp.out.bias"], at["stream_2"], above["ln1.w"],
                    above["ln1.b"], above["normed_1"], above["stream_1"], onward[layer + 1],
                )  # fmt: skip
        before, post = (_read(at[name], n_batch, every) for name in ("stream_2", "post"))
        out = self._added(before, self.pieces.mapped(post, at["mlp.out.weight"]), at["mlp.out.bias"])
        return out.unflatten(1, (n_batch, -1)), kept

    def _buffers(self, stream: Stream, low: torch.dtype, n_rows: int) -> Kept:
        config, heads = self.config, self.n_heads * self.d_head
        widths = {
            "normed_1": config.d_model,
            "qkv": 3 * heads,
            "mixed": heads,
            "normed_2": config.d_model,
            "slope": config.mlp_width,
            "post": config.mlp_width,
        }
        shape = (stream.shape[0], self.n_layers, n_rows)
        buffers = {name: stream.new_empty(*shape, width, dtype=low) for name, width in widths.items()}
        for name in ("stream_1", "stream_2"):
            buffers[name] = stream.new_empty(*shape, config.d_model)
        return Kept(buffers)

    def _packed(self, rows: Tensor, n_batch: int) -> Tensor:
        return rows.unflatten(1, (n_batch, -1)).unflatten(-1, (3, self.n_heads, self.d_head))

    def _mixed(self, rows: Tensor, n_batch: int) -> Tensor:
        return rows.unflatten(1, (n_batch, -1)).unflatten(-1, (self.n_heads, self.d_head))

    # Backward

    def backward(self, d_read: Read, kept: Kept, maps: Tensor, rest: Tensor, d_rest: Tensor) -> tuple[Stream, Tensor]:
        """Gradients of the incoming stream and of the maps; those of norms are written into ``d_rest``."""
        n_replicas, n_batch, _, d_model = d_read.shape
        get, b = self.stack.weights(maps, rest), kept.buffers
        n_rows = b["post"].shape[2]
        n_positions = n_rows // n_batch
        d_maps = self.stack.room(maps)
        shape = (n_replicas, self.n_layers, n_rows)
        d = {
            "qkv": maps.new_empty(b["qkv"].shape),
            "mixed": maps.new_empty(*shape, d_model),
            "pre": maps.new_empty(b["post"].shape),
            "post": maps.new_empty(*shape, d_model),
        }
        n_norm, n_gelu = (
            self.pieces.n_norm_parts(n_rows, d_model),
            self.pieces.n_gelu_parts(n_rows, self.config.mlp_width),
        )
        norm_parts = rest.new_empty(n_replicas, self.n_layers, 2, n_norm, 3, d_model)
        gelu_parts = rest.new_empty(n_replicas, self.n_layers, n_gelu, 1, self.config.mlp_width)
        n_attention = self.pieces.n_attention_parts(n_batch, n_positions)
        qkv_parts = rest.new_empty(n_replicas, self.n_layers, n_attention, 1, b["qkv"].shape[-1])
        received = rest.new_empty(n_replicas, 1, self.pieces.n_received_parts(n_rows), 1, d_model)
        d_total = torch.empty_like(kept.buffers["stream_1"][:, 0])
        self.pieces.received(d_read.contiguous(), d_total, d["post"][:, -1], received[:, 0, :, 0], kept.every)
        for layer in reversed(range(self.n_layers)):
            w = {name: weight[:, layer] for name, weight in get.items()}
            at = {name: buffer[:, layer] for name, buffer in b.items()}
            self.pieces.gelu_backward(
                d["post"][:, layer], w["mlp.out.weight"].mT, at["slope"], d["pre"][:, layer], gelu_parts[:, layer, :, 0]
            )
            d_z = torch.empty_like(b["mixed"][:, layer])
            self.pieces.norm_backward(
                d["pre"][:, layer], w["mlp.inner.weight"].mT, d_total, at["stream_2"], *kept.norms[layer, 2],
                w["ln2.w"], d["mixed"][:, layer], norm_parts[:, layer, 1], (w["attn.out.weight"].mT, d_z),
            )  # fmt: skip
            self.pieces.attention_backward(
                self._mixed(d_z, n_batch), self._mixed(at["mixed"], n_batch), kept.logs[layer],
                self._packed(at["qkv"], n_batch), w["attn.qkv.bias"], self._packed(d["qkv"][:, layer], n_batch),
                qkv_parts[:, layer, :, 0], self.scale,
            )  # fmt: skip
            into = d["post"][:, layer - 1] if layer else torch.empty_like(d["post"][:, 0])
            self.pieces.norm_backward(
                d["qkv"][:, layer], w["attn.qkv.weight"].mT, d_total, at["stream_1"], *kept.norms[layer, 1],
                w["ln1.w"], into, norm_parts[:, layer, 0], None,
            )  # fmt: skip
        done = beside(d_read.device, lambda: self._weight_gradients(d, b, d_maps))
        into = {**self.stack.weights(d_maps, d_rest), "last": self.stack.of(d_maps, "mlp.out.bias")[:, -1:]}
        below = self.stack.of(d_maps, "mlp.out.bias")[:, :-1]  # added in the norm of the next layer
        self.pieces.summed(norm_parts[:, :, 0], into["ln1.w"], into["ln1.b"], below)
        self.pieces.summed(norm_parts[:, :, 1], into["ln2.w"], into["ln2.b"], into["attn.out.bias"])
        self.pieces.summed(received, into["last"])
        self.pieces.summed(gelu_parts, into["mlp.inner.bias"])
        self.pieces.summed(qkv_parts, into["attn.qkv.bias"])
        done()
        return d_total.unflatten(1, (n_batch, -1)), d_maps

    def _weight_gradients(self, d: Mapping[str, Tensor], b: Mapping[str, Tensor], d_maps: Tensor) -> None:
        """Products of all layers at once, into the flat gradient."""
        pairs = {
            "attn.qkv.weight": (d["qkv"], b["normed_1"]),
            "attn.out.weight": (d["mixed"], b["mixed"]),
            "mlp.inner.weight": (d["pre"], b["normed_2"]),
            "mlp.out.weight": (d["post"], b["post"]),
        }
        for name, (d_out, read) in pairs.items():
            into = self.stack.of(d_maps, name)
            torch.bmm(d_out.flatten(0, 1).mT, read.flatten(0, 1), out=into.view(-1, *into.shape[2:]))


def _read(rows: Tensor, n_batch: int, every: int) -> Tensor:
    """Rows of every so many-th position."""
    return rows.unflatten(1, (n_batch, -1))[:, :, ::every].flatten(1, 2)


def _added(stream: Tensor, added: Tensor, bias: Tensor) -> Tensor:
    return stream + added + bias[:, None]


@runtime_checkable
class Blocks(Protocol):
    """Both passes through the blocks."""

    def forward(self, stream: Stream, maps: Tensor, rest: Tensor, every: int) -> tuple[Read, Any]:
        """The stream after the last block at every so many-th position, and what the backward pass needs."""
        ...

    def backward(self, d_read: Read, kept: Any, maps: Tensor, rest: Tensor, d_rest: Tensor) -> tuple[Stream, Tensor]:
        """Gradients of the incoming stream and of the maps; those of norms are written into ``d_rest``."""
        ...
