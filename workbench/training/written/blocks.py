"""The blocks of a plain transformer with their backward pass written out.

Automatic differentiation launches some twenty kernels per layer and direction; written out it is eight, gradients
of weights wait until the end, where one batched product serves all layers, and they land in the flat gradient
without a copy.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.models.config import TransformerConfig
from workbench.training.flat import FlatLayout

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
        pieces: The module of kernels: ``plain`` or ``kernels``.
    """

    def __init__(
        self, config: TransformerConfig, layout: FlatLayout, compiler: Callable[[Any], Any], pieces: ModuleType
    ) -> None:
        self.config, self.stack, self.pieces = config, Stack(layout, config.n_layers), pieces
        self.n_layers, self.n_heads, self.d_head = config.n_layers, config.n_heads, config.head_width
        self.scale = config.attention_scale or self.d_head**-0.5
        self._added, self._summed = compiler(_added), compiler(_summed)

    def __call__(self, stream: Stream, maps: Tensor, rest: Tensor, every: int) -> Read:
        """The stream after the last block at every so many-th position, differentiable in all three tensors."""
        return differentiable(self.forward, self.backward, stream, maps, rest)[:, :, ::every]

    # Forward

    def forward(self, stream: Stream, maps: Tensor, rest: Tensor) -> tuple[Stream, Kept]:
        """The stream after the last block, and what the backward pass needs."""
        n_replicas, n_batch, n_positions, d_model = stream.shape
        n_rows = n_batch * n_positions
        kept, get = self._buffers(stream, maps.dtype, n_rows), self.stack.weights(maps, rest)
        now = stream.reshape(n_replicas, n_rows, d_model)
        added: Tensor | None = None
        bias: Tensor | None = None
        b = kept.buffers
        for layer in range(self.n_layers):
            w = {name: weight[:, layer] for name, weight in get.items()}
            at = {name: buffer[:, layer] for name, buffer in b.items()}
            kept.norms[layer, 1] = self.pieces.add_norm(
                now, added, bias, w["ln1.w"], w["ln1.b"], at["normed_1"], at["stream_1"]
            )
            _map(at["normed_1"], w["attn.qkv.weight"], at["qkv"])
            logs = self.pieces.attention(
                self._packed(at["qkv"], n_batch), w["attn.qkv.bias"], self._mixed(at["mixed"], n_batch), self.scale
            )
            kept.logs.append(logs)
            attended = _map(at["mixed"], w["attn.out.weight"])
            kept.norms[layer, 2] = self.pieces.add_norm(
                at["stream_1"], attended, w["attn.out.bias"], w["ln2.w"], w["ln2.b"], at["normed_2"], at["stream_2"]
            )
            _map(at["normed_2"], w["mlp.inner.weight"], at["slope"])
            self.pieces.gelu(at["slope"], w["mlp.inner.bias"], at["post"])
            added, bias, now = _map(at["post"], w["mlp.out.weight"]), w["mlp.out.bias"], at["stream_2"]
        assert added is not None
        assert bias is not None
        return self._added(now, added, bias).reshape(stream.shape), kept

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

    def backward(self, d_out: Stream, kept: Kept, maps: Tensor, rest: Tensor) -> tuple[Stream, Tensor, Tensor]:
        """Gradients with respect to the incoming stream and both parts of the weights."""
        n_replicas, n_batch, n_positions, d_model = d_out.shape
        n_rows = n_batch * n_positions
        get, b = self.stack.weights(maps, rest), kept.buffers
        d_maps, d_rest = maps.new_zeros(maps.shape), rest.new_zeros(rest.shape)
        d_total = d_out.reshape(n_replicas, n_rows, d_model).clone()
        shape = (n_replicas, self.n_layers, n_rows)
        d = {
            "qkv": maps.new_empty(b["qkv"].shape),
            "mixed": maps.new_empty(*shape, d_model),
            "pre": maps.new_empty(b["slope"].shape),
            "post": maps.new_empty(*shape, d_model),
        }
        n_norm, n_gelu = self.pieces.n_norm_parts(n_rows, d_model), self.pieces.n_gelu_parts(n_rows)
        norm_parts = rest.new_empty(n_replicas, self.n_layers, 2, n_norm, 3, d_model)
        gelu_parts = rest.new_empty(n_replicas, self.n_layers, n_gelu, self.config.mlp_width)
        qkv_parts = rest.new_empty(n_replicas, self.n_layers, n_batch, b["qkv"].shape[-1])
        d["post"][:, -1] = d_total
        for layer in reversed(range(self.n_layers)):
            w = {name: weight[:, layer] for name, weight in get.items()}
            at = {name: buffer[:, layer] for name, buffer in b.items()}
            self.pieces.gelu_backward(
                _back(d["post"][:, layer], w["mlp.out.weight"]), at["slope"], d["pre"][:, layer], gelu_parts[:, layer]
            )
            self.pieces.add_norm_backward(
                _back(d["pre"][:, layer], w["mlp.inner.weight"]), d_total, at["stream_2"], *kept.norms[layer, 2],
                w["ln2.w"], d["mixed"][:, layer], norm_parts[:, layer, 1],
            )  # fmt: skip
            self.pieces.attention_backward(
                self._mixed(_back(d["mixed"][:, layer], w["attn.out.weight"]), n_batch),
                self._mixed(at["mixed"], n_batch), kept.logs[layer], self._packed(at["qkv"], n_batch),
                w["attn.qkv.bias"], self._packed(d["qkv"][:, layer], n_batch), qkv_parts[:, layer], self.scale,
            )  # fmt: skip
            into = d["post"][:, layer - 1] if layer else torch.empty_like(d["post"][:, 0])
            self.pieces.add_norm_backward(
                _back(d["qkv"][:, layer], w["attn.qkv.weight"]), d_total, at["stream_1"], *kept.norms[layer, 1],
                w["ln1.w"], into, norm_parts[:, layer, 0],
            )  # fmt: skip
        self._weight_gradients(d, b, d_maps)
        sums = self._summed(norm_parts, gelu_parts, qkv_parts, d_out.reshape(n_replicas, n_rows, d_model))
        self._bias_gradients(sums, d_maps, d_rest)
        return d_total.reshape(d_out.shape), d_maps, d_rest

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

    def _bias_gradients(self, sums: tuple[Tensor, ...], d_maps: Tensor, d_rest: Tensor) -> None:
        """Put the sums in place; the output bias of an MLP is added in the norm of the next layer."""
        norms, gelus, qkvs, last = sums
        for which, name in ((0, "ln1"), (1, "ln2")):
            self.stack.of(d_rest, f"{name}.w").copy_(norms[:, :, which, 0])
            self.stack.of(d_rest, f"{name}.b").copy_(norms[:, :, which, 1])
        self.stack.of(d_maps, "attn.out.bias").copy_(norms[:, :, 1, 2])
        out_bias = self.stack.of(d_maps, "mlp.out.bias")
        out_bias[:, :-1].copy_(norms[:, 1:, 0, 2])
        out_bias[:, -1].copy_(last)
        self.stack.of(d_maps, "mlp.inner.bias").copy_(gelus)
        self.stack.of(d_maps, "attn.qkv.bias").copy_(qkvs)


