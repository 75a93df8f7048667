"""Laws of a noise level that is drawn anew for every prompt, in units of the largest."""

import math
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

NoiseLevelLaw = Literal["uniform", "log_uniform", "two_valued"]
_NODES = 128
"""Of Gauss-Legendre quadrature: after 200 examples a level is known to 5%, which is many nodes wide."""


@dataclass(frozen=True, eq=False)
class NoiseLevels:
    """Noise levels with their odds: all that there are, or the nodes of a quadrature over the law.

    Attributes:
        levels: Standard deviations of the label noise, above 0.
        odds: Probabilities.
        w_variance: Variance of a coordinate of the Gaussian w behind the labels.
    """

    levels: Float[Tensor, " level"]
    odds: Float[Tensor, " level"]
    w_variance: float


@runtime_checkable
class HasNoiseLevels(Protocol):
    """A task of linear labels, Gaussian w and Gaussian noise whose level is drawn for every prompt."""

    def noise_levels(self) -> NoiseLevels | None:
        """The law of the levels; None without noise."""
        ...


def drawn(law: NoiseLevelLaw, smallest: float | Tensor, uniform: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Levels from ``smallest`` to 1, of numbers that are uniform on [0, 1)."""
    if law == "two_valued":
        return smallest + (1 - smallest) * (uniform >= 0.5).to(uniform.dtype)
    if law == "uniform":
        return smallest + (1 - smallest) * uniform
    return torch.exp((1 - uniform) * _log(smallest))


def mean_square(law: NoiseLevelLaw, smallest: float | Tensor) -> float | Tensor:
    """E[level^2]; a tensor if ``smallest`` is one."""
    if law == "two_valued":
        return (1 + smallest * smallest) / 2
    if law == "uniform":
        return (1 + smallest + smallest * smallest) / 3
    return (smallest * smallest - 1) / (2 * _log(smallest))


def _log(value: float | Tensor) -> float | Tensor:
    return value.log() if isinstance(value, Tensor) else math.log(value)


def quadrature(law: NoiseLevelLaw, smallest: float) -> tuple[Float[Tensor, " level"], Float[Tensor, " level"]]:
    """Levels and odds of the law, exact for two values, else Gauss-Legendre in the logarithm of the level, float64."""
    if law == "two_valued":
        return torch.tensor([smallest, 1.0], dtype=torch.float64), torch.full((2,), 0.5, dtype=torch.float64)
    places, odds = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(_NODES))
    levels = torch.exp((1 - places) / 2 * math.log(smallest))
    odds = odds * levels if law == "uniform" else odds
    return levels, odds / odds.sum()
