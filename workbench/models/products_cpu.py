"""Linear maps on the CPU by oneDNN, which torch has on board but asks for other types only.

Matrix products of torch go through MKL, which on processors of other makers than Intel's stops at 256-bit vectors:
oneDNN computes the narrow products of small transformers up to twice as fast there.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.models.watching import runs_line_by_line

LEAST_PRODUCTS = 2**21
"""Multiplications below which the call costs more than it saves."""

Rows = Float[Tensor, "*lead d_in"]


def can_map(rows: Rows, weight: Float[Tensor, "d_out d_in"]) -> bool:
    """Whether ``linear`` is for such tensors, and runs line by line."""
    is_large = rows.numel() * len(weight) >= LEAST_PRODUCTS
    return is_large and takes(rows) and takes(weight) and runs_line_by_line()


def takes(numbers: Tensor) -> bool:
    """Whether oneDNN is there and for numbers of this kind."""
    return numbers.dtype == torch.float32 and numbers.device.type == "cpu" and _has_onednn()


def linear(
    rows: Rows, weight: Float[Tensor, "d_out d_in"], bias: Float[Tensor, " d_out"] | None
) -> Float[Tensor, "*lead d_out"]:
    """As ``torch.nn.functional.linear``."""
    return _Linear.apply(rows, weight, bias)  # type: ignore[return-value]


def _has_onednn() -> bool:
    is_there = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
    return is_there and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return _product(rows, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        rows, weight = ctx.saved_tensors
        gradient = gradients[0]
        for_rows, for_weight, for_bias = ctx.needs_input_grad
        flat, read = gradient.flatten(0, -2), rows.flatten(0, -2)
        if torch.is_grad_enabled():  # this gradient may be differentiated itself
            return gradient @ weight, flat.mT @ read, flat.sum(0) if for_bias else None
        return (
            _product(gradient, weight.mT, None) if for_rows else None,
            _for_weight(flat, read) if for_weight else None,
            flat.sum(0) if for_bias else None,
        )


def _for_weight(gradient: Float[Tensor, "row d_out"], read: Float[Tensor, "row d_in"]) -> Float[Tensor, "d_out d_in"]:
    """The gradient of a weight; oneDNN is up to 1.4 times as fast with the wider side second."""
    if gradient.shape[1] > read.shape[1]:
        return _product(read.mT, gradient.mT, None).mT
    return _product(gradient.mT, read.mT, None)
