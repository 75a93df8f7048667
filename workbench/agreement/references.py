"""The predictions that layers are compared with: iterative families and anchors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import baselines
from workbench.agreement.config import AgreementConfig
from workbench.agreement.hypotheses import paths, ridge_losses
from workbench.agreement.path import Path
from workbench.agreement.similarity import sim_e
from workbench.baselines import BASELINES, Prefixes
from workbench.batch import RegressionBatch
from workbench.errors import InputError
from workbench.registry import find

_AFFORDED = 200_000
"""Coordinates of eigenvectors on which every path is evaluated."""
_CONVERGED = 1 - 1e-9
"""SimE with the last step from which on an algorithm is said to have converged."""

RIDGES = tuple(10.0 ** (power / 5) for power in range(-15, 16))
ONE_STEP_SIZES = tuple(round(0.05 * i, 2) for i in range(1, 40))


@dataclass(frozen=True, eq=False)
class Family:
    """One iterative algorithm on the scored prompts and positions.

    Attributes:
        steps: Numbers of steps, up to convergence.
        predictions: After each of them.
        options: The conventions that were used.
        warning: What to mind about them, or "".
    """

    steps: tuple[int, ...]
    predictions: Float[Tensor, "step batch context"]
    options: dict[str, object]
    warning: str = ""


@dataclass(frozen=True, eq=False)
class References:
    """Everything that needs no model.

    Attributes:
        families: Iterative algorithms by registry name.
        anchors: Single predictors by name: zero, ols, gd_1 and, with noise, bayes.
        ridges: Predictions of ridge regression at each of `RIDGES`.
        one_step_size: Tuned step size of the anchor gd_1, relative to 1 / lambda_max.
        scored: Context positions.
        few: The first of the prompts, for verdict and spectral filters.
        paths: What the layers are held against there.
        foils: Makes what no layers are called by there, but may be nearer than a sum of two algorithms.
    """

    families: dict[str, Family]
    anchors: dict[str, Float[Tensor, "batch context"]]
    ridges: Float[Tensor, "strength batch context"]
    one_step_size: float
    scored: slice
    few: Prefixes
    paths: list[Path]
    foils: Callable[[], list[Path]]


def references(batch: RegressionBatch, scored: slice, bayes_ridge: float | None, config: AgreementConfig) -> References:
    """All reference predictions at the scored context positions.

    Args:
        batch: Scored prompts.
        scored: Context positions.
        bayes_ridge: Ridge strength of the Bayes predictor; 0 where it is least squares, None for no ridge.
        config: Conventions.
    """
    prefixes = Prefixes.of(batch.xs, batch.ys)
    ys = prefixes.ys[:, scored]
    size, one_step = _tuned_step(prefixes, ys, scored)
    anchors = {name: baselines.predict(name, prefixes)[:, scored] for name in ("zero", "ols")}
    anchors["gd_1"] = one_step
    if bayes_ridge:
        anchors["bayes"] = baselines.predict("ridge", prefixes, ridge=bayes_ridge)[:, scored]
    families = {name: _family(name, prefixes, ys, scored, config) for name in _families(config)}
    ridges = torch.stack([baselines.predict("ridge", prefixes, ridge=r)[:, scored] for r in RIDGES])
    few = prefixes.part(0, config.n_verdict or _affordable(prefixes, scored))
    return References(
        families, anchors, ridges, size, scored, few, paths(few, scored), partial(ridge_losses, few, scored)
    )


def _affordable(prefixes: Prefixes, scored: slice) -> int:
    """Prompts on which all paths take a minute or two and a gigabyte and a half."""
    _, n_context, d_input = prefixes.xs.shape
    return max(64, _AFFORDED // (len(range(n_context)[scored]) * d_input))


def _families(config: AgreementConfig) -> tuple[str, ...]:
    """The algorithms to compare at every step.

    Raises:
        InputError: If one is unknown, does not iterate or cannot be run without further data.
    """
    usable = [name for name, each in BASELINES.items() if each.iterative and not each.required]
    for name in config.families:
        find(BASELINES, name, "algorithm")
        if name not in usable:
            raise InputError(
                f"families must name algorithms that iterate; got {name!r}. Choose of {', '.join(usable)}."
            )
    return config.families


def _tuned_step(prefixes: Prefixes, ys: Tensor, scored: slice) -> tuple[float, Tensor]:
    """The step size, relative to 1 / lambda_max, with which one step errs least, and its predictions."""
    candidates = [
        baselines.predict("gd", prefixes, steps=[1], relative_step_size=size)[0][:, scored] for size in ONE_STEP_SIZES
    ]
    errors = torch.stack([((c - ys) ** 2).mean() for c in candidates])
    best = int(errors.argmin())
    return ONE_STEP_SIZES[best], candidates[best]


def _family(name: str, prefixes: Prefixes, ys: Tensor, scored: slice, config: AgreementConfig) -> Family:
    options = config.options(name)
    steps = BASELINES[name].steps
    predictions = baselines.predict(name, prefixes, steps=steps, **options)[..., scored]
    gone = baselines.diverged(predictions, ys)
    predictions = torch.where(gone, torch.nan, predictions)
    nearness = torch.stack([sim_e(p, predictions[-1], ys) for p in predictions]).nan_to_num(1.0)
    n_kept = int((nearness >= _CONVERGED).int().argmax()) + 1 if not gone.any() else len(steps)
    return Family(steps[:n_kept], predictions[:n_kept], options, _warning(name, options, steps, gone))


def _warning(name: str, options: dict[str, Any], steps: Sequence[int], gone: Tensor) -> str:
    """What a reader must know before believing this family's numbers."""
    told = baselines.caution(name, **{key: value for key, value in options.items() if value is not None})
    if gone.any():
        first = steps[int(gone.flatten(1).any(1).int().argmax())]
        share = gone[-1].any(-1).float().mean().item()
        told += (
            f" From {first} steps on {name} diverges on some prefixes; such prompts are left out of its averages, at "
            f"{steps[-1]} steps {100 * share:.3g}% of them. Choose a smaller step size."
        )
    return told.strip()
