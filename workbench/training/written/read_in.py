"""Prompts into the stream, with the backward pass written out: a map of few columns, slow as a product of matrices.

On an accelerator the columns are taken one after the other in kernels of their own; the sums of the backward pass are
cut into pieces there, since a few dozen long sums would leave most of it idle.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from einops import einsum
from jaxtyping import Float
from torch import Tensor

from workbench.models.transformer import Transformer
from workbench.training.flat import FlatLayout
from workbench.training.loss import batch_of
from workbench.training.replicas import over
from workbench.training.written.blocks import Stream

Prompts = Float[Tensor, "replica batch pos d_token"]

_MOST_COLUMNS = 32


def suits(model: Transformer) -> bool:
    """Whether a model without a block's ``obstacle`` reads short vectors."""
    return model.config.input != "tokens" and model.d_token <= _MOST_COLUMNS


class ReadIn:
    """The stream before the first block, of all replicas.

    Args:
        model: Gives the prompts' encoding; its own weights are not used.
        layout: Of the flat weights.
        n_replicas: Rows of the flat weights.
        compiler: Applied to the encoding of prompts.
    """

    def __init__(self, model: Transformer, layout: FlatLayout, n_replicas: int, compiler: Callable[[Any], Any]) -> None:
        self.layout, self.config = layout, model.config
        self._encode = compiler(over(n_replicas, lambda *data: model.encode(batch_of(data))))

    def forward(self, rest: Float[Tensor, "replica rest"], *parts: Tensor) -> tuple[Stream, Prompts]:
        """The stream, and the prompts as vectors."""
        *data, _ = parts
        prompts = self._encode(*data)
        return _pieces(rest).place(prompts, *self._weights(rest)), prompts

    def backward(self, d_stream: Stream, prompts: Prompts, d_rest: Tensor) -> None:
        """The gradient of the weights, into place."""
        _pieces(d_rest).gradients(d_stream, prompts, *self._weights(d_rest))

    def _weights(self, rest: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        layout = self.layout
        positions = layout.of(rest, "positions.weight") if "positions.weight" in layout.starts else None
        return layout.of(rest, "embed.weight"), layout.of(rest, "embed.bias"), positions


def place(prompts: Prompts, weight: Tensor, bias: Tensor, positions: Tensor | None) -> Stream:
    """The stream of prompts, as the kernel of this name gives it."""
    stream = einsum(prompts, weight, "r b pos column, r d column -> r b pos d") + bias[:, None, None]
    return stream if positions is None else stream + positions[:, None, : prompts.shape[2]]


def gradients(d_stream: Stream, prompts: Prompts, weight: Tensor, bias: Tensor, positions: Tensor | None) -> None:
    """Gradients of the last three, written into them, as the kernels of this name do."""
    by_place = d_stream.sum(1)
    weight.copy_(einsum(d_stream, prompts, "r b pos d, r b pos column -> r d column"))
    bias.copy_(by_place.sum(1))
    if positions is not None:
        positions[:, : by_place.shape[1]].copy_(by_place)


def _pieces(rest: Tensor) -> ModuleType:
    """The module of kernels, or this one."""
    if not rest.is_cuda:
        return sys.modules[__name__]
    from workbench.training.written import read_in_kernels

    return read_in_kernels
