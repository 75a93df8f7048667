"""Gradient descent with momentum: Polyak's heavy ball."""

from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.baselines.filters import iterated
from workbench.baselines.gd import GD
from workbench.baselines.prefixes import Prefixes
from workbench.baselines.record import Baseline, Gain
from workbench.baselines.step_sizes import diverges, step_sizes
from workbench.configs import is_finite
from workbench.errors import must, refuse_faults


def gain(
    prefixes: Prefixes,
    steps: Int[Tensor, " step"],
    *,
    momentum: float | None = None,
    step_size: float | None = None,
    relative_step_size: float | None = None,
    gradient: Literal["sum", "mean"] = "sum",
) -> Gain:
    """W_{k+1} = w_k - eta (S w_k - m) + b (w_k - w_{k-1}), from w_{-1} = w_0 = 0.

    Args:
        prefixes: What to learn from.
        steps: Numbers of steps k.
        momentum: b, at least 0 and less than 1. By default the best for each prefix, ((sqrt(kappa) - 1) / (sqrt(kappa)
            + 1))^2, with kappa the ratio of its largest to its smallest eigenvalue other than 0.
        step_size: Eta, the same for all prefixes.
        relative_step_size: Without ``step_size``: eta over 1/lambda_max of each prefix. By default the best for each
            prefix, 4 / (sqrt(largest) + sqrt(smallest))^2.
        gradient: Whether ``step_size`` is one for the summed or the mean loss.

    Raises:
        InputError: If a number is out of range.
    """
    values, roots = prefixes.eigenvalues, prefixes.largest.sqrt() + prefixes.smallest.sqrt()
    if step_size is None and relative_step_size is None:
        eta = torch.where(roots > 0, 4 / roots**2, 0.0)
    else:
        eta = step_sizes(prefixes, step_size, relative_step_size or 0.0, gradient)
    if momentum is None:
        gap = prefixes.largest.sqrt() - prefixes.smallest.sqrt()
        b = torch.where(roots > 0, (gap / roots) ** 2, 0.0)
    else:
        holds = is_finite(momentum, at_least=0) and momentum < 1
        refuse_faults([must("momentum", "be at least 0 and less than 1", momentum, holds)])
        b = torch.full_like(roots, momentum)
    eta, b = eta[..., None], b[..., None]
    return iterated(lambda _, f, previous: f + eta * (1 - values * f) + b * (f - previous), values, steps)


def caution(
    *, momentum: float | None = None, step_size: float | None = None, relative_step_size: float | None = None
) -> str:
    """A warning if no prefix can converge; momentum raises the bound on the step size from 2 to 2 (1 + b)."""
    return "" if relative_step_size is None else diverges(step_size, relative_step_size / (1 + (momentum or 0.0)))


MOMENTUM = Baseline(
    name="momentum",
    label="Momentum",
    source="Polyak 1964; the best step size and momentum of each prefix by default",
    family="accelerated",
    color="#0087ff",
    gain=gain,
    caution=caution,
    steps=tuple(step for step in GD.steps if step <= 512),
    diagonal=True,
)
