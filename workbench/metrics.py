"""Errors per context position, and bootstrap intervals over prompts."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Interval:
    """A percentile interval.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float


def error_by_context(
    predictions: Float[Tensor, "*lead batch context"], ys: Float[Tensor, "batch context"], d_input: int
) -> Float[Tensor, "*lead context"]:
    """Mean over prompts of the squared error at each context position, over d: near 1 for the zero predictor."""
    return ((predictions - ys) ** 2).mean(-2) / d_input


def bootstrap_weights(n_prompts: int, n_resamples: int, generator: torch.Generator) -> Float[Tensor, "resample prompt"]:
    """How often each prompt counts in each resample with replacement, as shares that sum to 1."""
    drawn = torch.randint(n_prompts, (n_resamples, n_prompts), generator=generator)
    counts = torch.zeros(n_resamples, n_prompts, dtype=torch.float64)
    return counts.scatter_add_(1, drawn, torch.ones_like(counts)) / n_prompts


def interval(samples: Float[Tensor, " resample"], level: float = 0.95) -> Interval:
    """The central ``level`` of bootstrap samples; NaN ends where a sample is NaN."""
    tail = (1 - level) / 2
    ends = torch.quantile(samples.double(), torch.tensor([tail, 1 - tail], dtype=torch.float64))
    return Interval(ends[0].item(), ends[1].item())
