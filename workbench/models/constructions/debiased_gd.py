"""Debiased gradient descent: steps by two softmax heads, one that looks for x and one for -x."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from workbench.configs import is_finite
from workbench.errors import must, refuse_faults
from workbench.models.constructions.record import Construction
from workbench.models.constructions.writing import (
    OVER_EXAMPLES,
    blank,
    parts,
    per_layer,
    predict_minus,
    write_head,
)
from workbench.models.transformer import Transformer


def build(
    d_input: int,
    n_context: int,
    n_layers: int = 1,
    *,
    step_size: float | Sequence[float],
    scale: float = 0.01,
    n_heads: int = 2,
) -> Transformer:
    """Label coordinates lose eta / (2 scale) times the difference of two kernel regressions, exp(+-scale x_i . x_j).

    With s_i = x_i . x_j that is eta (cov(y, s) + scale^2 / 6 kappa(y, s, s, s) + O(scale^4)), over the examples of the
    prefix: covariance and joint fourth cumulant. The first is the step of size eta on the mean loss whose gradient is
    taken with the inputs less their mean; the rest is the error. Rounding grows as 1 / scale. The examples' labels
    become residuals by the same heads, so that layers can be stacked.

    Args:
        d_input: Size of one x.
        n_context: Examples in the longest prompt.
        n_layers: Steps.
        step_size: Eta, for all layers or one for each.
        scale: Factor on the products.
        n_heads: Four, of scale and of twice that, cancel the error's term in scale^2.

    Raises:
        InputError: If a size is out of range, or there is not one eta for each layer.
    """
    refuse_faults(
        [
            must("scale", "be greater than 0", scale, is_finite(scale, above=0)),
            must("n_heads", "be 2 or 4", n_heads, n_heads in (2, 4)),
        ]
    )
    config = replace(OVER_EXAMPLES, attention="softmax")
    model = blank(config, d_input=d_input, n_context=n_context, n_layers=n_layers, n_heads=n_heads, d_head=d_input)
    x, y = parts(d_input, 1)
    # f(s) = f + a s^2 + ...: (4 f(s) - f(2 s)) / 3 is free of a.
    scales = {scale: 1.0} if n_heads == 2 else {scale: 4 / 3, 2 * scale: -1 / 3}
    heads = [(sign, factor, share) for factor, share in scales.items() for sign in (1, -1)]
    for block, eta in zip(model.layers, per_layer("step_size", step_size, n_layers), strict=True):
        for head, (sign, factor, share) in enumerate(heads):
            out = -sign * eta * share / (2 * factor) * y.mT
            write_head(block, head, query=sign * factor * x, key=x, value=y, out=out)
    predict_minus(model, y)
    return model


def options(n_layers: int = 1, *, step_size: float | Sequence[float], **_settings: Any) -> dict[str, Any]:
    """The same step sizes, on the mean loss."""
    return {"schedule": per_layer("step_size", step_size, n_layers), "gradient": "mean"}


DEBIASED_GD = Construction(
    name="debiased_gd",
    label="Debiased gradient descent, one step per layer, two softmax heads",
    source="He et al. 2025, arXiv:2503.12734, for one step",
    build=build,
    algorithm="debiased_gd",
    options=options,
    error="relative error of the order of scale^2, from fourth cumulants; with four heads scale^4, from sixth",
)
