"""Reference algorithms: what the prediction would be if the model ran this one.

Prediction i uses the examples 0 to i - 1 and x_i. Everything is float64.
"""

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.baselines.adaptive_online_gd import ADAPTIVE_ONLINE_GD
from workbench.baselines.averaging import AVERAGING
from workbench.baselines.bayes import BAYES
from workbench.baselines.bayes_noise import BAYES_NOISE
from workbench.baselines.bayes_prior import BAYES_PRIOR
from workbench.baselines.bfgs import BFGS
from workbench.baselines.cg import CG
from workbench.baselines.chebyshev import CHEBYSHEV
from workbench.baselines.debiased_gd import DEBIASED_GD
from workbench.baselines.finite_pool import FINITE_POOL
from workbench.baselines.gd import GD
from workbench.baselines.gd_plus_plus import GD_PLUS_PLUS
from workbench.baselines.gd_tuned import GD_TUNED
from workbench.baselines.knn import KNN
from workbench.baselines.lasso import LASSO
from workbench.baselines.lbfgs import LBFGS
from workbench.baselines.momentum import MOMENTUM
from workbench.baselines.nadaraya_watson import NADARAYA_WATSON
from workbench.baselines.nesterov import NESTEROV
from workbench.baselines.newton import NEWTON
from workbench.baselines.ols import OLS
from workbench.baselines.online_gd import ONLINE_GD
from workbench.baselines.options import checked, refuse_unknown
from workbench.baselines.preconditioned_gd import PRECONDITIONED_GD
from workbench.baselines.prefixes import Prefixes, fit_queries
from workbench.baselines.record import Baseline
from workbench.baselines.ridge import RIDGE
from workbench.baselines.ridge_gd import RIDGE_GD
from workbench.baselines.rls import RLS
from workbench.baselines.running import run_gain, run_influence, run_predictions, run_weights
from workbench.baselines.softmax_kernel import SOFTMAX_KERNEL
from workbench.baselines.sparse_bayes import SPARSE_BAYES
from workbench.baselines.zero import ZERO
from workbench.configs import is_count
from workbench.errors import InputError, must, refuse_faults
from workbench.registry import by_name, find, unknown

BASELINES = by_name(
    ZERO,
    AVERAGING,
    OLS,
    RIDGE,
    GD,
    NEWTON,
    CG,
    GD_TUNED,
    GD_PLUS_PLUS,
    PRECONDITIONED_GD,
    RIDGE_GD,
    DEBIASED_GD,
    MOMENTUM,
    NESTEROV,
    CHEBYSHEV,
    LBFGS,
    BFGS,
    ONLINE_GD,
    ADAPTIVE_ONLINE_GD,
    RLS,
    KNN,
    NADARAYA_WATSON,
    SOFTMAX_KERNEL,
    LASSO,
    SPARSE_BAYES,
    BAYES,
    BAYES_PRIOR,
    BAYES_NOISE,
    FINITE_POOL,
)

__all__ = [
    "BASELINES",
    "Baseline",
    "Prefixes",
    "caution",
    "diverged",
    "fit_queries",
    "gain",
    "influence",
    "predict",
    "weights",
]


