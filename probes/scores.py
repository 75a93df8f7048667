"""Scores of predictions on held-out prompts, with intervals, p-values and bits."""

import math
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from workbench.metrics import bootstrap_weights, interval

Said = Float[Tensor, "site prompt place column"]
Truth = Float[Tensor, "prompt place column"]

_LEAST = 1e-15
"""Smallest error variance, relative to that of the target, that a code is built on: rounding in float64."""


@dataclass(frozen=True, eq=False)
class Scored:
    """Held-out scores of all sites.

    Attributes:
        score: R^2 pooled over coordinates, or accuracy.
        ci: Its 95% bootstrap interval over prompts.
        p_value: Share of pairings with other prompts' targets that score as high.
        cosine: Mean cosine of said and true; NaN for a number.
        mse: Mean squared error per coordinate; NaN for classes.
    """

    score: Float[Tensor, " site"]
    ci: tuple[tuple[float, float], ...]
    p_value: Float[Tensor, " site"]
    cosine: Float[Tensor, " site"]
    mse: Float[Tensor, " site"]


def r2(said: Said, truth: Truth) -> Float[Tensor, " site"]:
    """Share of the variance of the target, all coordinates together, that is said; below 0 if worse than the mean.

    As scikit-learn's ``r2_score`` with ``multioutput="variance_weighted"``.
    """
    return 1 - (said - truth).square().sum((1, 2, 3)) / variation(truth)


def variation(truth: Truth) -> Float[Tensor, ""]:
    """Sum of squares about the mean of every coordinate."""
    return (truth - truth.mean((0, 1))).square().sum()


def score_numbers(said: Said, truth: Truth, *, n_resamples: int, n_permutations: int, seed: int) -> Scored:
    """R^2 with its bootstrap over prompts and its permutation test: prompts with all their places stay together.

    Args:
        said: What probes say.
        truth: What is so.
        n_resamples: Bootstrap resamples.
        n_permutations: Pairings of predictions with other prompts' targets.
        seed: Seeds both.
    """
    shares = bootstrap_weights(len(truth), n_resamples, torch.Generator().manual_seed(seed))
    errors = (said - truth).square().sum((2, 3))
    squares, sums = truth.square().sum((1, 2)), truth.sum(1)
    n_places = truth.shape[1]
    spread = shares @ squares - (shares @ sums).square().sum(-1) / n_places
    resampled = 1 - (errors @ shares.mT) / spread
    agreement = einsum(
        truth - truth.mean((0, 1)), said, "own place column, site prompt place column -> site own prompt"
    )
    norms = said.norm(dim=-1) * truth.norm(dim=-1)
    cosines = torch.where(norms > 0, (said * truth).sum(-1) / norms.clamp(min=1e-300), torch.nan)
    alone = truth.shape[-1] == 1
    return Scored(
        score=r2(said, truth),
        ci=_intervals(resampled),
        p_value=_p_values(agreement, n_permutations, seed),
        cosine=torch.full_like(errors[:, 0], torch.nan) if alone else cosines.flatten(1).nanmean(1),
        mse=(said - truth).square().mean((1, 2, 3)),
    )


def score_classes(
    said: Int[Tensor, "site prompt place"],
    truth: Int[Tensor, "prompt place"],
    *,
    n_resamples: int,
    n_permutations: int,
    seed: int,
) -> Scored:
    """Accuracy with its bootstrap over prompts and its permutation test."""
    shares = bootstrap_weights(len(truth), n_resamples, torch.Generator().manual_seed(seed))
    right = (said == truth).double().mean(-1)
    agreement = (said[:, None] == truth[None, :, None]).double().mean(-1)
    nothing = torch.full_like(right[:, 0], torch.nan)
    return Scored(
        score=right.mean(-1),
        ci=_intervals(right @ shares.mT),
        p_value=_p_values(agreement, n_permutations, seed),
        cosine=nothing,
        mse=nothing,
    )


def _intervals(resampled: Float[Tensor, "site resample"]) -> tuple[tuple[float, float], ...]:
    found = [interval(samples) for samples in resampled]
    return tuple((each.low, each.high) for each in found)


def _p_values(agreement: Float[Tensor, "site own prompt"], n: int, seed: int) -> Float[Tensor, " site"]:
    """How often predictions agree as well with the targets of other prompts, the own pairing counted as one."""
    generator = torch.Generator().manual_seed(seed + 1)
    prompts = torch.arange(agreement.shape[-1])
    paired = agreement.diagonal(dim1=1, dim2=2).sum(-1)
    orders = [torch.randperm(len(prompts), generator=generator) for _ in range(n)]
    as_high = torch.stack([agreement[:, order, prompts].sum(-1) >= paired for order in orders])
    return (1 + as_high.double().sum(0)) / (1 + n)


def bits_saved(
    said: Said,
    truth: Truth,
    noise: Float[Tensor, "site column"],
    mean: Float[Tensor, " column"],
    variance: Float[Tensor, " column"],
) -> Float[Tensor, "site prompt place"]:
    """Bits that the Gaussian code of a probe saves over one that knows the mean alone, sample by sample.

    Their mean is V-information.

    Args:
        said: What probes say.
        truth: What is so.
        noise: Squared error of the probes per column, from prompts that are not scored.
        mean: Of the target, from prompts that are not scored.
        variance: Of the target, likewise.

    Source:
        Xu et al. 2020, arXiv:2002.10689, for the family of Gaussians around the predictions of a probe.
    """
    kept = variance > 0
    known = _bits((truth - mean)[..., kept].square(), variance[kept]).sum(-1)
    told = (said - truth)[..., kept].square()
    return known - _bits(told, _at_least(noise, variance)[:, None, None, kept]).sum(-1)


def v_information(
    error: Float[Tensor, "site column"],
    noise: Float[Tensor, "site column"],
    about_mean: Float[Tensor, " column"],
    variance: Float[Tensor, " column"],
) -> Float[Tensor, " site"]:
    """The mean of `bits_saved`, from mean squared errors.

    Args:
        error: Of the probes.
        noise: As of `bits_saved`.
        about_mean: Of the mean that is known.
        variance: As of `bits_saved`.
    """
    kept = variance > 0
    known = _bits(about_mean[kept], variance[kept]).sum(-1)
    return known - _bits(error[:, kept], _at_least(noise, variance)[:, kept]).sum(-1)


def _at_least(noise: Float[Tensor, "site column"], variance: Float[Tensor, " column"]) -> Tensor:
    return noise.maximum(_LEAST * variance)


def mean_with_interval(
    values: Float[Tensor, "site prompt"], *, n_resamples: int, seed: int
) -> tuple[Float[Tensor, " site"], tuple[tuple[float, float], ...]]:
    """Means over prompts with their 95% bootstrap intervals."""
    shares = bootstrap_weights(values.shape[1], n_resamples, torch.Generator().manual_seed(seed))
    return values.mean(1), _intervals(values @ shares.mT)


def _bits(error: Tensor, variance: Tensor) -> Tensor:
    """Mean code length under a Gaussian of this variance where the mean squared error is ``error``."""
    return 0.5 * (torch.log2(2 * math.pi * variance) + error / variance / math.log(2))
