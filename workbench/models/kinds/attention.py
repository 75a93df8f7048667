"""How scores become a pattern."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.registry import by_name

Scores = Float[Tensor, "batch head query key"]
Visible = Bool[Tensor, "query key"]


@dataclass(frozen=True)
class AttentionKind:
    """One way from scores to pattern.

    Attributes:
        name: Registry name.
        label: Name for people.
        source: Where it is defined.
        hidden_score: What a score is set to where the key is hidden from the query.
        pattern: From scores, hidden ones set, and visibility to the pattern, which is zero where hidden.
        sums_to_one: Whether a pattern row is a distribution, so that entropies and sink shares mean something.
        fused: Whether ``scaled_dot_product_attention`` computes it.
    """

    name: str
    label: str
    source: str
    hidden_score: float
    pattern: Callable[[Scores, Visible], Scores]
    sums_to_one: bool
    fused: bool = False


def softmax(scores: Scores, visible: Visible) -> Scores:
    """Softmax over the visible keys; all zero where a query sees none."""
    sees_any = visible.any(-1, keepdim=True)
    hidden = scores.masked_fill(~visible, -math.inf)  # again: a hook may have put something there
    return torch.where(sees_any, hidden, 0.0).softmax(-1) * sees_any


def linear(scores: Scores, visible: Visible) -> Scores:
    """Scores divided by the number of visible keys: not a distribution, may be negative."""
    return scores.masked_fill(~visible, 0.0) / visible.sum(-1, keepdim=True).clamp(min=1)


def relu(scores: Scores, visible: Visible) -> Scores:
    """Positive parts of the scores divided by the number of visible keys."""
    return F.relu(scores).masked_fill(~visible, 0.0) / visible.sum(-1, keepdim=True).clamp(min=1)


ATTENTIONS = by_name(
    AttentionKind(
        name="softmax",
        label="Softmax",
        source="Vaswani et al. 2017, arXiv:1706.03762, equation 1",
        hidden_score=-math.inf,
        pattern=softmax,
        sums_to_one=True,
        fused=True,
    ),
    AttentionKind(
        name="linear",
        label="Linear",
        source="von Oswald et al. 2023, arXiv:2212.07677, equation 2, here divided by the visible keys",
        hidden_score=0.0,
        pattern=linear,
        sums_to_one=False,
    ),
    AttentionKind(
        name="relu",
        label="ReLU",
        source="Wortsman et al. 2023, arXiv:2309.08586",
        hidden_score=0.0,
        pattern=relu,
        sums_to_one=False,
    ),
)
