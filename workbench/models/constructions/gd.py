"""Gradient descent: every layer of linear attention is one step on the mean squared loss of the prefix."""

from collections.abc import Sequence
from typing import Any

from workbench.models.constructions.record import Construction
from workbench.models.constructions.writing import OVER_EXAMPLES, blank, parts, per_layer, predict_minus, write_head
from workbench.models.transformer import Transformer


def build(d_input: int, n_context: int, n_layers: int, *, step_size: float | Sequence[float]) -> Transformer:
    """Label coordinates go y_j <- y_j - eta mean_i y_i (x_i . x_j), those of examples and query alike.

    So after l layers example j holds its residual y_j - w_l . x_j, and the query, which began with 0, -w_l . x_query.

    Args:
        d_input: Size of one x.
        n_context: Examples in the longest prompt.
        n_layers: Steps.
        step_size: Eta, for all layers or one for each.

    Raises:
        InputError: If a size is out of range, or there is not one eta for each layer.
    """
    model = blank(OVER_EXAMPLES, d_input=d_input, n_context=n_context, n_layers=n_layers)
    x, y = parts(d_input, 1)
    for block, eta in zip(model.layers, per_layer("step_size", step_size, n_layers), strict=True):
        write_head(block, query=x, key=x, value=y, out=-eta * y.mT)
    predict_minus(model, y)
    return model


def options(n_layers: int, *, step_size: float | Sequence[float]) -> dict[str, Any]:
    """The same step sizes, on the mean loss."""
    return {"schedule": per_layer("step_size", step_size, n_layers), "gradient": "mean"}


GD = Construction(
    name="gd",
    label="Gradient descent, one step per layer",
    source="von Oswald et al. 2023, arXiv:2212.07677, proposition 1, with W_0 = 0",
    build=build,
    algorithm="gd",
    options=options,
)
