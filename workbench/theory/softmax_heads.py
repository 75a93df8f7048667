"""The best single softmax head, and the best debiased steps of heads that several labels share."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import scipy.stats
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.regression_law import RegressionLaw
from workbench.theory.debiased import debiased_excess
from workbench.theory.one_step import Matrix

_N_PROMPTS = 50_000
_GOLDEN = (5**0.5 - 1) / 2
_ROUNDS = 25


Moments = Callable[[float], tuple[float, float]]
"""From a sharpness to E[f f*] and E[f^2] of the head with value 1, f* = w . q."""


@cache
def best_head(
    n_examples: int, d_input: int, noise_variance: float = 0.0, inputs: str = "gaussian"
) -> tuple[float, float, float]:
    """Sharpness omega, value mu and excess risk of the best f = mu sum_i softmax_i(omega x_i . q) y_i.

    For coordinates of x of variance 1 and E[w w^T] = I. For each omega the best mu is a ratio of moments; omega by
    golden-section search.

    Args:
        n_examples: n.
        d_input: d.
        noise_variance: s2, over the variance of a coordinate of w.
        inputs: Law of a coordinate: gaussian or uniform.

    Source:
        The setting of He et al. 2025, arXiv:2503.12734; their surrogate, `softmax_head_surrogate`, is a first guess.
    """
    moments = (_of_uniform if inputs == "uniform" else _of_gaussian)(n_examples, d_input, noise_variance)

    def at(omega: float) -> tuple[float, float]:
        along, square = moments(omega)
        return along / square, d_input - along**2 / square

    low, high = 0.0, 2.0
    for _ in range(_ROUNDS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, right) if at(left)[1] < at(right)[1] else (left, high)
    omega = (low + high) / 2
    return omega, *at(omega)


def _of_gaussian(n_examples: int, d_input: int, noise_variance: float) -> Moments:
    """Means over w, noise and inputs across q are exact, |q| takes its quantiles; inputs along q are one sample."""
    generator = torch.Generator().manual_seed(0)
    along_query = torch.randn(_N_PROMPTS, n_examples, generator=generator, dtype=torch.float64)
    places = (np.arange(_N_PROMPTS) + 0.5) / _N_PROMPTS
    length = torch.as_tensor(scipy.stats.chi2.ppf(places, d_input) ** 0.5)
    scores = length[:, None] * along_query

    def at(omega: float) -> tuple[float, float]:
        weights = (omega * scores).softmax(-1)
        mixed = (weights * along_query).sum(-1)  # the rest is across q, of variance sum_i weights_i^2
        spread = (d_input - 1 + noise_variance) * weights.square().sum(-1)
        return float((mixed * length).mean()), float((mixed.square() + spread).mean())

    return at


def _of_uniform(n_examples: int, d_input: int, noise_variance: float) -> Moments:
    """Means over w and noise are exact, inputs and queries are one fixed sample."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(_N_PROMPTS, n_examples + 1, d_input, generator=generator, dtype=torch.float64)
    xs, query = ((drawn - 0.5) * 12**0.5).tensor_split((n_examples,), dim=1)
    scores = (xs @ query.mT).squeeze(-1)

    def at(omega: float) -> tuple[float, float]:
        weights = (omega * scores).softmax(-1)
        mixed = (weights[:, None] @ xs).squeeze(1)
        noise = noise_variance * weights.square().sum(-1)
        return float((weights * scores).sum(-1).mean()), float((mixed.square().sum(-1) + noise).mean())

    return at


def own_steps(laws: Sequence[RegressionLaw]) -> tuple[Matrix, ...]:
    """The best debiased Gamma of each label, where no label hinders another.

    Psi (Sig Psi + (tr(Sig Psi)+s2)/n I)^-1, which coordinates of no use to the label leave at 0. Two heads for each
    label take these steps, and so do as few as one more than labels, in the limit of small scores: values mu_ht that
    cancel over heads leave H - 1 directions, enough for sum_h mu_ht omega_hj = Gamma_t,jj at every coordinate j.

    Source:
        He et al. 2025, arXiv:2503.12734, for heads of both signs for each task; the rest derived here.
    """
    return tuple(law.prior @ torch.linalg.inv(law.covariance @ law.prior + _ridge(law)) for law in laws)


def shared_steps(laws: Sequence[RegressionLaw]) -> tuple[Matrix, ...]:
    """The best debiased Gamma if all labels must share one diagonal, for x ~ N(0, I) and diagonal priors.

    n sum_t psi_tj / sum_t (n psi_tj + tr Psi_t + s2) for coordinate j: from the risk of each label, whose sum is
    quadratic in the diagonal.
    """
    n = laws[0].n_examples
    used = torch.stack([law.prior.diagonal() for law in laws])
    spread = torch.stack([law.prior.trace() + law.noise_variance for law in laws])
    diagonal = n * used.sum(0) / (n * used + spread[:, None]).sum(0)
    return (diagonal.diag(),) * len(laws)


def excesses(gammas: Sequence[Matrix], laws: Sequence[RegressionLaw]) -> tuple[float, ...]:
    """Excess risk of each label."""
    return tuple(debiased_excess(gamma, law) for gamma, law in zip(gammas, laws, strict=True))


def _ridge(law: RegressionLaw) -> Float[Tensor, "d_input d_input"]:
    c = (law.signal_variance + law.noise_variance) / law.n_examples
    return c * torch.eye(law.d_input, dtype=law.prior.dtype)
