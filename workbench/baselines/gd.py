"""Gradient descent on the squared loss of the prefix, from zero."""

from collections.abc import Sequence
from typing import Literal

from jaxtyping import Real
from torch import Tensor

from workbench.baselines.filters import iterated, one_minus_power, over_eigenvalues
from workbench.baselines.prefixes import Prefixes
from workbench.baselines.record import Baseline, Gain
from workbench.baselines.step_sizes import diverges, listed, step_sizes


def gain(
    prefixes: Prefixes,
    steps: Real[Tensor, " step"],
    *,
    step_size: float | None = None,
    relative_step_size: float = 1.0,
    schedule: Sequence[float] | None = None,
    gradient: Literal["sum", "mean"] = "sum",
) -> Gain:
    """W <- w - eta (S_i w - m_i), k times: the filter (1 - (1 - eta lambda)^k) / lambda.

    Args:
        prefixes: What to learn from.
        steps: Numbers of steps k; the filter has a meaning for fractions too.
        step_size: Eta, the same for all prefixes. Diverges where eta lambda > 2.
        relative_step_size: Without ``step_size``: eta is this over the largest eigenvalue of each prefix.
        schedule: Instead of both: eta of the first step, of the second, ...
        gradient: Whether ``step_size`` and ``schedule`` multiply the gradient of the summed (Fu et al.) or of the mean
            (von Oswald et al.) squared loss, each with the factor 1/2 that cancels the square's 2. No matter for
            ``relative_step_size``.

    Raises:
        InputError: If a step size is not greater than 0, or there are fewer in ``schedule`` than steps.
    """
    values = prefixes.eigenvalues
    if schedule is not None:
        sizes = listed(prefixes, "schedule", schedule, int(steps.max()), gradient)
        return iterated(
            lambda k, f, _: f + sizes[k][..., None] * (1 - values * f) if k < len(sizes) else f, values, steps
        )
    eta = step_sizes(prefixes, step_size, relative_step_size, gradient)[..., None]
    return over_eigenvalues(one_minus_power(eta * values, steps.to(values.dtype)), values)


def caution(*, step_size: float | None = None, relative_step_size: float = 1.0, schedule: object = None) -> str:
    """A warning if no prefix can converge."""
    return "" if schedule is not None else diverges(step_size, relative_step_size)


GD = Baseline(
    name="gd",
    label="Gradient descent",
    source="Fu et al. 2024, arXiv:2310.17086, section 3; step size 1/lambda_max of each prefix by default",
    family="first-order",
    color="#d95f02",
    gain=gain,
    caution=caution,
    # Every step to 16, then quarter octaves: coarser grids make a linear trend look geometric.
    steps=(*range(17), *(round(2 ** (i / 4)) for i in range(17, 53))),
    diagonal=True,
    compared=True,
)
