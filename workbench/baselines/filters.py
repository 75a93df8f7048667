"""Spectral filters: functions of the eigenvalues of every prefix."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

_LARGEST_POWER = 2.0**1000


def one_minus_power(distance: Tensor, exponents: Float[Tensor, " step"]) -> Float[Tensor, "step ..."]:
    """1 - (1 - distance)^n for whole n of at least 0, accurate where the distance is small.

    Through logarithms: (1 - distance)^n keeps its digits for any n, and its sign is that of an odd n beyond 1.
    """
    n = exponents.clamp(max=_LARGEST_POWER).reshape(-1, *[1] * distance.ndim)
    beyond = distance > 1
    # log |1 - distance|, finite also at distance 1
    log = torch.log1p(-torch.where(beyond, 2 - distance, distance)).clamp(min=-1e300)
    grown = torch.expm1((n * log).clamp(min=-1e300))
    if not bool(beyond.any()):
        return -grown
    return torch.where(beyond & (n % 2 == 1), 2 + grown, -grown)


def over_eigenvalues(shares: Tensor, eigenvalues: Tensor) -> Tensor:
    """What is learnt of each direction over its eigenvalue: the gain, 0 outside the span of the prefix."""
    return shares * torch.where(eigenvalues > 0, 1 / eigenvalues, 0.0)


def iterated(
    advance: Callable[[int, Tensor, Tensor], Tensor], eigenvalues: Tensor, steps: Int[Tensor, " step"]
) -> Float[Tensor, "step batch context eigen"]:
    """Gains after each of ``steps`` of an iteration from zero, 0 outside the span of the prefix.

    Iterates the gain f itself: the residual 1 - lambda f would lose the digits of what has hardly been learnt.

    Args:
        advance: From the number of steps done, f and the f before (at first f itself) to the next f.
        eigenvalues: Those of each prefix.
        steps: Numbers of steps.
    """
    wanted = set(steps.tolist())
    gain = previous = torch.zeros_like(eigenvalues)
    kept: dict[int, Tensor] = {}
    for number in range(max(wanted) + 1):
        if number in wanted:
            kept[number] = torch.where(eigenvalues > 0, gain, 0.0)
        gain, previous = advance(number, gain, previous), gain
    return torch.stack([kept[step] for step in steps.tolist()])
