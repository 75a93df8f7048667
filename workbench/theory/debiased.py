"""The best step on centred inputs, which is what softmax heads of opposite signs compute to first order."""

import torch

from workbench.regression_law import RegressionLaw
from workbench.theory.one_step import Matrix, coordinate_moment


def debiased_second_moment(law: RegressionLaw, n_examples: int) -> Matrix:
    """E[g_c g_c^T], with g_c the mean of y_i (x_i - mean x), for m = n - 1.

    (m/n^2) [(m+1) Sig Psi Sig + (tr(Sig Psi) + s2) Sig + (m/n) kappa A^T diag(A Psi A^T) A] for x = z A: of centred
    inputs the share (m/n)^2 of each example's fourth cumulant is left.
    """
    m, covariance, prior = n_examples - 1, law.covariance, law.prior
    gaussian = (m + 1) * covariance @ prior @ covariance + (law.signal_variance + law.noise_variance) * covariance
    return m / n_examples**2 * (gaussian + m / n_examples * law.excess_kurtosis * coordinate_moment(law))


def debiased_optimum(law: RegressionLaw, n_examples: int | None = None) -> Matrix:
    """Gamma of least error for f = q . Gamma g_c, with g_c the mean of y_i (x_i - mean x).

    For Gaussian x it is [Sig + (tr(Sig Psi) + s2)/n Psi^-1]^-1: the (n+1)/n of the step with plain inputs becomes 1.

    Source:
        The step of He et al. 2025, arXiv:2503.12734, for Psi = I/d, where it is 1/(1 + (1+s2) d/n); the rest derived
        from the moments of centred prompts.
    """
    n = n_examples or law.n_examples
    along = (n - 1) / n * law.prior @ law.covariance
    return torch.linalg.solve(debiased_second_moment(law, n), along, left=False)


def debiased_excess(gamma: Matrix, law: RegressionLaw, n_examples: int | None = None) -> float:
    """Excess risk of f = q . Gamma g_c, exact: E[w g_c^T] = (m/n) Psi Sig with m = n - 1."""
    n = n_examples or law.n_examples
    covariance = law.covariance
    along = (n - 1) / n * torch.trace(gamma @ covariance @ law.prior @ covariance)
    square = torch.trace(gamma @ debiased_second_moment(law, n) @ gamma.mT @ covariance)
    return float(law.signal_variance - 2 * along + square)