def _added(stream: Tensor, added: Tensor, bias: Tensor) -> Tensor:
    return stream + added + bias[:, None]


def _summed(norms: Tensor, gelus: Tensor, qkvs: Tensor, d_out: Tensor) -> tuple[Tensor, ...]:
    return norms.sum(3), gelus.sum(2), qkvs.sum(2), d_out.sum(1)


def _map(rows: Tensor, weight: Tensor, out: Tensor | None = None) -> Tensor:
    """Rows through a linear map, per replica."""
    if rows.shape[0] > 1:
        return torch.bmm(rows, weight.mT) if out is None else torch.bmm(rows, weight.mT, out=out)
    if out is None:
        return torch.mm(rows[0], weight[0].mT)[None]
    torch.mm(rows[0], weight[0].mT, out=out[0])
    return out


def _back(d_rows: Tensor, weight: Tensor) -> Tensor:
    """The gradient of a map's input from that of its output."""
    return torch.bmm(d_rows, weight) if d_rows.shape[0] > 1 else torch.mm(d_rows[0], weight[0])[None]


@runtime_checkable
class Blocks(Protocol):
    """Blocks with a backward pass of their own."""

    def __call__(self, stream: Stream, maps: Tensor, rest: Tensor, every: int) -> Read:
        """The stream after the last block at every so many-th position, differentiable in all three tensors."""
        ...


Forth = Callable[[Stream, Tensor, Tensor], tuple[Read, Any]]
"""From the stream and both parts of the weights to the stream after the last block, and what going back needs."""

Back = Callable[[Read, Any, Tensor, Tensor], tuple[Stream, Tensor, Tensor]]
"""From the gradient of what came out, what is needed, and the weights to gradients of the arguments."""


def differentiable(forth: Forth, back: Back, stream: Stream, maps: Tensor, rest: Tensor) -> Read:
    """What ``forth`` makes of the last three arguments, differentiable in them."""
    return _Blocks.apply(stream, maps, rest, forth, back)  # type: ignore[return-value]


class _Blocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, stream: Tensor, maps: Tensor, rest: Tensor, forth: Forth, back: Back) -> Tensor:
        out, ctx.kept = forth(stream, maps, rest)
        ctx.back = back
        ctx.save_for_backward(maps, rest)
        return out

    @staticmethod
    def backward(ctx: Any, *d_outs: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        maps, rest = ctx.saved_tensors
        return *ctx.back(d_outs[0], ctx.kept, maps, rest), None, None
