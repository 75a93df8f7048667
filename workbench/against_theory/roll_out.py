"""One trained layer applied again and again with damping, beside theory's step applied as often."""

from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from workbench.against_theory.observed import Observed
from workbench.models.transformer import Transformer
from workbench.theory import OneStep
from workbench.weights import fold_fault, products

N_STEPS = 50
DAMPING = 0.75
_N_PROMPTS = 2000


@dataclass(frozen=True)
class RolledOut:
    """Excess risk by number of applications, the same prompts for both.

    Attributes:
        damping: Factor on every change of a label.
        excess: Of the trained layer, before and after each application.
        theory: Of theory's step, in the same way.
    """

    damping: float
    excess: tuple[float, ...]
    theory: tuple[float, ...]


def roll_out(said: OneStep, model: Transformer, seen: Observed) -> RolledOut | None:
    """Apply the layer 50 times, only labels changing; None where a layer is no sum of products of tokens.

    Source:
        von Oswald et al. 2023, arXiv:2212.07677, appendix, with their damping of 3/4.
    """
    linear = model.config.attention == "linear" and model.config.n_layers == 1 and not model.config.query_in_keys
    if not linear or said.centred or fold_fault(model) or model.config.layout != "pairs":
        return None
    part = Observed(seen.batch.prompts(0, _N_PROMPTS), seen.said[:_N_PROMPTS], seen.truth[:_N_PROMPTS])
    found, d = products(model), said.gamma.shape[0]
    read = found.read[0]
    key_query = found.key_query[0]
    best_scores = torch.zeros_like(key_query[:1])
    best_scores[0, :d, :d] = said.gamma.mT
    best_read = torch.zeros_like(read[:1])
    best_read[0, d] = 1.0
    return RolledOut(DAMPING, _excess(part, read, key_query), _excess(part, best_read, best_scores))


def _excess(
    seen: Observed, read: Float[Tensor, "head token"], key_query: Float[Tensor, "head token token"]
) -> tuple[float, ...]:
    """A label holds what is left of it, and the query's minus the prediction."""
    xs, ys = seen.batch.xs, seen.batch.ys
    labels = torch.cat([ys[:, :-1], torch.zeros_like(ys[:, -1:])], 1)
    found = [float(seen.truth.square().mean())]
    for _ in range(N_STEPS):
        tokens = torch.cat([xs, labels[..., None]], -1)
        keys = tokens[:, :-1]
        scores = einsum(keys, key_query, tokens, "batch key a, head a b, batch query b -> head batch query key")
        change = einsum(scores, keys @ read.mT, "head batch query key, batch key head -> batch query")
        labels = labels - DAMPING * change / keys.shape[1]
        found.append(float((-labels[:, -1] - seen.truth).square().mean()))
    return tuple(found)
