"""One step of debiased gradient descent, by two softmax heads that look for x and for -x."""

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


def build(d_input: int, n_context: int, n_layers: int = 1, *, step_size: float, scale: float = 0.01) -> Transformer:
    """Predicts eta / (2 scale) times the difference of two kernel regressions, with weights exp(+-scale x_i . x_query).

    With s_i = x_i . x_query that is eta (cov(y, s) + scale^2 / 6 kappa(y, s, s, s) + O(scale^4)), over the examples
    of the prefix: covariance and joint fourth cumulant. The first is the step of size eta on the mean loss whose
    gradient is taken with the inputs less their mean; the rest is the error. Rounding grows as 1 / scale.

    Args:
        d_input: Size of one x.
        n_context: Examples in the longest prompt.
        n_layers: Must be 1.
        step_size: Eta.
        scale: Factor on the products.

    Raises:
        InputError: If a size is out of range.
    """
    refuse_faults(
        [
            must("scale", "be greater than 0", scale, is_finite(scale, above=0)),
            must("n_layers", "be 1, for the construction takes one step", n_layers, n_layers == 1),
        ]
    )
    (eta,) = per_layer("step_size", step_size, 1)
    config = replace(OVER_EXAMPLES, attention="softmax")
    model = blank(config, d_input=d_input, n_context=n_context, n_layers=1, n_heads=2, d_head=d_input)
    x, y = parts(d_input, 1)
    for head, sign in enumerate((1, -1)):
        out = -sign * eta / (2 * scale) * y.mT
        write_head(model.layers[0], head, query=sign * scale * x, key=x, value=y, out=out)
    predict_minus(model, d_input)
    return model


def options(_n_layers: int = 1, **_settings: float) -> dict[str, Any]:
    """None: no reference algorithm is this one."""
    return {}


DEBIASED_GD = Construction(
    name="debiased_gd",
    label="One debiased step of gradient descent, two softmax heads",
    source="He et al. 2025, arXiv:2503.12734",
    build=build,
    algorithm=None,
    options=options,
    n_layers=1,
    error="relative error of the order of scale^2, from fourth cumulants",
)
