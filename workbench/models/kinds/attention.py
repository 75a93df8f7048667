"""How scores become a pattern."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import einsum
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.registry import by_name

Scores = Float[Tensor, "batch head query key"]
Visible = Bool[Tensor, "query key"]
Keys = Float[Tensor, "batch key head d_head"]
Strengths = Float[Tensor, "batch key head"]


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
        keys_compete: Whether a key takes weight from others, so that a sink without value matters.
        fused: Whether ``scaled_dot_product_attention`` computes it.
        writes: From unit keys, the learned strengths with which they write, and visibility to what each position
            stores of all values; the pattern is multiplied by it. None where each position stores its own value.
    """

    name: str
    label: str
    source: str
    hidden_score: float
    pattern: Callable[[Scores, Visible], Scores]
    sums_to_one: bool = False
    keys_compete: bool = False
    fused: bool = False
    writes: Callable[[Keys, Strengths, Visible], Float[Tensor, "batch head key stored"]] | None = None


def softmax(scores: Scores, visible: Visible) -> Scores:
    """Softmax over the visible keys; all zero where a query sees none."""
    sees_any = visible.any(-1, keepdim=True)
    hidden = scores.masked_fill(~visible, -math.inf)  # again: a hook may have put something there
    return torch.where(sees_any, hidden, 0.0).softmax(-1) * sees_any


def softmax_plus_one(scores: Scores, visible: Visible) -> Scores:
    """exp(score) / (1 + sum of exp(score)) over the visible keys: a query may attend to nothing."""
    hidden = scores.masked_fill(~visible, -math.inf)
    return F.pad(hidden, (0, 1)).softmax(-1)[..., :-1]


def clipped_softmax(scores: Scores, visible: Visible, *, gamma: float, zeta: float) -> Scores:
    """Softmax stretched to [gamma, zeta] and clipped to [0, 1]: weights can be exactly 0."""
    stretched = (zeta - gamma) * softmax(scores, visible) + gamma
    return stretched.clamp(0, 1).masked_fill(~visible, 0.0)


def mild_clipped_softmax(scores: Scores, visible: Visible) -> Scores:
    """Clipped softmax with gamma -0.03 and zeta 1: weights below 0.029 are 0."""
    return clipped_softmax(scores, visible, gamma=-0.03, zeta=1.0)


def sigmoid(scores: Scores, visible: Visible) -> Scores:
    """The logistic function of each score less log n, with n visible keys: n scores of 0 weigh almost 1 together."""
    n_visible = visible.sum(-1, keepdim=True).clamp(min=1).to(scores.dtype)
    return (scores - n_visible.log()).sigmoid().masked_fill(~visible, 0.0)


def linear(scores: Scores, visible: Visible) -> Scores:
    """Scores divided by the number of visible keys: not a distribution, may be negative."""
    return scores.masked_fill(~visible, 0.0) / visible.sum(-1, keepdim=True).clamp(min=1)


def relu(scores: Scores, visible: Visible) -> Scores:
    """Positive parts of the scores divided by the number of visible keys."""
    return F.relu(scores).masked_fill(~visible, 0.0) / visible.sum(-1, keepdim=True).clamp(min=1)


def plain(scores: Scores, visible: Visible) -> Scores:
    """The scores themselves."""
    return scores.masked_fill(~visible, 0.0)


def delta_writes(keys: Keys, strengths: Strengths, visible: Visible) -> Float[Tensor, "batch head key stored"]:
    """(I + strict lower part of diag(b) K K^T)^-1 diag(b): what is written corrects what is stored already.

    Position t writes u_t = b_t (v_t - S_{t-1} k_t) into S_t = S_{t-1} + u_t k_t^T, where S_{t-1} holds what the
    positions visible to t have written; row t of the result, times the values, is u_t. The triangular system is
    solved in float32 at least.

    Source:
        Yang et al. 2024, arXiv:2406.06484.
    """
    precision = torch.promote_types(keys.dtype, torch.float32)
    exact, b = keys.to(precision), strengths.mT.to(precision)
    overlap = einsum(exact, exact, "batch key head d_head, batch stored head d_head -> batch head key stored")
    system = (b[..., None] * overlap).masked_fill(~visible.tril(-1), 0.0)
    solved = torch.linalg.solve_triangular(system, torch.diag_embed(b), upper=False, unitriangular=True)
    return solved.to(keys.dtype)


ATTENTIONS = by_name(
    AttentionKind(
        name="softmax",
        label="Softmax",
        source="Vaswani et al. 2017, arXiv:1706.03762, equation 1",
        hidden_score=-math.inf,
        pattern=softmax,
        sums_to_one=True,
        keys_compete=True,
        fused=True,
    ),
    AttentionKind(
        name="softmax_plus_one",
        label="Softmax with one added to the denominator",
        source="Miller 2023, Attention is off by one",
        hidden_score=-math.inf,
        pattern=softmax_plus_one,
        keys_compete=True,
    ),
    AttentionKind(
        name="clipped_softmax",
        label="Softmax stretched to [-0.03, 1] and clipped to [0, 1]",
        source="Bondarenko et al. 2023, arXiv:2306.12929, equation 4, gamma -0.03, zeta 1",
        hidden_score=-math.inf,
        pattern=mild_clipped_softmax,
        keys_compete=True,
    ),
    AttentionKind(
        name="sigmoid",
        label="Sigmoid, biased by -log of the visible keys",
        source="Ramapuram et al. 2024, arXiv:2409.04431; Wortsman et al. 2023, arXiv:2309.08586",
        hidden_score=-math.inf,
        pattern=sigmoid,
    ),
    AttentionKind(
        name="linear",
        label="Linear",
        source="von Oswald et al. 2023, arXiv:2212.07677, equation 2, here divided by the visible keys",
        hidden_score=0.0,
        pattern=linear,
    ),
    AttentionKind(
        name="relu",
        label="ReLU",
        source="Wortsman et al. 2023, arXiv:2309.08586",
        hidden_score=0.0,
        pattern=relu,
    ),
    AttentionKind(
        name="delta",
        label="Delta rule (DeltaNet), unit keys, learned write strengths in [0, 1]",
        source="Schlag et al. 2021, arXiv:2102.11174; parallel form of Yang et al. 2024, arXiv:2406.06484",
        hidden_score=0.0,
        pattern=plain,
        writes=delta_writes,
    ),
)
