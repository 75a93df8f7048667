"""The best step on centred inputs, which is what softmax heads of opposite signs compute to first order."""

import torch

from workbench.regression_law import RegressionLaw
from workbench.theory.one_step import Matrix


def debiased_optimum(law: RegressionLaw, n_examples: int | None = None) -> Matrix:
    """Gamma of least error for f = q . Gamma g_c, with g_c the mean of y_i (x_i - mean x), for Gaussian x.

    [Sig + (tr(Sig Psi) + s2)/n Psi^-1]^-1: the (n+1)/n of the step with plain inputs becomes 1.

    Source:
        The step of He et al. 2025, arXiv:2503.12734, for Psi = I/d, where it is 1/(1 + (1+s2) d/n); the rest derived
        from the moments of centred Gaussian prompts.
    """
    n = n_examples or law.n_examples
    c = (law.signal_variance + law.noise_variance) / n
    return torch.linalg.inv(law.covariance + c * torch.linalg.inv(law.prior))


def debiased_excess(gamma: Matrix, law: RegressionLaw, n_examples: int | None = None) -> float:
    """Excess risk of f = q . Gamma g_c, for Gaussian x.

    With m = n - 1: E[w g_c^T] = (m/n) Psi Sig and E[g_c g_c^T] = (m/n^2) [(m+1) Sig Psi Sig + (tr(Sig Psi) + s2) Sig].
    """
    n = n_examples or law.n_examples
    m, covariance, prior = n - 1, law.covariance, law.prior
    around = (m + 1) * covariance @ prior @ covariance + (law.signal_variance + law.noise_variance) * covariance
    along = m / n * torch.trace(gamma @ covariance @ prior @ covariance)
    square = m / n**2 * torch.trace(gamma @ around @ gamma.mT @ covariance)
    return float(law.signal_variance - 2 * along + square)
