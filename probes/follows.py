"""How far predictions follow what was put in, and what they lose by what was taken out, with intervals."""

from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from workbench.metrics import interval


@dataclass(frozen=True)
class Followed:
    """Of predictions after steering, the coefficients of w'.x and of the prediction before, in one least-squares fit.

    Attributes:
        slope: Of w'.x: 1 where the model predicts with the weights put in, 0 where it does not know of them.
        slope_ci: Its 95% bootstrap interval over prompts, all steerings of a prompt together.
        kept: Of the prediction before: 1 where it stays.
        kept_ci: Likewise.
    """

    slope: float
    slope_ci: tuple[float, float]
    kept: float
    kept_ci: tuple[float, float]


def coefficients(
    after: Float[Tensor, "*draw other prompt"],
    wanted: Float[Tensor, "other prompt"],
    before: Float[Tensor, " prompt"],
    shares: Float[Tensor, "resample prompt"],
) -> Float[Tensor, "*draw resample two"]:
    """Least squares without intercept of ``after`` on ``wanted`` and ``before``, for shares of prompts.

    w' is that of another prompt, and so independent of the prediction before: what merely spoils predictions changes
    the second coefficient and not the first.
    """
    inputs = torch.stack([wanted, before.expand_as(wanted)], -1)  # [other prompt two]
    gram = einsum(inputs, inputs, "other prompt a, other prompt b -> prompt a b")
    cross = einsum(inputs, after, "other prompt a, ... other prompt -> ... prompt a")
    grams = einsum(shares, gram, "resample prompt, prompt a b -> resample a b")
    crosses = einsum(shares, cross, "resample prompt, ... prompt a -> ... resample a")
    return (torch.linalg.pinv(grams, hermitian=True) @ crosses[..., None])[..., 0]


def everyone(n_prompts: int) -> Float[Tensor, "resample prompt"]:
    """The one resample that is the prompts themselves."""
    return torch.full((1, n_prompts), 1 / n_prompts, dtype=torch.float64)


def followed(
    after: Float[Tensor, "other prompt"],
    wanted: Float[Tensor, "other prompt"],
    before: Float[Tensor, " prompt"],
    shares: Float[Tensor, "resample prompt"],
) -> Followed:
    """The coefficients of one site with their intervals."""
    slope, kept = coefficients(after, wanted, before, everyone(len(before)))[0].tolist()
    resampled = coefficients(after, wanted, before, shares)
    return Followed(slope, ends(resampled[:, 0]), kept, ends(resampled[:, 1]))


@dataclass(frozen=True)
class Lost:
    """A mean over prompts, and how far it is above that of random directions.

    Attributes:
        value: The mean.
        ci: Its 95% bootstrap interval over prompts.
        random: Its mean over draws of random directions.
        random_range: The central 95% of draws.
        excess: ``value`` less ``random``.
        excess_ci: Its 95% bootstrap interval over prompts, draws kept.
        p_value: Share of draws with as much, the site itself counted as one.
    """

    value: float
    ci: tuple[float, float]
    random: float
    random_range: tuple[float, float]
    excess: float
    excess_ci: tuple[float, float]
    p_value: float


def lost(
    own: Float[Tensor, " prompt"], random: Float[Tensor, "draw prompt"], shares: Float[Tensor, "resample prompt"]
) -> Lost:
    """The mean of a loss per prompt against that of random directions."""
    draws, excess = random.mean(-1), own - random.mean(0)
    return Lost(
        value=own.mean().item(),
        ci=ends(shares @ own),
        random=draws.mean().item(),
        random_range=ends(draws),
        excess=excess.mean().item(),
        excess_ci=ends(shares @ excess),
        p_value=p_value(own.mean(), draws),
    )


def p_value(own: Float[Tensor, ""], draws: Float[Tensor, " draw"]) -> float:
    """Share of draws that are as high, the site itself counted as one."""
    return (1 + int((draws >= own).sum())) / (1 + len(draws))


def ends(samples: Float[Tensor, " sample"]) -> tuple[float, float]:
    """The central 95% of samples."""
    found = interval(samples)
    return found.low, found.high
