"""GD++: gradient descent whose layers also shrink the inputs along their large directions."""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.baselines.filters import iterated
from workbench.baselines.prefixes import Prefixes
from workbench.baselines.record import Baseline, Gain
from workbench.baselines.step_sizes import listed
from workbench.configs import is_finite
from workbench.errors import must, refuse_faults


def gain(
    prefixes: Prefixes,
    steps: Int[Tensor, " step"],
    *,
    relative_step_size: float = 1.0,
    relative_gamma: float = 0.5,
    schedule: Sequence[float] | None = None,
    gammas: Sequence[float] | None = None,
    gradient: Literal["sum", "mean"] = "sum",
) -> Gain:
    """Each step is one of gradient descent, then x <- (I - gamma S) x for all inputs, the query included.

    As a filter: r <- r (1 - eta lambda_l), lambda_{l+1} = lambda_l (1 - gamma lambda_l)^2, gain (1 - r) / lambda_0.

    Args:
        prefixes: What to learn from.
        steps: Numbers of steps.
        relative_step_size: Eta times the largest eigenvalue that is left at that step.
        relative_gamma: Gamma times the same eigenvalue.
        schedule: Instead of ``relative_step_size``: eta of the first step, of the second, ...
        gammas: Instead of ``relative_gamma``: gamma of each step. At least 0.
        gradient: Whether ``schedule`` and ``gammas`` belong to sums over the prefix or to means.

    Raises:
        InputError: If sizes are out of range or fewer than steps.
    """
    refuse_faults(
        [
            must("relative_step_size", "be greater than 0", relative_step_size, is_finite(relative_step_size, above=0)),
            must("relative_gamma", "be at least 0", relative_gamma, is_finite(relative_gamma, at_least=0)),
        ]
    )
    values, n = prefixes.eigenvalues, int(steps.max())
    etas = None if schedule is None else listed(prefixes, "schedule", schedule, n, gradient)
    shrinks = None if gammas is None else listed(prefixes, "gammas", gammas, n, gradient)
    rates = _rates(values, relative_step_size if etas is None else etas, relative_gamma if shrinks is None else shrinks)
    return iterated(lambda k, f, _: f + next(rates) * (1 - values * f) if k < n else f, values, steps)


def _rates(values: Tensor, etas: float | Sequence[Tensor], gammas: float | Sequence[Tensor]) -> Iterator[Tensor]:
    """Eta lambda_l / lambda_0 of one step after the other; single sizes are relative to the largest lambda_l."""
    left = torch.ones_like(values)  # lambda_l / lambda_0
    for k in count():
        now = left * values
        unit = torch.where(now.amax(-1) > 0, 1 / now.amax(-1), 0.0)
        eta, gamma = ((each * unit if isinstance(each, float | int) else each[k])[..., None] for each in (etas, gammas))
        yield eta * left
        left = left * (1 - gamma * now) ** 2


GD_PLUS_PLUS = Baseline(
    name="gd_plus_plus",
    label="GD++",
    source="von Oswald et al. 2023, arXiv:2212.07677, section 4; per prefix 1/lambda_max and half of it by default",
    family="second-order",
    color="#96965a",
    gain=gain,
    steps=tuple(range(33)),
    diagonal=True,
)
