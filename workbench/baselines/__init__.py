"""Reference algorithms: what the prediction would be if the model ran this one.

Prediction i uses the examples 0 to i - 1 and x_i. Everything is float64.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from workbench.baselines.averaging import AVERAGING
from workbench.baselines.cg import CG
from workbench.baselines.gd import GD
from workbench.baselines.newton import NEWTON
from workbench.baselines.ols import OLS
from workbench.baselines.prefixes import Prefixes
from workbench.baselines.record import Baseline
from workbench.baselines.ridge import RIDGE
from workbench.baselines.zero import ZERO
from workbench.configs import is_count
from workbench.errors import InputError, must, refuse_faults
from workbench.registry import by_name, find, unknown

BASELINES = by_name(ZERO, AVERAGING, OLS, RIDGE, GD, NEWTON, CG)

__all__ = ["BASELINES", "Baseline", "Prefixes", "predict", "weights"]


def weights(
    name: str,
    xs: Float[Tensor, "batch context d_input"] | Prefixes,
    ys: Float[Tensor, "batch context"] | None = None,
    steps: Sequence[int] | None = None,
    **options: Any,
) -> Float[Tensor, "*step batch context d_input"]:
    """Weight vectors that an algorithm has learnt from each prefix, float64.

    Args:
        name: A name from ``BASELINES``.
        xs: Inputs, or `Prefixes`, which share their eigendecomposition between calls.
        ys: Labels; none with `Prefixes`.
        steps: Numbers of steps, for an iterative algorithm; the result then has a leading step axis.
        **options: The algorithm's own keyword options, such as ``step_size``.

    Raises:
        InputError: If the name or an option is unknown, steps are missing or out of place, or data not finite.
    """
    baseline = find(BASELINES, name, "algorithm")
    _check_options(baseline, options)
    prefixes = xs if isinstance(xs, Prefixes) else _checked_prefixes(xs, ys)
    if not baseline.iterative:
        if steps is not None:
            raise InputError(f"steps must be left out for {name!r}, which does not iterate; got {steps!r}.")
        return baseline.weights(prefixes, **options)[0]
    return baseline.weights(prefixes, _checked_steps(name, steps).to(prefixes.xs.device), **options)


def predict(
    name: str,
    xs: Float[Tensor, "batch context d_input"] | Prefixes,
    ys: Float[Tensor, "batch context"] | None = None,
    steps: Sequence[int] | None = None,
    **options: Any,
) -> Float[Tensor, "*step batch context"]:
    """Predictions of an algorithm, float64: number i from the examples before i and x_i.

    Args:
        name: A name from ``BASELINES``.
        xs: Inputs, or `Prefixes`.
        ys: Labels; none with `Prefixes`.
        steps: Numbers of steps, for an iterative algorithm; the result then has a leading step axis.
        **options: The algorithm's own keyword options, such as ``step_size``.

    Raises:
        InputError: As `weights`.
    """
    prefixes = xs if isinstance(xs, Prefixes) else _checked_prefixes(xs, ys)
    learnt = weights(name, prefixes, None, steps, **options)
    return einsum(learnt, prefixes.xs, "... batch context d_input, batch context d_input -> ... batch context")


def _checked_prefixes(xs: Tensor, ys: Tensor | None) -> Prefixes:
    if ys is None or xs.ndim != 3 or ys.shape != xs.shape[:2]:
        shapes = f"{tuple(xs.shape)} and {None if ys is None else tuple(ys.shape)}"
        raise InputError(f"xs and ys must be [batch context d_input] and [batch context]; got {shapes}.")
    if not (torch.isfinite(xs).all() and torch.isfinite(ys).all()):
        raise InputError("xs and ys must be finite; got NaN or infinity. Check the task or the data.")
    return Prefixes.of(xs, ys)


def _checked_steps(name: str, steps: Sequence[int] | None) -> Tensor:
    listed = list(steps) if isinstance(steps, Iterable) else []
    holds = bool(listed) and all(is_count(step, 0) for step in listed)
    refuse_faults([must("steps", f"be numbers of steps of at least 0 for {name!r}", steps, holds)])
    return torch.tensor(listed)


def _check_options(baseline: Baseline, options: dict[str, Any]) -> None:
    for option in options:
        if option not in baseline.options:
            raise InputError(unknown(f"option of {baseline.name!r}", option, baseline.options))
