"""Newton's iteration for the inverse of the Gram matrix, one step per layer."""

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
    write_linear,
)
from workbench.models.transformer import Transformer

IDLE = 2
"""Layers before the first step: one for M_0, one for what M_0 predicts."""


def build(d_input: int, n_context: int, n_layers: int, *, alpha: float, attention: str = "linear") -> Transformer:
    """Every token j carries m_j = M x_j, and n_layers - 2 steps M <- 2 M - M S M are taken, S the mean of x x^T.

    The stream is (x, y, m, said, saying). A head gives m_j <- m_j - mean_i m_i (x_i . m_j) / 2, that is (M - M S M / 2)
    x_j, and the MLP doubles it; before the first step the same head writes M_0 x_j = alpha mean_i x_i (x_i . x_j).
    Meanwhile another head finds what the M before the layer predicts, mean_i y_i (x_i . m_query), for the MLP to
    replace the earlier prediction by. So layer l holds l - 2 steps. Its ReLUs come in pairs, whose difference is
    linear; nothing is approximate.

    Args:
        d_input: Size of one x.
        n_context: Examples in the longest prompt.
        n_layers: Two more than steps.
        alpha: M_0 = alpha S. Converges for alpha < 2 / lambda_max(S)^2, in every prefix.
        attention: With "relu", the paper's, heads come in pairs as well.

    Raises:
        InputError: If a size is out of range.
    """
    refuse_faults(
        [
            must("alpha", "be greater than 0", alpha, is_finite(alpha, above=0)),
            must("attention", "be 'linear' or 'relu'", attention, attention in ("linear", "relu")),
            must("n_layers", "be at least 2, for M_0 and what it predicts", n_layers, n_layers >= IDLE),
        ]
    )
    signs = (1,) if attention == "linear" else (1, -1)
    widths = (d_input, 1, d_input, 1, 1)
    config = replace(OVER_EXAMPLES, attention=attention, mlp="relu", d_mlp=2 * (d_input + 2))
    sizes = {"d_model": sum(widths), "n_heads": 2 * len(signs), "d_head": d_input}
    model = blank(config, d_input=d_input, n_context=n_context, n_layers=n_layers, **sizes)
    x, y, m, said, saying = parts(*widths)
    for layer, block in enumerate(model.layers):
        for pair, sign in enumerate(signs):
            if layer == 0:
                write_head(block, pair, query=sign * x, key=x, value=x, out=sign * alpha / 2 * m.mT)
                continue
            write_head(block, pair, query=sign * m, key=x, value=m, out=-sign / 2 * m.mT)
            write_head(block, len(signs) + pair, query=sign * m, key=x, value=y, out=-sign * saying.mT)
        read = torch.cat([m, saying - said, saying], 1)
        write_linear(block, read=read, write=torch.cat([m, said, -saying], 1).mT)
    predict_minus(model, said)
    return model


def options(_n_layers: int, *, alpha: float, attention: str = "linear") -> dict[str, Any]:  # noqa: ARG001
    """The same start, on the mean loss."""
    return {"alpha": alpha, "norm": "examples"}


NEWTON = Construction(
    name="newton",
    label="Newton, one step per layer",
    source="Fu et al. 2024, arXiv:2310.17086, theorem 5.1; here two layers before the first step",
    build=build,
    algorithm="newton",
    options=options,
    idle_layers=IDLE,
    silent_layers=IDLE,
)
