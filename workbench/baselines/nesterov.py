"""Nesterov's accelerated gradient descent."""

from typing import Literal

import torch
from jaxtyping import Float, Int
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
    kind: Literal["fista", "constant"] = "fista",
    momentum: float | None = None,
    step_size: float | None = None,
    relative_step_size: float = 1.0,
    gradient: Literal["sum", "mean"] = "sum",
) -> Gain:
    """V = w_k + b_k (w_k - w_{k-1}), w_{k+1} = v - eta (S v - m), from zero.

    Args:
        prefixes: What to learn from.
        steps: Numbers of steps k.
        kind: Whether b_k = (t_k - 1) / t_{k+1} with t_1 = 1 and t_{k+1} = (1 + sqrt(1 + 4 t_k^2)) / 2 (Beck and
            Teboulle), or b is constant.
        momentum: The constant b, at least 0 and less than 1. By default (sqrt(kappa) - 1) / (sqrt(kappa) + 1) of each
            prefix, with kappa the ratio of its largest to its smallest eigenvalue other than 0.
        step_size: Eta, the same for all prefixes.
        relative_step_size: Without ``step_size``: eta over 1/lambda_max of each prefix.
        gradient: Whether ``step_size`` is one for the summed or the mean loss.

    Raises:
        InputError: If a number is out of range, or momentum is given for "fista".
    """
    within = momentum is None or (is_finite(momentum, at_least=0) and momentum < 1)
    refuse_faults(
        [
            must("momentum", "be at least 0 and less than 1", momentum, within),
            must("momentum", "be left out for kind 'fista'", momentum, kind != "fista" or momentum is None),
        ]
    )
    values = prefixes.eigenvalues
    eta = step_sizes(prefixes, step_size, relative_step_size, gradient)[..., None]
    b = _momenta(int(steps.max()) + 1) if kind == "fista" else [_constant(prefixes, momentum)]

    def advance(k: int, f: Tensor, previous: Tensor) -> Tensor:
        ahead = f + b[k if kind == "fista" else 0] * (f - previous)
        return ahead + eta * (1 - values * ahead)

    return iterated(advance, values, steps)


def _momenta(n: int) -> list[float]:
    """b_0, b_1, ...; the first is without effect, as nothing has moved yet."""
    t, found = 1.0, [0.0]
    for _ in range(n):
        later = (1 + (1 + 4 * t * t) ** 0.5) / 2
        found.append((t - 1) / later)
        t = later
    return found


def _constant(prefixes: Prefixes, momentum: float | None) -> Float[Tensor, "batch context 1"]:
    if momentum is not None:
        return torch.full_like(prefixes.largest, momentum)[..., None]
    large, small = prefixes.largest.sqrt(), prefixes.smallest.sqrt()
    return torch.where(large > 0, (large - small) / (large + small), 0.0)[..., None]


def caution(*, step_size: float | None = None, relative_step_size: float = 1.0) -> str:
    """A warning if no prefix can converge."""
    return diverges(step_size, relative_step_size)


NESTEROV = Baseline(
    name="nesterov",
    label="Nesterov",
    source="Nesterov 1983; Beck and Teboulle 2009 (FISTA), the default; step size 1/lambda_max of each prefix",
    family="accelerated",
    color="#0096c3",
    gain=gain,
    caution=caution,
    steps=tuple(step for step in GD.steps if step <= 1024),
    diagonal=True,
)
