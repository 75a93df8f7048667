"""Whether a head raises the logits of the tokens that it attends to, from weights alone."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuits.folding import FoldedWeights

_N_SHUFFLES = 16
_N_AT_ONCE = 8192


@dataclass(frozen=True, eq=False)
class Copying:
    """Sum of the eigenvalues of W_E W_V W_O W_U over the sum of their absolute values, in [-1, 1].

    Attributes:
        score: Of every head; NaN for one that does nothing.
        chance: Mean of the same with the tokens of the read-out shuffled.
        chance_std: Its standard deviation over shuffles.
    """

    score: Float[Tensor, "layer head"]
    chance: Float[Tensor, "layer head"]
    chance_std: Float[Tensor, "layer head"]


def copying(weights: FoldedWeights, ids: range, seed: int = 0) -> Copying:
    """The OV copying statistic (Elhage et al. 2021) of the direct path, past no MLP.

    Args:
        weights: Of the model.
        ids: Tokens it is about.
        seed: Of the shuffles.
    """
    embed, unembed = weights.W_E[ids.start : ids.stop], weights.W_U[:, ids.start : ids.stop]
    unembed = unembed - unembed.mean(1, keepdim=True)
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(ids), generator=generator) for _ in range(_N_SHUFFLES)]
    shuffled = torch.stack([_share(weights, _product(unembed, embed, order)) for order in orders])
    own = _share(weights, _product(unembed, embed, torch.arange(len(ids))))
    return Copying(own, shuffled.mean(0), shuffled.std(0))


def _product(
    unembed: Float[Tensor, "d_model token"], embed: Float[Tensor, "token d_model"], order: Int[Tensor, " token"]
) -> Float[Tensor, "d_model d_model"]:
    """In float64, a few tokens at a time, whatever precision a large vocabulary is kept in."""
    shares = zip(order.split(_N_AT_ONCE), embed.split(_N_AT_ONCE), strict=True)
    parts = (unembed[:, ids].double() @ each.double() for ids, each in shares)
    return sum(parts, torch.zeros(len(unembed), len(unembed), dtype=torch.float64))


def _share(weights: FoldedWeights, back: Float[Tensor, "d_model d_model"]) -> Float[Tensor, "layer head"]:
    """By the eigenvalues of W_O (W_U W_E) W_V, which are the same but for zeros."""
    values = torch.linalg.eigvals(weights.W_O @ back @ weights.W_V)
    return values.real.sum(-1) / values.abs().sum(-1)
