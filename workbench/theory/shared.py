"""One Gamma for prompts of several lengths, as a causal model that is trained at every position has."""

from collections.abc import Sequence

import torch

from workbench.regression_law import RegressionLaw
from workbench.theory.one_step import Matrix, excess_risk, second_moment


def shared_optimum(law: RegressionLaw, lengths: Sequence[int], factors: Sequence[float | int] | None = None) -> Matrix:
    """Gamma that errs least on average over prompt lengths: Psi Sig (sum f_k) (sum f_k^2 E[g_k g_k^T])^-1.

    Isotropic with factors 1 that is the step 1 / mean_k[1 + (d+1+s2)/k].

    Args:
        law: The law of prompts, its covariance fixed.
        lengths: Numbers of examples k >= 1, each counting once; prompts without examples teach nothing.
        factors: f_k on the prediction at each length; 1 where g_k is the mean, k/n where sums are divided by n, and
            k/(k+1) where the query itself counts as a key.
    """
    factors = [1.0] * len(lengths) if factors is None else factors
    pairs = list(zip(lengths, factors, strict=True))
    square = torch.stack([f * f * second_moment(law, k) for k, f in pairs]).sum(0)
    return sum(factors) * law.prior @ law.covariance @ torch.linalg.inv(square)


def excess_by_length(
    gamma: Matrix, law: RegressionLaw, lengths: Sequence[int], factors: Sequence[float | int] | None = None
) -> list[float]:
    """Excess risk of one Gamma at each prompt length; as the length grows it tends to a bias that stays.

    For means and isotropic x it is d [1 - 2a + a^2 ((M+1)/M + (d+s2)/M)] for Gamma = a I, and d (1-a)^2 in the limit.
    """
    factors = [1.0] * len(lengths) if factors is None else factors
    return [excess_risk(gamma, law, k, factor=f) for k, f in zip(lengths, factors, strict=True)]
