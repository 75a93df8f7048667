"""Gradient descent on the ridge loss of the prefix, from zero: its limit is ridge regression, not least squares."""

from typing import Literal

import torch
from jaxtyping import Real
from torch import Tensor

from workbench.baselines import gd
from workbench.baselines.filters import one_minus_power
from workbench.baselines.prefixes import Prefixes
from workbench.baselines.record import Baseline, Gain
from workbench.baselines.step_sizes import diverges, divisor
from workbench.configs import is_finite
from workbench.errors import must, refuse_faults


def gain(
    prefixes: Prefixes,
    steps: Real[Tensor, " step"],
    *,
    ridge: float = 0.1,
    step_size: float | None = None,
    relative_step_size: float = 1.0,
    gradient: Literal["sum", "mean"] = "sum",
) -> Gain:
    """W <- w - eta ((S_i + ridge I) w - m_i), k times: (1 - (1 - eta (lambda + ridge))^k) / (lambda + ridge).

    Args:
        prefixes: What to learn from.
        steps: Numbers of steps k; the filter has a meaning for fractions too.
        ridge: Strength on the sum loss, as of `ridge`.
        step_size: Eta, the same for all prefixes. Diverges where eta (lambda + ridge) > 2.
        relative_step_size: Without ``step_size``: eta is this over the largest eigenvalue of each prefix plus ridge.
        gradient: Whether ``step_size`` multiplies the gradient of the summed ridge loss, or that over the number of
            examples, the ridge term included.

    Raises:
        InputError: If a step size is not greater than 0, or ``ridge`` is negative.
    """
    name, size = ("step_size", step_size) if step_size is not None else ("relative_step_size", relative_step_size)
    refuse_faults(
        [
            must("ridge", "be at least 0", ridge, is_finite(ridge, at_least=0)),
            must(name, "be greater than 0", size, is_finite(size, above=0)),
        ]
    )
    values = prefixes.eigenvalues
    sums = values + ridge
    unit = divisor(prefixes, gradient) if step_size is not None else torch.where(sums[..., -1] > 0, sums[..., -1], 1.0)
    learnt = one_minus_power((size / unit)[..., None] * sums, steps.to(values.dtype))
    return learnt * torch.where(values > 0, 1 / sums, 0.0)


def caution(*, step_size: float | None = None, relative_step_size: float = 1.0) -> str:
    """A warning if no prefix can converge."""
    return diverges(step_size, relative_step_size)


RIDGE_GD = Baseline(
    name="ridge_gd",
    label="GD on the ridge loss",
    source="Akyurek et al. 2023, arXiv:2211.15661, theorem 1, on the whole prefix; 1/(lambda_max + ridge) by default",
    family="first-order",
    color="#002d96",
    gain=gain,
    caution=caution,
    steps=gd.GD.steps,
    limit="ridge",
    diagonal=True,
)
