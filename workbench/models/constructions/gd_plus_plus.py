"""GD++: layers that also shrink the inputs along the directions in which they are large."""

from collections.abc import Sequence
from typing import Any

import torch

from workbench.models.constructions.record import Construction
from workbench.models.constructions.writing import OVER_EXAMPLES, blank, parts, per_layer, predict_minus, write_head
from workbench.models.transformer import Transformer


def build(
    d_input: int,
    n_context: int,
    n_layers: int,
    *,
    step_size: float | Sequence[float],
    gamma: float | Sequence[float],
) -> Transformer:
    """Gradient descent's head, whose values are the inputs too: x_j <- x_j - gamma mean_i x_i (x_i . x_j) besides.

    Args:
        d_input: Size of one x.
        n_context: Examples in the longest prompt.
        n_layers: Steps.
        step_size: Eta, for all layers or one for each; of each layer for the inputs that it finds.
        gamma: Gamma in the same way.

    Raises:
        InputError: If a size is out of range, or there are not one eta and one gamma for each layer.
    """
    model = blank(OVER_EXAMPLES, d_input=d_input, n_context=n_context, n_layers=n_layers)
    x, y = parts(d_input, 1)
    sizes = zip(*_sizes(n_layers, step_size, gamma), strict=True)
    for block, (eta, shrink) in zip(model.layers, sizes, strict=True):
        write_head(block, query=x, key=x, value=torch.cat([x, y], 1), out=-torch.cat([shrink * x, eta * y], 1).mT)
    predict_minus(model, y)
    return model


def options(n_layers: int, *, step_size: float | Sequence[float], gamma: float | Sequence[float]) -> dict[str, Any]:
    """The same sizes, on the mean loss."""
    etas, gammas = _sizes(n_layers, step_size, gamma)
    return {"schedule": etas, "gammas": gammas, "gradient": "mean"}


def _sizes(
    n_layers: int, step_size: float | Sequence[float], gamma: float | Sequence[float]
) -> tuple[list[float], list[float]]:
    return per_layer("step_size", step_size, n_layers), per_layer("gamma", gamma, n_layers)


GD_PLUS_PLUS = Construction(
    name="gd_plus_plus",
    label="GD++, one step per layer",
    source="von Oswald et al. 2023, arXiv:2212.07677, section 4",
    build=build,
    algorithm="gd_plus_plus",
    options=options,
)
