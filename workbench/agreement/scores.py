"""A measure prompt by prompt, and what is told of it: mean, median, intervals over prompts."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.metrics import bootstrap_weights

_SMALLEST = 1e-8
"""Length, relative to the longest one in the prompt, up to which a vector is zero but for rounding: Newton's method
started at 2 / |S S^T| has at one example 1 - (1 - 2)^(2^k), which rounding makes 1e-10 after 20 steps."""


@dataclass(frozen=True, eq=False)
class Summary:
    """What is told of a measure over prompts.

    Attributes:
        mean: Sum of totals over sum of weights.
        median: Median over prompts of total over weight.
        low: Lower end of the 95% bootstrap interval of the mean.
        high: Its upper end.
        median_low: Lower end of the 95% interval of the median.
        median_high: Its upper end.
        undefined: Share of the values, of all prompts and positions, that are undefined and left out.
    """

    mean: Float[Tensor, "*lead"]
    median: Float[Tensor, "*lead"]
    low: Float[Tensor, "*lead"]
    high: Float[Tensor, "*lead"]
    median_low: Float[Tensor, "*lead"]
    median_high: Float[Tensor, "*lead"]
    undefined: Float[Tensor, "*lead"]


@dataclass(frozen=True, eq=False)
class PromptScores:
    """One measure on every prompt, as a total and the weight that it is divided by.

    Attributes:
        total: Sum of the values in the prompt.
        weight: What the sum is divided by, most often the number of defined values; 0 where none is.
        undefined: Share of each prompt's values that are undefined.
    """

    total: Float[Tensor, "*lead batch"]
    weight: Float[Tensor, "*lead batch"]
    undefined: Float[Tensor, "*lead batch"]

    @classmethod
    def of(cls, values: Float[Tensor, "*lead batch context"]) -> "PromptScores":
        """The scores whose means are plain means of values, NaN left out and counted."""
        there = ~values.isnan()
        counted = there.double().sum(-1)
        return cls(torch.where(there, values.double(), 0.0).sum(-1), counted, 1 - counted / max(values.shape[-1], 1))

    @property
    def by_prompt(self) -> Float[Tensor, "*lead batch"]:
        """The value of each prompt, NaN where undefined."""
        return torch.where(self.weight != 0, self.total / self.weight, torch.nan)

    @property
    def mean(self) -> Float[Tensor, "*lead"]:
        """Sum of totals over sum of weights; NaN where there are none."""
        return self.total.sum(-1) / self.weight.sum(-1)

    @property
    def median(self) -> Float[Tensor, "*lead"]:
        """Median over prompts; NaN where none is defined."""
        return self.by_prompt.nanquantile(0.5, -1)

    def summary(self, n_resamples: int, seed: int) -> Summary:
        """Mean and median with intervals.

        The interval of the mean is a percentile bootstrap over prompts. That of the median lies between the order
        statistics 0.98 sqrt(n) ranks below and above, which is where a bootstrap of the median ends for many
        resamples: a resample's median stays below the k-th value if a binomial count stays above n / 2.

        Args:
            n_resamples: Bootstrap resamples.
            seed: Seeds them; the same seed resamples the same prompts for every measure.
        """
        shares = bootstrap_weights(self.total.shape[-1], n_resamples, torch.Generator().manual_seed(seed))
        resampled = (self.total @ shares.mT) / (self.weight @ shares.mT)
        low, high = resampled.nanquantile(torch.tensor([0.025, 0.975], dtype=torch.float64), -1)
        median_low, median_high = self._median_interval()
        return Summary(self.mean, self.median, low, high, median_low, median_high, self.undefined.mean(-1))

    def _median_interval(self) -> tuple[Tensor, Tensor]:
        ordered = self.by_prompt.sort(-1).values  # NaN last
        n = (~ordered.isnan()).sum(-1, keepdim=True)
        apart = 0.98 * n.double().sqrt()
        ranks = (((n - 1) / 2 - apart).floor(), ((n - 1) / 2 + apart).ceil())
        low, high = (ordered.gather(-1, rank.long().clamp(min=0).minimum((n - 1).clamp(min=0))) for rank in ranks)
        return low[..., 0], high[..., 0]


def cosines(a: Float[Tensor, "... d"], b: Float[Tensor, "... d"]) -> Float[Tensor, "..."]:
    """Cosines of vectors ``[... batch context d]``, NaN where one of the two has no direction; float64."""
    a, b = a.double(), b.double()
    product = (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))
    return torch.where(_has_direction(a) & _has_direction(b), product, torch.nan)


def relative_distances(a: Float[Tensor, "... d"], b: Float[Tensor, "... d"]) -> Float[Tensor, "..."]:
    """|a - b| / |b| of vectors ``[... batch context d]``, NaN where b is zero; float64."""
    a, b = a.double(), b.double()
    return torch.where(_has_direction(b), (a - b).norm(dim=-1) / b.norm(dim=-1), torch.nan)


def _has_direction(vectors: Tensor) -> Bool[Tensor, "..."]:
    lengths = vectors.norm(dim=-1)
    return lengths > _SMALLEST * lengths.amax(-1, keepdim=True)
