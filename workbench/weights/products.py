"""Key-query and output-value products in the coordinates of the data, read-in and read-out folded."""

from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from workbench.errors import must, refuse_faults
from workbench.models.transformer import Transformer

PerHead = Float[Tensor, "layer head d_token d_token"]


@dataclass(frozen=True, eq=False)
class Products:
    """All that attention does with tokens z = (x, y), up to the symmetries of its weights.

    Attributes:
        key_query: KQ: the score of a query for a key is z_key . KQ z_query, the attention scale within.
        output_value: OV: a key with weight 1 adds OV^T z_key to the query's token, as far as tokens can hold it.
        read: What a key with weight 1 adds to the prediction: read . z_key.
        outside: By layer and head, the share of the norm of what a head writes that is no token, 0 to 1: 0 where the
            read-in is square and invertible. Products of later layers do not see it.
        d_input: Coordinates of x; those of y follow.
    """

    key_query: PerHead
    output_value: PerHead
    read: Float[Tensor, "layer head d_token"]
    outside: Float[Tensor, "layer head"]
    d_input: int

    @property
    def gamma(self) -> Float[Tensor, "layer d_input d_input"]:
        """sum_h read_h[y] KQ_h[x, x]^T: the one-step predictor q . Gamma g, g the mean of y_i x_i over visible keys."""
        d = self.d_input
        weight, among_inputs = self.read[..., d], self.key_query[..., :d, :d]
        return einsum(weight, among_inputs, "layer head, layer head key query -> layer query key")

    @property
    def leakage(self) -> dict[str, Float[Tensor, "layer head"]]:
        """What theory sends to 0, over what it keeps: ``value`` |read[x]| / |read[y]|, ``key`` |KQ[y, x]| / |KQ[x, x]|.

        A large ``value`` is the sign of the solution that reads inputs as values and labels as keys, where the risk
        has no slope; it is a saddle that is nearly flat in two dimensions.
        """
        d, smallest = self.d_input, torch.finfo(self.read.dtype).tiny
        value = self.read[..., :d].norm(dim=-1) / self.read[..., d:].norm(dim=-1).clamp(min=smallest)
        among = self.key_query[..., :d, :d].flatten(-2).norm(dim=-1).clamp(min=smallest)
        return {"value": value, "key": self.key_query[..., d:, :d].flatten(-2).norm(dim=-1) / among}


def fold_fault(model: Transformer) -> str:
    """Why the weights of a model cannot be told in the coordinates of its tokens, or ""."""
    config = model.config
    faults = [
        must("model.input", "be 'continuous'", config.input, config.input == "continuous"),
        must("model.norm", "be 'none', for it stands between tokens and weights", config.norm, config.norm == "none"),
        must("model.mlp_first", "be False, for the MLP stands between tokens and weights", True, not config.mlp_first),
        must("model.positions", "be 'none'", config.positions, config.positions == "none"),
        must("model.bias", "be False", config.bias, not config.bias),
        must("model.output", "be 'scalar'", config.output, config.output == "scalar"),
    ]
    return next((fault for fault in faults if fault), "")


@torch.no_grad()
def products(model: Transformer) -> Products:
    """The products of all heads, in float64.

    Raises:
        InputError: If something stands between tokens and weights; the message says what.
    """
    refuse_faults([fold_fault(model)])
    read_in = _of(model.embed.weight).mT  # [d_token d_model], a token is a row
    read_out = _of(model.unembed.weight)[0]
    back = torch.linalg.pinv(read_in)
    attentions = [block.attn for block in model.layers]
    w_q, w_k, w_v, w_o = (
        torch.stack([_of(getattr(attention, name)) for attention in attentions])
        for name in ("W_Q", "W_K", "W_V", "W_O")
    )
    keys, queries = (read_in @ weight for weight in (w_k, w_q))
    written = read_in @ w_v @ w_o
    inside = written @ back
    return Products(
        key_query=attentions[0].scale * keys @ queries.mT,
        output_value=inside,
        read=written @ read_out,
        outside=_share(written - inside @ read_in, written),
        d_input=model.config.d_input or 0,
    )


def _share(part: Tensor, whole: Tensor) -> Tensor:
    norms = [matrix.flatten(-2).norm(dim=-1) for matrix in (part, whole)]
    return torch.where(norms[1] > 0, norms[0] / norms[1].clamp(min=torch.finfo(part.dtype).tiny), 0.0)


def _of(weight: Tensor | torch.nn.Module) -> Tensor:
    assert isinstance(weight, Tensor), "weights are tensors"
    return weight.detach().double()
