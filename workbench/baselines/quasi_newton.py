"""What BFGS and L-BFGS share: quadratic losses in the eigenbasis of each prefix."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

PerEigen = Float[Tensor, "batch context eigen"]
PerPrefix = Float[Tensor, "batch context"]

CONVERGED = 1e-14
"""Norm of the gradient, relative to the first, from which on the iterate stays: beyond it 0/0 looms."""


def dot(a: PerEigen, b: PerEigen) -> PerPrefix:
    """Products of the vectors of each prefix."""
    return (a * b).sum(-1)


def ratio(a: Tensor, b: Tensor, where: Bool[Tensor, "batch context"]) -> PerPrefix:
    """A / b in these prefixes, 0 in others; finite derivatives everywhere."""
    return torch.where(where, a / torch.where(where, b, 1.0), 0.0)


def exact_length(gradient: PerEigen, direction: PerEigen, curved: PerEigen, going: Tensor) -> PerPrefix:
    """The step length that minimises a quadratic loss along a direction; ``curved`` is S times the direction."""
    return ratio(-dot(gradient, direction), dot(direction, curved), going)
