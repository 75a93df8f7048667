"""Ridge regression by one block run again and again: gradient descent on the ridge loss."""

from dataclasses import replace
from typing import Any

import torch

from workbench.configs import is_finite
from workbench.errors import must, refuse_faults
from workbench.models.constructions.record import Construction
from workbench.models.constructions.writing import OVER_EXAMPLES, blank, parts, per_layer, predict_minus, write_head
from workbench.models.transformer import Transformer


def build(d_input: int, n_context: int, n_layers: int, *, step_size: float, ridge: float) -> Transformer:
    """A looped transformer: p_j <- p_j - eta / n (sum_i (y_i + p_i) (x_i . x_j) + ridge p_j), where p_j = -w . x_j.

    The stream is (x, y, first, p). One head takes the step on the mean loss. The other shrinks p: first is 1 in the
    first example alone, so that linear attention from p_j to it is p_j over the number of examples, and the strength
    is ridge on the sum loss at every prefix. Labels stay in the stream, so no input has to be injected.

    Args:
        d_input: Size of one x.
        n_context: Examples in the longest prompt.
        n_layers: Steps: times that the block is run.
        step_size: Eta. Converges for eta < 2 n / (lambda_max(S) + ridge), in every prefix of n examples.
        ridge: Strength on the sum loss.

    Raises:
        InputError: If a size is out of range.
    """
    refuse_faults([must("ridge", "be at least 0", ridge, is_finite(ridge, at_least=0))])
    (eta,) = per_layer("step_size", step_size, 1)
    widths = (d_input, 1, 1, 1)
    config = replace(OVER_EXAMPLES, positions="concatenated", tied_layers=True)
    sizes = {"d_model": sum(widths), "n_heads": 2, "d_head": d_input}
    model = blank(config, d_input=d_input, n_context=n_context, n_layers=n_layers, **sizes)
    x, y, first, p = parts(*widths)
    with torch.no_grad():
        model.embed.weight[d_input + 2 :] = 0.0  # type: ignore[index]  # the second place has no coordinate
    block = model.layers[0]
    write_head(block, 0, query=x, key=x, value=y + p, out=-eta * p.mT)
    write_head(block, 1, query=p, key=first, value=first, out=-eta * ridge * p.mT)
    predict_minus(model, p)
    return model


def options(_n_layers: int, *, step_size: float, ridge: float) -> dict[str, Any]:
    """The same strength, and the same step size on the mean loss."""
    return {"ridge": ridge, "step_size": step_size, "gradient": "mean"}


RIDGE_GD = Construction(
    name="ridge_gd",
    label="Ridge by a looped block, one step of gradient descent each time",
    source="Looped as in Yang et al. 2024, arXiv:2311.12424; step of von Oswald et al. 2023, with a head that shrinks",
    build=build,
    algorithm="ridge_gd",
    options=options,
)
