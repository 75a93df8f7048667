"""Key-query products and what every output reads of a key, for models of one layer with several outputs."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import must, refuse_faults
from workbench.models.transformer import Transformer


@dataclass(frozen=True, eq=False)
class Readings:
    """What the heads of one layer do with tokens.

    Attributes:
        key_query: The score of a query for a key is z_key . KQ z_query, the attention scale within.
        read: What a key with weight 1 adds to each output: z_key . read.
    """

    key_query: Float[Tensor, "head d_token d_token"]
    read: Float[Tensor, "head d_token output"]


def reading_fault(model: Transformer) -> str:
    """Why the weights of a model cannot be told so, or ""."""
    config = model.config
    faults = [
        must("model.n_layers", "be 1", config.n_layers, config.n_layers == 1),
        must("model.input", "be 'continuous'", config.input, config.input == "continuous"),
        must("model.norm", "be 'none'", config.norm, config.norm == "none"),
        must("model.mlp", "be 'none'", config.mlp, config.mlp == "none"),
        must("model.positions", "be 'none'", config.positions, config.positions == "none"),
        must("model.bias", "be False", config.bias, not config.bias),
        must("model.output", "be 'scalar' or 'vector'", config.output, config.output in ("scalar", "vector")),
    ]
    return next((fault for fault in faults if fault), "")


@torch.no_grad()
def readings(model: Transformer) -> Readings:
    """The readings of all heads, in float64.

    Raises:
        InputError: If something stands between tokens and weights, or there are several layers.
    """
    refuse_faults([reading_fault(model)])
    attention = model.layers[0].attn
    read_in, read_out = (weight.detach().double() for weight in (model.embed.weight, model.unembed.weight))  # type: ignore[union-attr]
    w_q, w_k, w_v, w_o = (getattr(attention, name).detach().double() for name in ("W_Q", "W_K", "W_V", "W_O"))
    keys, queries = read_in.mT @ w_k, read_in.mT @ w_q
    return Readings(attention.scale * keys @ queries.mT, read_in.mT @ w_v @ w_o @ read_out.mT)
