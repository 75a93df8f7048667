"""How much more a query's score favours the first token than the others it sees (Guo et al. 2024, arXiv:2410.13835)."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class SinkLogits:
    """By the token at the query: averages over all queries hide which tokens sink.

    Attributes:
        by_token: Mean over the queries that hold the token; NaN for tokens that none holds.
        n_queries: How many do.
    """

    by_token: Float[Tensor, "head token"]
    n_queries: Int[Tensor, " token"]

    def summary(self, head: int) -> tuple[float, float, float]:
        """Mean, 10 % and 90 % quantile over the tokens that occurred, each counted once; NaN if none did."""
        kept = self.by_token[head][self.n_queries > 0]
        if len(kept) == 0:
            return math.nan, math.nan, math.nan
        low, high = torch.quantile(kept, torch.tensor([0.1, 0.9], dtype=kept.dtype)).tolist()
        return kept.mean().item(), low, high


def sink_logits(
    scores: Float[Tensor, "batch head query key"],
    tokens: Int[Tensor, "batch pos"],
    queries: Bool[Tensor, "batch pos"],
    n_tokens: int,
) -> SinkLogits:
    """Score on position 0 minus the mean score on positions 1 to query - 1, the query's own left out.

    Args:
        scores: Before the softmax, as ``attn.hook_attn_scores`` gives them; what is hidden is not read.
        tokens: Of the same prompts.
        queries: Which count; those before position 2 never do. Leave out triggers, and tokens with one successor alone.
        n_tokens: Size of the vocabulary.
    """
    n = scores.shape[-1]
    between = torch.ones(n, n, dtype=torch.bool, device=scores.device).tril(-1)
    between[:, 0] = False
    others = torch.where(between, scores, 0.0).sum(-1) / between.sum(-1).clamp(min=1)
    excess = (scores[..., 0] - others).double()
    counted = queries.clone()
    counted[:, :2] = False
    flat = tokens[counted]
    total = torch.zeros(scores.shape[1], n_tokens, dtype=torch.float64, device=scores.device)
    total.index_add_(1, flat, excess.transpose(0, 1)[:, counted])
    n_queries = torch.bincount(flat, minlength=n_tokens)
    return SinkLogits(total / n_queries, n_queries)
