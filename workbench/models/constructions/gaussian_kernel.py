"""Regression by a Gaussian kernel, and by the nearest example where the kernel is narrow."""

from dataclasses import replace
from typing import Any

import torch

from workbench.configs import is_finite
from workbench.errors import must, refuse_faults
from workbench.models.constructions.record import Construction
from workbench.models.constructions.writing import (
    OVER_EXAMPLES,
    blank,
    parts,
    predict_minus,
    write_head,
    write_products,
)
from workbench.models.transformer import Transformer


def build(d_input: int, n_context: int, n_layers: int = 2, *, bandwidth: float) -> Transformer:
    """The query's prediction is the mean label with weights exp(-|x_i - x_query|^2 / (2 bandwidth^2)).

    The stream is (x, y, square, one, p). In layer 0 the gated MLP finds square = |x|^2: two units give a product
    exactly, since silu(a) - silu(-a) = a. In layer 1 one softmax head scores x_i . x_query - |x_i|^2 / 2, which is
    -|x_i - x_query|^2 / 2 but for what is the same for all i. A narrow kernel copies the label of the nearest example.

    Args:
        d_input: Size of one x.
        n_context: Examples in the longest prompt.
        n_layers: Must be 2.
        bandwidth: In units of x.

    Raises:
        InputError: If a size is out of range.
    """
    refuse_faults(
        [
            must("bandwidth", "be greater than 0", bandwidth, is_finite(bandwidth, above=0)),
            must("n_layers", "be 2, one for squares and one for means", n_layers, n_layers == 2),
        ]
    )
    widths = (d_input, 1, 1, 1, 1)
    config = replace(OVER_EXAMPLES, attention="softmax", mlp="swiglu", d_mlp=2 * d_input, bias=True)
    sizes = {"d_model": sum(widths), "d_head": d_input + 1}
    model = blank(config, d_input=d_input, n_context=n_context, n_layers=2, **sizes)
    x, y, square, one, p = parts(*widths)
    with torch.no_grad():
        model.embed.bias += one[:, 0]  # type: ignore[operator]
    write_products(model.layers[0], x, x, write=square.mT.expand(d_input, -1))
    asked, given = torch.cat([x, one], 1), torch.cat([x, -square / 2], 1)
    write_head(model.layers[1], query=asked / bandwidth**2, key=given, value=y, out=-p.mT)
    predict_minus(model, p)
    return model


def options(_n_layers: int = 2, *, bandwidth: float) -> dict[str, Any]:
    """The same bandwidth."""
    return {"bandwidth": bandwidth}


def nearest_options(_n_layers: int = 2, *, bandwidth: float) -> dict[str, Any]:  # noqa: ARG001
    """One neighbour."""
    return {"n_neighbors": 1}


GAUSSIAN_KERNEL = Construction(
    name="gaussian_kernel",
    label="Gaussian kernel, one softmax head",
    source="Nadaraya 1964, Watson 1964; squares by a gated MLP, Shazeer 2020, arXiv:2002.05202",
    build=build,
    algorithm="nadaraya_watson",
    options=options,
    n_layers=2,
    iterative=False,
)
NEAREST_NEIGHBOR = Construction(
    name="nearest_neighbor",
    label="Nearest neighbour: the label of the nearest example is copied",
    source="The Gaussian kernel made narrow; heads of this kind: Bhattamishra et al. 2024, arXiv:2310.03016",
    build=build,
    algorithm="knn",
    options=nearest_options,
    n_layers=2,
    iterative=False,
    error="exp(-(D2 - D1) / (2 bandwidth^2)) of the labels, D1 and D2 the two smallest squared distances",
)
