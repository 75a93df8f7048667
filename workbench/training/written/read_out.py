"""The final norm, a read-out of one number and its squared error, with the backward pass written out.

Going back needs two sums over rows alone. With g and b the norm's gain and shift, w the map, x a normalised row and e
the derivative of the loss by what is said, S the sum of e x, and s that of e: the gradients are w S of g, w s of b,
g S + b s of w, and s of the map's bias.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.models.norm import EPSILON
from workbench.models.transformer import Transformer
from workbench.training.flat import FlatLayout
from workbench.training.written.blocks import Read

Labels = Float[Tensor, "replica batch read"]
Each = Float[Tensor, "replica d"]
Ends = tuple[Each, Each, Float[Tensor, "replica 1 d"], Float[Tensor, "replica 1"]]
"""Gain and shift of the norm, map and bias of the read-out."""


def suits(model: Transformer) -> bool:
    """Whether a model without a block's ``obstacle`` says one number, and loses its squared error."""
    return model.config.output == "scalar"


class ReadOut:
    """Losses of all replicas, and gradients.

    Args:
        model: Gives nothing: models that suit differ in their widths alone.
        layout: Of the flat weights.
        n_replicas: Rows of the flat weights.
        compiler: Not needed.
    """

    def __init__(self, model: Transformer, layout: FlatLayout, n_replicas: int, compiler: Callable[[Any], Any]) -> None:  # noqa: ARG002
        self.layout = layout

    def __call__(
        self, rest: Float[Tensor, "replica rest"], stream: Read, *parts: Tensor
    ) -> tuple[Float[Tensor, " replica"], Read, Tensor]:
        """Losses, the gradient of the stream, and that of the weights, zeros where others have theirs."""
        _, labels, counted = parts
        d_rest = torch.zeros_like(rest)
        losses, d_stream = _pieces(rest).losses(stream, labels, counted, self._weights(rest), self._weights(d_rest))
        return losses, d_stream, d_rest

    def _weights(self, rest: Tensor) -> Ends:
        gain, shift, weight, bias = (
            self.layout.of(rest, name) for name in ("ln_final.w", "ln_final.b", "unembed.weight", "unembed.bias")
        )
        return gain, shift, weight, bias


def losses(
    stream: Read, labels: Labels, counted: Labels, weights: Ends, into: Ends
) -> tuple[Float[Tensor, " replica"], Read]:
    """Losses, and the gradient of the stream, as the kernels of this name give them; those of the weights ``into``."""
    gain, shift, weight, bias = weights[0], weights[1], weights[2][:, 0], weights[3][:, 0]
    centred = stream - stream.mean(-1, keepdim=True)
    rate = (centred.square().mean(-1, keepdim=True) + EPSILON).rsqrt()
    scaled = centred * rate
    steep = (gain * weight)[:, None, None]
    said = (scaled * steep).sum(-1) + ((shift * weight).sum(-1) + bias)[:, None, None]
    error = said - labels
    d_said = 2 * counted * error
    of_scaled = (d_said[..., None] * scaled).sum((1, 2))
    of_said = d_said.sum((1, 2))[:, None]
    for to, gradient in zip(
        into, (weight * of_scaled, weight * of_said, (gain * of_scaled + shift * of_said)[:, None], of_said),
        strict=True,
    ):  # fmt: skip
        to.copy_(gradient)
    inward = steep - steep.mean(-1, keepdim=True) - scaled * (steep * scaled).mean(-1, keepdim=True)
    return (counted * error.square()).sum((1, 2)), d_said[..., None] * inward * rate


def _pieces(rest: Tensor) -> ModuleType:
    """The module of kernels, or this one."""
    if not rest.is_cuda:
        return sys.modules[__name__]
    from workbench.training.written import read_out_kernels

    return read_out_kernels
