"""Gradient descent with one fixed preconditioner, which stands between query and key."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import must, refuse_faults
from workbench.models.constructions.record import Construction
from workbench.models.constructions.writing import OVER_EXAMPLES, blank, parts, per_layer, predict_minus, write_head
from workbench.models.transformer import Transformer


def build(d_input: int, n_context: int, n_layers: int, *, preconditioner: Tensor, step_size: float) -> Transformer:
    """Label coordinates go y_j <- y_j - eta mean_i y_i (x_i . P x_j).

    Args:
        d_input: Size of one x.
        n_context: Examples in the longest prompt.
        n_layers: Steps.
        preconditioner: P, ``[d_input d_input]``, symmetric.
        step_size: Eta, for all layers.

    Raises:
        InputError: If a size is out of range, or the preconditioner is no symmetric matrix of the right size.
    """
    preconditioner = _checked(preconditioner, d_input)
    (eta,) = per_layer("step_size", step_size, 1)
    model = blank(OVER_EXAMPLES, d_input=d_input, n_context=n_context, n_layers=n_layers)
    x, y = parts(d_input, 1)
    for block in model.layers:
        write_head(block, query=x @ preconditioner, key=x, value=y, out=-eta * y.mT)
    predict_minus(model, y)
    return model


def options(_n_layers: int, *, preconditioner: Tensor, step_size: float) -> dict[str, Any]:
    """The same matrix and step size, on the mean loss."""
    return {"preconditioner": preconditioner, "step_size": step_size, "gradient": "mean"}


def _checked(preconditioner: Tensor, d_input: int) -> Float[Tensor, "d_input d_input"]:
    shape = tuple(preconditioner.shape)
    refuse_faults([must("preconditioner", f"be [{d_input} {d_input}]", shape, shape == (d_input, d_input))])
    exact = preconditioner.detach().double()
    is_symmetric = torch.allclose(exact, exact.mT, rtol=0.0, atol=1e-12 * float(exact.abs().max()))
    refuse_faults([must("preconditioner", "be symmetric and finite", "another matrix", is_symmetric)])
    return exact


PRECONDITIONED_GD = Construction(
    name="preconditioned_gd",
    label="Preconditioned gradient descent, one step per layer",
    source="Ahn et al. 2023, arXiv:2306.00297, section 4, with the same matrix in every layer",
    build=build,
    algorithm="preconditioned_gd",
    options=options,
)
