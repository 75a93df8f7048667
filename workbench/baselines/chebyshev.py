"""Chebyshev's semi-iteration: the best fixed step sizes for eigenvalues within an interval."""

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.baselines.filters import iterated
from workbench.baselines.gd import GD
from workbench.baselines.prefixes import PerPrefix, Prefixes
from workbench.baselines.record import Baseline, Gain
from workbench.configs import is_finite
from workbench.errors import must, refuse_faults


def gain(
    prefixes: Prefixes,
    steps: Int[Tensor, " step"],
    *,
    lower: float | None = None,
    upper: float | None = None,
) -> Gain:
    """1 - lambda f = T_k((u + l - 2 lambda) / (u - l)) / T_k((u + l) / (u - l)), with T_k by its recurrence.

    Args:
        prefixes: What to learn from.
        steps: Numbers of steps k.
        lower: l, the same for all prefixes; by default the smallest eigenvalue of each other than 0.
        upper: u; by default the largest eigenvalue of each prefix. Grows without bound where an eigenvalue exceeds
            l + u.

    Raises:
        InputError: If the interval is not one of positive numbers.
    """
    given = [bound for bound in (lower, upper) if bound is not None]
    refuse_faults(
        [
            must("lower and upper", "be greater than 0", given, all(is_finite(bound, above=0) for bound in given)),
            must("lower", "be at most upper", given, len(given) < 2 or given[0] <= given[1]),
        ]
    )
    values = prefixes.eigenvalues
    low, high = _bound(prefixes.smallest, lower), _bound(prefixes.largest, upper)
    centre, half = ((high + low) / 2)[..., None], ((high - low) / 2)[..., None]
    centre = torch.where(centre > 0, centre, 1.0)
    ratio = torch.zeros_like(centre)  # half T_{k-1} / T_k, both at centre / half

    def advance(k: int, f: Tensor, previous: Tensor) -> Tensor:
        nonlocal ratio
        size = 1 / centre if k == 0 else 2 / (2 * centre - ratio)
        kept = ratio / (2 * centre - ratio)
        ratio = half**2 * size / (1 if k == 0 else 2)
        return f + size * (1 - values * f) + kept * (f - previous)

    return iterated(advance, values, steps)


def _bound(own: PerPrefix, given: float | None) -> PerPrefix:
    return own if given is None else torch.full_like(own, given)


CHEBYSHEV = Baseline(
    name="chebyshev",
    label="Chebyshev",
    source="Golub and Varga 1961; between the extreme eigenvalues of each prefix by default",
    family="accelerated",
    color="#1e4b69",
    gain=gain,
    steps=tuple(step for step in GD.steps if step <= 512),
    diagonal=True,
)
