"""One step of gradient descent where inputs and labels are tokens of their own: first copy, then learn."""

from dataclasses import replace
from typing import Any

import torch

from workbench.errors import must, refuse_faults
from workbench.models.constructions.record import Construction
from workbench.models.constructions.writing import PLAIN, blank, parts, per_layer, predict_minus, write_head
from workbench.models.transformer import Transformer


def build(d_input: int, n_context: int, n_layers: int = 2, *, step_size: float) -> Transformer:
    """A causal model of x and y tokens in turn, with a previous-token head in layer 0 and the step in layer 1.

    The stream is (x, y, place, copy, asked). In layer 0 head 0 gives every token the x of the one before as its copy,
    so that an answer holds its example; head 1 gives question i, as what it asks, its own x times (2 i + 1) / i. In
    layer 1 head 0 adds the labels of the copies that are like what is asked. Linear attention divides by the visible
    tokens, of which question i has 2 i + 1, i answers among them; rows of the maps from places make up for that, so
    that nothing is approximate.

    Args:
        d_input: Size of one x.
        n_context: Examples in the longest prompt.
        n_layers: Must be 2.
        step_size: Eta on the mean loss.

    Raises:
        InputError: If a size is out of range.
    """
    refuse_faults([must("n_layers", "be 2, one to copy and one to learn", n_layers, n_layers == 2)])
    (eta,) = per_layer("step_size", step_size, 1)
    n_places = 2 * n_context
    widths = (d_input, 1, n_places, d_input, d_input)
    sizes = {"d_model": sum(widths), "n_heads": 2, "d_head": max(d_input, n_places)}
    config = replace(PLAIN, positions="concatenated")
    model = blank(config, d_input=d_input, n_context=n_context, n_layers=2, **sizes)
    x, y, place, copy, asked = parts(*widths)

    visible = torch.arange(n_places, dtype=torch.float64) + 1
    to_previous = torch.diag(visible[1:], -1)
    n_examples = torch.arange(n_context, dtype=torch.float64)
    per_example = torch.zeros(n_places, dtype=torch.float64)
    per_example[2::2] = visible[2::2] / n_examples[1:]
    first, second = model.layers
    write_head(first, 0, query=place @ to_previous, key=place, value=x, out=copy.mT)
    write_head(first, 1, query=place @ torch.diag(visible * per_example), key=place, value=x, out=asked.mT)
    write_head(second, 0, query=asked, key=copy, value=y, out=-eta * y.mT)
    predict_minus(model, y)
    return model


def options(_n_layers: int = 2, *, step_size: float) -> dict[str, Any]:
    """The same step size, on the mean loss."""
    return {"schedule": [step_size], "gradient": "mean"}


GD_FROM_COPIES = Construction(
    name="gd_from_copies",
    label="Copying, then one step of gradient descent, causal",
    source="von Oswald et al. 2023, arXiv:2212.07677, proposition 3; here copies come from the token before",
    build=build,
    algorithm="gd",
    options=options,
    idle_layers=1,
    n_layers=2,
)
