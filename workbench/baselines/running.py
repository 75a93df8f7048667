"""Running reference algorithms: predictions and influences of many prompts, a few prompts at a time."""

from functools import partial
from typing import Any

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor

from workbench.baselines.prefixes import Prefixes, Weights
from workbench.baselines.record import Baseline, Gain, Predictions, Queries, Steps
from workbench.linalg import in_pieces

_ELEMENTS = 2**19
"""Numbers held at once by an intermediate result."""

Influence = Float[Tensor, "step batch context example"]


def run_weights(baseline: Baseline, prefixes: Prefixes, steps: Steps, options: dict[str, Any]) -> Weights:
    """Weight vectors of all prefixes."""
    options = _pooled(baseline, prefixes, steps, options)
    return _joined(prefixes, steps, 1, lambda part, _: baseline.weights(part, steps, **options))


def run_gain(baseline: Baseline, prefixes: Prefixes, steps: Steps, options: dict[str, Any]) -> Gain:
    """Gains of all prefixes."""
    assert baseline.gain is not None
    return baseline.gain(prefixes, steps, **options)


def run_predictions(
    baseline: Baseline, prefixes: Prefixes, queries: Queries | None, steps: Steps, options: dict[str, Any]
) -> Predictions:
    """Predictions at the queries of each prefix, by default at its x_i."""
    options = _pooled(baseline, prefixes, steps, options)
    asked = prefixes.xs[:, :, None] if queries is None else queries
    return _joined(
        prefixes,
        steps,
        asked.shape[2],
        lambda part, rows: baseline.predictions(part, asked[rows], steps, **options),
    )


def run_influence(baseline: Baseline, prefixes: Prefixes, steps: Steps, options: dict[str, Any]) -> Influence:
    """Derivatives of prediction i by y_j."""
    options = _pooled(baseline, prefixes, steps, options)
    one = _of_moment if baseline.through_moment else _of_labels
    one = _of_gain if baseline.gain else _of_unit_labels if baseline.linear_in_y else one
    return _joined(
        prefixes, steps, prefixes.xs.shape[1], lambda part, _: one(baseline, part, steps, options) * part.earlier
    )


def _pooled(baseline: Baseline, prefixes: Prefixes, steps: Steps, options: dict[str, Any]) -> dict[str, Any]:
    return options if baseline.pooled is None else baseline.pooled(prefixes, steps, **options)


def _joined(prefixes: Prefixes, steps: Steps, n_asked: int, one: Any) -> Tensor:
    """What ``one`` finds for a few prompts at a time, of all prompts, in memory that does not grow with them."""
    n_batch, n_context, d = prefixes.xs.shape
    per_prompt = n_context * (d + n_asked) * ((1 if steps is None else len(steps)) + d)
    size = max(1, _ELEMENTS // per_prompt) if prefixes.xs.device.type == "cpu" else n_batch
    first = one(prefixes.part(0, min(size, n_batch)), slice(0, size))
    found = first.new_empty(len(first), n_batch, *first.shape[2:])
    found[:, :size] = first
    in_pieces(partial(_fill, found, prefixes, one, size), max(n_batch - size, 0), size)
    return found


def _fill(found: Tensor, prefixes: Prefixes, one: Any, first: int, start: int, stop: int) -> None:
    """The prompts from ``first + start`` to ``first + stop - 1``."""
    rows = slice(first + start, first + stop)
    found[:, rows] = one(prefixes.part(rows.start, rows.stop), rows)


def _of_gain(baseline: Baseline, prefixes: Prefixes, steps: Steps, options: dict[str, Any]) -> Influence:
    """x_i^T V f(lambda) V^T x_j."""
    assert baseline.gain is not None
    gain = baseline.gain(prefixes, steps, **options)
    own = prefixes.in_basis(prefixes.xs[:, :, None])[:, :, 0]
    others = prefixes.xs[:, None] @ prefixes.basis  # every example in the eigenbasis of every prefix
    return (others @ (gain * own)[..., None])[..., 0]


def _of_unit_labels(baseline: Baseline, prefixes: Prefixes, steps: Steps, options: dict[str, Any]) -> Influence:
    """Predictions for each y_j = 1 and all other labels 0, less those for none: of what is linear in the labels."""
    n_batch, n_context, _ = prefixes.xs.shape
    ones = torch.cat([torch.eye(n_context), torch.zeros(1, n_context)]).to(prefixes.xs)
    xs = repeat(prefixes.xs, "batch context d_input -> batch example context d_input", example=n_context + 1)
    unit = Prefixes(xs.flatten(0, 1), ones.repeat(n_batch, 1))
    found = baseline.predictions(unit, unit.xs[:, :, None], steps, **options)[..., 0]
    found = found.unflatten(1, (n_batch, n_context + 1))
    return (found[:, :, :-1] - found[:, :, -1:]).transpose(2, 3)


def _of_labels(baseline: Baseline, prefixes: Prefixes, steps: Steps, options: dict[str, Any]) -> Influence:
    """By automatic differentiation, one context position after the other: of what sees more of the labels than m_i."""
    with torch.enable_grad():
        ys = prefixes.ys.detach().requires_grad_()
        moved = Prefixes(prefixes.xs, ys)
        predictions = baseline.predictions(moved, prefixes.xs[:, :, None], steps, **options)[..., 0]
        slopes = [
            torch.stack([torch.autograd.grad(at.sum(), ys, retain_graph=True)[0] for at in each.unbind(1)], 1)
            for each in predictions
        ]
    return torch.stack(slopes)


def _of_moment(baseline: Baseline, prefixes: Prefixes, steps: Steps, options: dict[str, Any]) -> Influence:
    """Through m_i, by which alone such algorithms see the labels: d prediction_i / d m_i times x_j."""
    if baseline.sensitivity is not None:
        derivative = torch.einsum("sbcuv,bcu->sbcv", baseline.sensitivity(prefixes, steps, **options), prefixes.xs)
        return derivative @ prefixes.xs.mT
    with torch.enable_grad():
        moment = prefixes.moment.detach().requires_grad_()
        moved = prefixes.with_moment(moment)
        predictions = baseline.predictions(moved, prefixes.xs[:, :, None], steps, **options)
        slopes = [
            torch.autograd.grad(each.sum(), moment, retain_graph=True)[0]
            if each.requires_grad
            else torch.zeros_like(moment)
            for each in predictions
        ]
    return torch.stack(slopes) @ prefixes.xs.mT
