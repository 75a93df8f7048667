"""Gradient descent on the squared loss of the centred prefix, from zero."""

from collections.abc import Sequence
from typing import Literal

import torch
from einops import einsum
from jaxtyping import Int
from torch import Tensor

from workbench.baselines import gd
from workbench.baselines.prefixes import RANK_TOLERANCE, Prefixes, Weights, before
from workbench.baselines.record import Baseline
from workbench.linalg import eigh


def solve(
    prefixes: Prefixes,
    steps: Int[Tensor, " step"],
    *,
    step_size: float | None = None,
    relative_step_size: float = 1.0,
    schedule: Sequence[float] | None = None,
    gradient: Literal["sum", "mean"] = "sum",
) -> Weights:
    """W <- w - eta sum_i (x_i - mean x) (w . x_i - y_i), the mean over the prefix: labels are debiased by it as well.

    A spectral filter of the scatter matrix S_i - n (mean x) (mean x)^T, not of S_i. The prediction is w . x, without
    intercept.

    Args:
        prefixes: What to learn from.
        steps: Numbers of steps.
        step_size: As for gradient descent.
        relative_step_size: Eta over 1/lambda_max of the scatter matrix.
        schedule: As for gradient descent.
        gradient: As for gradient descent.

    Raises:
        InputError: If a step size is not greater than 0, or there are fewer in ``schedule`` than steps.
    """
    inner = _centred(prefixes)
    sizes = {"step_size": step_size, "relative_step_size": relative_step_size, "schedule": schedule}
    return inner.filtered(gd.gain(inner, steps, gradient=gradient, **sizes))  # type: ignore[arg-type]


def _centred(prefixes: Prefixes) -> Prefixes:
    """The same prompts, in whose spectrum every prefix is less its own mean; other members stay as they were."""
    counts = prefixes.counts.clamp(min=1)[:, None]
    mean, gram = before(prefixes.xs) / counts, prefixes.gram
    off = einsum(mean, mean * counts, "batch context row, batch context col -> batch context row col")
    values, basis = eigh(gram - off)
    # Against S_i: a prefix of one example has nothing but rounding left.
    kept = values > RANK_TOLERANCE * gram.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True)
    inner = Prefixes(prefixes.xs, prefixes.ys)
    moment = prefixes.moment - mean * before(prefixes.ys)[..., None]
    inner.__dict__.update(_eigen=(torch.where(kept, values, 0.0), basis), moment=moment)
    return inner


DEBIASED_GD = Baseline(
    name="debiased_gd",
    label="Debiased gradient descent",
    source="He et al. 2025, arXiv:2503.12734; step size 1/lambda_max of each centred prefix by default",
    family="first-order",
    color="#f02de1",
    solve=solve,
    caution=gd.caution,
    steps=gd.GD.steps,
    limit="",
)