def weights(
    name: str,
    xs: Float[Tensor, "batch context d_input"] | Prefixes,
    ys: Float[Tensor, "batch context"] | None = None,
    steps: Sequence[int] | None = None,
    **options: Any,
) -> Float[Tensor, "*step batch context d_input"]:
    """Weight vectors that an algorithm has learnt from each prefix, float64.

    Of an algorithm whose predictions are not linear in the query: the weights nearest to its predictions at
    `fit_queries` in least squares.

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
    options = checked(baseline, options)
    prefixes = _prefixes(baseline, xs, ys)
    counts = _checked_steps(baseline, prefixes, steps)
    return _as_asked(baseline, run_weights(baseline, prefixes, counts, options))


def predict(
    name: str,
    xs: Float[Tensor, "batch context d_input"] | Prefixes,
    ys: Float[Tensor, "batch context"] | None = None,
    steps: Sequence[int] | None = None,
    queries: Float[Tensor, "batch context n_query d_input"] | None = None,
    **options: Any,
) -> Float[Tensor, "*step batch context"] | Float[Tensor, "*step batch context n_query"]:
    """Predictions of an algorithm, float64: number i from the examples before i and x_i.

    Args:
        name: A name from ``BASELINES``.
        xs: Inputs, or `Prefixes`.
        ys: Labels; none with `Prefixes`.
        steps: Numbers of steps, for an iterative algorithm; the result then has a leading step axis.
        queries: Where to predict instead of x_i, any number of places for each prefix; the result then has a last
            axis for them.
        **options: The algorithm's own keyword options, such as ``step_size``.

    Raises:
        InputError: As `weights`, or if queries are no finite tensor of the right shape.
    """
    baseline = find(BASELINES, name, "algorithm")
    options = checked(baseline, options)
    prefixes = _prefixes(baseline, xs, ys)
    counts = _checked_steps(baseline, prefixes, steps)
    if queries is not None:
        queries = _checked_queries(prefixes, queries)
    found = _as_asked(baseline, run_predictions(baseline, prefixes, queries, counts, options))
    return found[..., 0] if queries is None else found


def influence(
    name: str, prefixes: Prefixes, steps: Sequence[int] | None = None, **options: Any
) -> Float[Tensor, "*step batch context example"]:
    """Derivatives of prediction i by each label y_j: rows of the hat matrix; 0 for j >= i.

    Args:
        name: A name from ``BASELINES``.
        prefixes: Prompts. What is not linear in the labels is differentiated at theirs.
        steps: Numbers of steps, for an iterative algorithm; the result then has a leading step axis.
        **options: The algorithm's own keyword options.

    Raises:
        InputError: As `weights`.
    """
    baseline = find(BASELINES, name, "algorithm")
    options = checked(baseline, options)
    prefixes = _prefixes(baseline, prefixes, None)
    return _as_asked(baseline, run_influence(baseline, prefixes, _checked_steps(baseline, prefixes, steps), options))


def gain(
    name: str, prefixes: Prefixes, steps: Sequence[int] | None = None, **options: Any
) -> Float[Tensor, "*step batch context eigen"]:
    """f(lambda) of a spectral filter at the eigenvalues of every prefix; its weights are V f(lambda) V^T m_i.

    Args:
        name: A name from ``BASELINES``.
        prefixes: Prompts, whose ``eigenvalues`` these are.
        steps: Numbers of steps, for an iterative algorithm; the result then has a leading step axis.
        **options: The algorithm's own keyword options.

    Raises:
        InputError: As `weights`, or if the algorithm is no spectral filter.
    """
    baseline = find(BASELINES, name, "algorithm")
    options = checked(baseline, options)
    if baseline.gain is None:
        raise InputError(unknown("spectral filter", name, [each for each in BASELINES if BASELINES[each].gain]))
    counts = _checked_steps(baseline, prefixes, steps)
    return _as_asked(baseline, run_gain(baseline, prefixes, counts, options))


def diverged(
    predictions: Float[Tensor, "*step batch context"],
    ys: Float[Tensor, "batch context"],
    times: float = 1e6,
) -> Bool[Tensor, "*step batch context"]:
    """Where predictions are not finite or larger than so many times the labels (root mean square).

    Diverging iterations are returned as they are, infinities included; whoever averages asks this first.
    """
    scale = ys.double().square().mean().sqrt()
    return ~(predictions.abs() <= times * scale)


def caution(name: str, **options: Any) -> str:
    """A sentence that warns of these options, such as of a start from which Newton never converges; "" if none.

    Raises:
        InputError: If the name or an option is unknown.
    """
    baseline = find(BASELINES, name, "algorithm")
    refuse_unknown(baseline, options)
    if baseline.caution is None:
        return ""
    asked = inspect.signature(baseline.caution).parameters
    return baseline.caution(**{option: value for option, value in options.items() if option in asked})


def _as_asked(baseline: Baseline, found: Tensor) -> Tensor:
    return found if baseline.iterative else found[0]


def _prefixes(baseline: Baseline, xs: Tensor | Prefixes, ys: Tensor | None) -> Prefixes:
    """The prompts as prefixes; those that the caller keeps also keep their eigendecompositions."""
    if not isinstance(xs, Prefixes):
        return _checked_prefixes(xs, ys)
    if ys is not None:
        raise InputError("ys must be left out with Prefixes, which hold them.")
    if baseline.diagonal:
        _ = xs.eigenvalues
    return xs


def _checked_prefixes(xs: Tensor, ys: Tensor | None) -> Prefixes:
    if ys is None or xs.ndim != 3 or ys.shape != xs.shape[:2]:
        shapes = f"{tuple(xs.shape)} and {None if ys is None else tuple(ys.shape)}"
        raise InputError(f"xs and ys must be [batch context d_input] and [batch context]; got {shapes}.")
    return Prefixes.of(xs, ys)


def _checked_queries(prefixes: Prefixes, queries: Tensor) -> Tensor:
    n_batch, n_context, d = prefixes.xs.shape
    shape = tuple(queries.shape)
    fits = len(shape) == 4 and (*shape[:2], shape[3]) == (n_batch, n_context, d)
    refuse_faults([must("queries", f"be [{n_batch} {n_context} n_query {d}]", shape, fits)])
    if not torch.isfinite(queries).all():
        raise InputError("queries must be finite; got NaN or infinity.")
    return queries.detach().to(prefixes.xs)


def _checked_steps(baseline: Baseline, prefixes: Prefixes, steps: Sequence[int] | None) -> Tensor | None:
    if not baseline.iterative:
        if steps is not None:
            raise InputError(f"steps must be left out for {baseline.name!r}, which does not iterate; got {steps!r}.")
        return None
    listed = list(steps) if isinstance(steps, Iterable) else []
    holds = bool(listed) and all(is_count(step, 0) for step in listed)
    refuse_faults([must("steps", f"be numbers of steps of at least 0 for {baseline.name!r}", steps, holds)])
    return torch.tensor(listed, device=prefixes.xs.device)
