"""How much of what an earlier head writes a later one reads, from weights alone.

Score: ||W_earlier W_later|| / (||W_earlier|| ||W_later||), Frobenius norms, of the earlier head's W_V W_O and the later
one's W_Q W_K^T (read by the query, or transposed by the key) or W_V W_O (Elhage et al. 2021). Weights say nothing of
positions: a score proposes, a patch confirms.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.folding import FoldedWeights

Kind = Literal["q", "k", "v"]
KINDS: tuple[Kind, ...] = ("q", "k", "v")


@dataclass(frozen=True)
class Partner:
    """The earlier head that a head composes with most.

    Attributes:
        layer: Its layer, 0-based.
        head: Its index.
        score: Composition score.
        chance: Root mean square of the score where the earlier head writes into random directions: 1 / sqrt(d).
        z: How far the squared score is from its mean, 1 / d, in standard deviations under that law.
    """

    layer: int
    head: int
    score: float
    chance: float
    z: float


@dataclass(frozen=True, eq=False)
class Compositions:
    """Scores ``[later_layer later_head layer head]``, NaN where the second is not earlier; and their z."""

    score: Float[Tensor, "later_layer later_head layer head"]
    z: Float[Tensor, "later_layer later_head layer head"]
    chance: float

    def partner(self, layer: int, head: int) -> Partner | None:
        """The earlier head with the highest z; None in the first layer."""
        if layer == 0:
            return None
        earlier = self.z[layer, head, :layer]
        index = int(earlier.flatten().argmax())
        at = divmod(index, earlier.shape[1])
        return Partner(*at, self.score[layer, head][at].item(), self.chance, earlier[at].item())


def compositions(weights: FoldedWeights, kind: Kind) -> Compositions:
    """Composition of every head with every earlier one.

    The null turns the earlier head's output by a random rotation of the d directions: for P = L^T L and S = R R^T,
    tr(P Q S Q^T) / (tr P tr S) over Haar Q has mean 1 / d and variance
    2 / ((d - 1)(d + 2)) (tr P^2 / (tr P)^2 - 1/d)(tr S^2 / (tr S)^2 - 1/d), for the traceless symmetric matrices
    are one irreducible representation of dimension (d - 1)(d + 2) / 2.
    """
    d = weights.d_free
    n_layers, n_heads = weights.W_Q.shape[:2]
    score = torch.full((n_layers, n_heads, n_layers, n_heads), torch.nan, dtype=torch.float64)
    z = score.clone()
    first, second = _reader(weights, kind)
    for later in range(1, n_layers):
        for earlier in range(later):
            outer, inner = weights.W_V[earlier], weights.W_O[earlier]
            found = _squares(outer, inner, first[later], second[later], d)
            score[later, :, earlier], z[later, :, earlier] = found[0].clamp(min=0).sqrt(), found[1]
    return Compositions(score, z, 1 / math.sqrt(d))


def _reader(weights: FoldedWeights, kind: Kind) -> tuple[Tensor, Tensor]:
    """The two factors of what the later head does to a vector it reads."""
    if kind == "v":
        return weights.W_V, weights.W_O
    first, second = (weights.W_Q, weights.W_K) if kind == "q" else (weights.W_K, weights.W_Q)
    return first, second.mT


def _squares(
    outer: Float[Tensor, "head d_model d_head"],
    inner: Float[Tensor, "head d_head d_model"],
    first: Float[Tensor, "later d_model d_head"],
    second: Float[Tensor, "later d_head d_model"],
    d: int,
) -> tuple[Float[Tensor, "later head"], Float[Tensor, "later head"]]:
    """Squared scores and their z, through matrices of the size of a head alone."""
    writes, reads = outer.mT @ outer, second @ second.mT
    written = writes @ (inner @ inner.mT)
    read = reads @ (first.mT @ first)
    between = torch.einsum("edm,lmf->ledf", inner, first)
    joint = torch.einsum("eab,lebf,lfg,leag->le", writes, between, reads, between)
    square = joint / (_trace(written)[None] * _trace(read)[:, None])
    spread = [_trace(each @ each) / _trace(each).square() - 1 / d for each in (written, read)]
    variance = 2 / ((d - 1) * (d + 2)) * spread[0][None] * spread[1][:, None]
    return square, (square - 1 / d) / variance.clamp(min=1e-30).sqrt()


def _trace(matrices: Float[Tensor, "n d d"]) -> Float[Tensor, " n"]:
    return matrices.diagonal(dim1=-2, dim2=-1).sum(-1)
