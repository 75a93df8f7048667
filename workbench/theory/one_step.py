"""The best one-step linear predictor f = q . Gamma g, with g the mean of y_i x_i over n examples.

One layer of linear self-attention that reads labels as values and inputs as keys is such a predictor, and gradient
descent from 0 with step size eta on the mean loss is the one with Gamma = eta I. Everything holds exactly for every n.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.regression_law import RegressionLaw

Matrix = Float[Tensor, "d_input d_input"]


def coordinate_moment(law: RegressionLaw) -> Matrix:
    """A^T diag(A Psi A^T) A for x = z A: what an excess kurtosis of z adds to the fourth moments of Gaussian x."""
    basis = torch.eye(law.d_input, dtype=law.spectrum.dtype) if law.basis is None else law.basis
    root = law.spectrum.sqrt()[:, None] * basis
    along = (root @ law.prior @ root.mT).diagonal()
    return root.mT @ (along[:, None] * root)


def fourth_moment(law: RegressionLaw) -> Matrix:
    """E[(x . Psi x) x x^T] = 2 Sig Psi Sig + tr(Sig Psi) Sig + kappa A^T diag(A Psi A^T) A, for x = z A.

    The last term, with the excess kurtosis kappa of z, is that of inputs that are not Gaussian.
    """
    covariance, prior = law.covariance, law.prior
    gaussian = 2 * covariance @ prior @ covariance + law.signal_variance * covariance
    return gaussian + law.excess_kurtosis * coordinate_moment(law)


def second_moment(law: RegressionLaw, n_examples: int) -> Matrix:
    """E[g g^T], which for Gaussian x is ((n+1)/n) Sig Psi Sig + (tr(Sig Psi) + s2)/n Sig."""
    covariance, prior = law.covariance, law.prior
    apart = (n_examples - 1) * covariance @ prior @ covariance
    return (apart + fourth_moment(law) + law.noise_variance * covariance) / n_examples


def optimum(law: RegressionLaw, n_examples: int | None = None) -> Matrix:
    """Gamma of least expected squared error: Psi Sig E[g g^T]^-1.

    For Gaussian x it is [((n+1)/n) Sig + (tr(Sig Psi) + s2)/n Psi^-1]^-1; with Psi = Sig = I that is the step size
    n/(n+d+1+s2), with Psi = Sig^-1 the same step preconditioned by Sig^-1.

    Args:
        law: The law of prompts, its covariance fixed.
        n_examples: Examples in the prompt; those of the law if None.

    Source:
        Ahn et al. 2023, arXiv:2306.00297, theorem 1, and Zhang et al. 2023, arXiv:2306.09927, for
        Psi = I and no noise; Mahankali et al. 2023, arXiv:2307.03576, theorems 1 and 2, for Psi = Sig^-1.
    """
    return law.prior @ law.covariance @ torch.linalg.inv(second_moment(law, n_examples or law.n_examples))


def excess_risk(
    gamma: Matrix,
    law: RegressionLaw,
    n_examples: int | None = None,
    *,
    factor: float | int = 1.0,
    query_covariance: Matrix | None = None,
) -> float:
    """Expected squared error of f = factor q . Gamma g against w . q, the noise of the query's own label left out.

    With another law than the one that Gamma is best for, or another number of examples, this is what shifted
    inputs and other prompt lengths cost.

    Args:
        gamma: Any matrix.
        law: The law of the prompts that it is tested on.
        n_examples: Examples in them; those of the law if None. With 0 the prediction is 0.
        factor: On the prediction: M/N where sums over M examples are divided by the N of training.
        query_covariance: That of q, if not that of the examples.
    """
    covariance = law.covariance
    asked = covariance if query_covariance is None else query_covariance
    zero = torch.trace(asked @ law.prior)
    n = law.n_examples if n_examples is None else n_examples
    if n == 0:
        return float(zero)
    scaled = factor * gamma
    along = torch.trace(scaled @ covariance @ law.prior @ asked)
    square = torch.trace(scaled @ second_moment(law, n) @ scaled.mT @ asked)
    return float(zero - 2 * along + square)


def balanced_split(gamma: Matrix) -> tuple[float, Matrix]:
    """The value weight u and the key-query matrix U with u U = Gamma and |u| = ||U||_F.

    Gradient flow from a small balanced start keeps u^2 - ||U||_F^2, and so ends here; from elsewhere only the product
    is predicted.

    Source:
        Zhang et al. 2023, arXiv:2306.09927, its limit of gradient flow: u = tr(Gt^-2)^(1/4) for Gamma = Gt^-1.
    """
    u = gamma.norm().sqrt()
    return float(u), gamma / u
