"""One softmax head from the query to the examples: kernel regression."""

from dataclasses import replace
from typing import Any

from workbench.configs import is_finite
from workbench.errors import must, refuse_faults
from workbench.models.constructions.record import Construction
from workbench.models.constructions.writing import OVER_EXAMPLES, blank, parts, predict_minus, write_head
from workbench.models.transformer import Transformer


def build(d_input: int, n_context: int, n_layers: int = 1, *, scale: float) -> Transformer:
    """The query's label coordinate becomes minus the mean label with weights exp(scale x_i . x_query).

    Args:
        d_input: Size of one x.
        n_context: Examples in the longest prompt.
        n_layers: Must be 1.
        scale: Factor on the product.

    Raises:
        InputError: If a size is out of range.
    """
    refuse_faults(
        [
            must("scale", "be greater than 0", scale, is_finite(scale, above=0)),
            must("n_layers", "be 1, a kernel regression takes no steps", n_layers, n_layers == 1),
        ]
    )
    config = replace(OVER_EXAMPLES, attention="softmax")
    model = blank(config, d_input=d_input, n_context=n_context, n_layers=1)
    x, y = parts(d_input, 1)
    write_head(model.layers[0], query=scale * x, key=x, value=y, out=-y.mT)
    predict_minus(model, y)
    return model


def options(_n_layers: int = 1, *, scale: float) -> dict[str, Any]:
    """The same scale."""
    return {"scale": scale}


SOFTMAX_KERNEL = Construction(
    name="softmax_kernel",
    label="Softmax kernel, one head",
    source="Vaswani et al. 2017, arXiv:1706.03762, equation 1, with values the labels",
    build=build,
    algorithm="softmax_kernel",
    options=options,
    n_layers=1,
    iterative=False,
)
