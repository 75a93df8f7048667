"""What a head detector is, and a measured mean."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Pattern = Float[Tensor, "batch head query key"]
Targets = Bool[Tensor, "batch query key"]


@dataclass(frozen=True)
class HeadDetector:
    """A kind of head, told by where it attends.

    Attributes:
        name: Registry name.
        label: Name for people.
        source: Who described it.
        stimulus: Prompts that it is looked for on: the domains' own text, or random tokens repeated.
        targets: From tokens to the keys that such a head attends to, all before or at the query. Queries without any
            are not scored.
    """

    name: str
    label: str
    source: str
    stimulus: Literal["text", "repeated"]
    targets: Callable[[Int[Tensor, "batch pos"]], Targets]


@dataclass(frozen=True)
class Mean:
    """A mean over prompts.

    Attributes:
        mean: The mean; NaN without prompts.
        standard_error: Its standard error; NaN below two prompts.
    """

    mean: float
    standard_error: float

    @classmethod
    def of(cls, values: Float[Tensor, " prompt"]) -> "Mean":
        """Of one number per prompt; NaNs, where nothing could be measured, are left out."""
        kept = values[~values.isnan()].double()
        error = (kept.std() / math.sqrt(len(kept))).item() if len(kept) > 1 else math.nan
        return cls(kept.mean().item() if len(kept) else math.nan, error)


def attended(pattern: Pattern, targets: Targets) -> Float[Tensor, "batch head"]:
    """Mean over the queries that have a target of the attention on their targets; NaN for prompts without any.

    1 for a head of the kind, ``chance`` for one that attends to all visible keys alike. The pattern is not written to.
    """
    scored = targets.any(-1)
    mass = (pattern * targets[:, None]).sum(-1)
    return (mass * scored[:, None]).sum(-1) / scored.sum(-1)[:, None]


def chance(targets: Targets) -> Float[Tensor, " batch"]:
    """The score of uniform attention over the q + 1 visible keys of query q, 0-based."""
    n = targets.shape[-1]
    seen = torch.arange(1, n + 1, device=targets.device)
    scored = targets.any(-1)
    return (targets.sum(-1) / seen * scored).sum(-1) / scored.sum(-1)
