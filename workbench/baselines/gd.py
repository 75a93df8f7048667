"""Gradient descent on the squared loss of the prefix, from zero."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.baselines.filters import one_minus_power, over_eigenvalues
from workbench.baselines.prefixes import Prefixes
from workbench.baselines.record import Baseline, Gain
from workbench.errors import must, refuse_faults


def gain(
    prefixes: Prefixes,
    steps: Int[Tensor, " step"],
    *,
    step_size: float | None = None,
    relative_step_size: float = 1.0,
    gradient: Literal["sum", "mean"] = "sum",
) -> Gain:
    """W <- w - eta (S_i w - m_i), k times: the filter (1 - (1 - eta lambda)^k) / lambda.

    Args:
        prefixes: What to learn from.
        steps: Numbers of steps k.
        step_size: Eta, the same for all prefixes. Diverges where eta lambda > 2.
        relative_step_size: Without ``step_size``: eta is this over the largest eigenvalue of each prefix.
        gradient: Whether ``step_size`` multiplies the gradient of the summed (Fu et al.) or of the mean (von
            Oswald et al.) squared loss, each with the factor 1/2 that cancels the square's 2. No matter for
            ``relative_step_size``.

    Raises:
        InputError: If a step size is not greater than 0.
    """
    eta = _step_sizes(prefixes, step_size, relative_step_size, gradient)[..., None]
    values = prefixes.eigenvalues
    return over_eigenvalues(one_minus_power(eta * values, steps.to(values.dtype)), values)


def _step_sizes(
    prefixes: Prefixes, step_size: float | None, relative: float, gradient: str
) -> Float[Tensor, "batch context"]:
    if step_size is None:
        refuse_faults([must("relative_step_size", "be greater than 0", relative, relative > 0)])
        return torch.where(prefixes.largest > 0, relative / prefixes.largest, 0.0)
    refuse_faults(
        [
            must("step_size", "be greater than 0", step_size, step_size > 0),
            must("gradient", "be 'sum' or 'mean'", gradient, gradient in ("sum", "mean")),
        ]
    )
    eta = torch.full_like(prefixes.largest, step_size)
    return eta / prefixes.counts.clamp(min=1) if gradient == "mean" else eta


GD = Baseline(
    name="gd",
    label="Gradient descent",
    source="Fu et al. 2024, arXiv:2310.17086, section 3; step size 1/lambda_max of each prefix by default",
    family="first-order",
    gain=gain,
    compared=True,
    # Every step to 16, then quarter octaves: coarser grids make a linear trend look geometric.
    steps=(*range(17), *(round(2 ** (i / 4)) for i in range(17, 53))),
    color="#d95f02",
)
