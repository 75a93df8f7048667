"""Debiased gradient descent: steps by two softmax heads, one that looks for x and one for -x."""

import math
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

    P pairs of heads, of scale, 2 scale, ..., P scale, are the central difference of order 2 P: their error is of the
    order of scale^(2 P), so that the scale may be larger and rounding smaller. The series converges while P scale times
    the spread of the s_i stays well below pi.

    Args:
        d_input: Size of one x.
        n_context: Examples in the longest prompt.
        n_layers: Steps.
        step_size: Eta, for all layers or one for each.
        scale: Factor on the products.
        n_heads: Two for each pair.

    Raises:
        InputError: If a size is out of range, or there is not one eta for each layer.
    """
    refuse_faults(
        [
            must("scale", "be greater than 0", scale, is_finite(scale, above=0)),
            must("n_heads", "be an even number from 2 to 16", n_heads, n_heads in range(2, 17, 2)),
        ]
    )
    config = replace(OVER_EXAMPLES, attention="softmax")
    model = blank(config, d_input=d_input, n_context=n_context, n_layers=n_layers, n_heads=n_heads, d_head=d_input)
    x, y = parts(d_input, 1)
    shares = central_difference(n_heads // 2)
    heads = [(sign, scale * k, share) for k, share in enumerate(shares, 1) for sign in (1, -1)]
    for block, eta in zip(model.layers, per_layer("step_size", step_size, n_layers), strict=True):
        for head, (sign, factor, share) in enumerate(heads):
            out = -sign * eta * share / (2 * factor) * y.mT
            write_head(block, head, query=sign * factor * x, key=x, value=y, out=out)
    predict_minus(model, y)
    return model


def central_difference(n_pairs: int) -> list[float]:
    """The w_k of f'(0) = sum over k = 1 to P of w_k (f(k s) - f(-k s)) / (2 k s) + O(s^(2 P)), with P = ``n_pairs``.

    Source:
        Fornberg 1988, Math. Comp. 51, 699, the centred first derivative.
    """
    n = n_pairs
    whole = math.factorial(n) ** 2
    return [2 * (-1) ** (k + 1) * whole / math.factorial(n - k) / math.factorial(n + k) for k in range(1, n + 1)]


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
    error="relative error of the order of scale^H for H heads, for two from fourth cumulants; rounding over scale",
)
