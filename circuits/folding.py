"""Weights with normalisation folded in, so that products of them say what one part does to another."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.models.transformer import Transformer

Reading = Float[Tensor, "layer head d_model d_head"]


@dataclass(frozen=True, eq=False)
class FoldedWeights:
    """Weights, TransformerLens's axes; norms' gains and centring are folded in, their scales are not.

    Those of heads are float64.

    Attributes:
        W_E: Token embeddings.
        W_U: Read-out.
        W_Q: Queries.
        W_K: Keys.
        W_V: Values.
        W_O: Outputs.
        d_free: Directions of the stream that can be read: one less than its width where norms centre.
    """

    W_E: Float[Tensor, "d_vocab d_model"]
    W_U: Float[Tensor, "d_model d_vocab"]
    W_Q: Reading
    W_K: Reading
    W_V: Reading
    W_O: Float[Tensor, "layer head d_head d_model"]
    d_free: int


@torch.no_grad()
def fold(model: Transformer) -> FoldedWeights:
    """The folded weights of a transformer over tokens."""
    is_centred = model.config.norm == "layer_norm"
    d = model.config.d_model
    centre = torch.eye(d, dtype=torch.float64) - (1.0 / d if is_centred else 0.0)
    gains = torch.stack([_gain(block.ln1, d) for block in model.layers])[:, None, :, None]

    def read(weights: Tensor) -> Tensor:
        return centre @ (gains * weights.double().cpu())

    return FoldedWeights(
        W_E=model.W_E.double().cpu() @ centre,
        W_U=centre @ (_gain(model.ln_final, d)[:, None] * model.W_U.double().cpu()),
        W_Q=read(model.W_Q),
        W_K=read(model.W_K),
        W_V=read(model.W_V),
        W_O=model.W_O.double().cpu() @ centre,
        d_free=d - int(is_centred),
    )


def _gain(norm: Any, d: int) -> Float[Tensor, " d_model"]:
    gain = getattr(norm, "w", None)
    return torch.ones(d, dtype=torch.float64) if gain is None else gain.double().cpu()
