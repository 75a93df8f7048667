"""Weighted means of the labels of a prefix."""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.baselines.prefixes import Prefixes
from workbench.baselines.record import Predictions, Queries

Scores = Float[Tensor, "batch context n_query example"]


def distances(prefixes: Prefixes, queries: Queries) -> Scores:
    """Euclidean distances between queries and examples; exactly 0 between equal points."""
    n_batch, n_context, n_query, d = queries.shape
    flat = queries.reshape(n_batch, n_context * n_query, d)
    found = torch.cdist(flat, prefixes.xs, compute_mode="donot_use_mm_for_euclid_dist")
    return found.reshape(n_batch, n_context, n_query, -1)


def softmax_mean(prefixes: Prefixes, scores: Scores) -> Predictions:
    """Mean of the labels of each prefix, weighted by exp(score); 0 for the empty prefix."""
    hidden = ~prefixes.earlier[:, None]
    shares = torch.softmax(scores.masked_fill(hidden, -torch.inf), -1).masked_fill(hidden, 0.0)
    return mean(prefixes, shares)


def mean(prefixes: Prefixes, shares: Scores) -> Predictions:
    """Sums of labels times shares."""
    return torch.einsum("bcqj,bj->bcq", shares, prefixes.ys)[None]
