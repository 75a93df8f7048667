"""The best Gamma where every prompt has a covariance of its own, for Gaussian inputs and w ~ N(0, tau2 I)."""

from jaxtyping import Float
from torch import Tensor

from workbench.regression_law import Moments


def rotated_optimum(
    spectrum: Float[Tensor, " d_input"],
    n_examples: int,
    *,
    w_variance: float | int = 1.0,
    noise_variance: float | int = 0.0,
) -> float:
    """The step a of Gamma = a I where the eigenvectors are uniform in each prompt and the eigenvalues are fixed.

    By symmetry Gamma is a multiple of I; averaging the one-step risk over rotations gives
    a = tr Sig^2 / [((n+1)/n) tr Sig^3 + (tr Sig + s2/tau2)/n tr Sig^2].

    Source:
        The argument of Zhang et al. 2023, arXiv:2306.09927, on random covariances, for rotations in place of diagonals.
    """
    first, second, third = (float((spectrum**k).sum()) for k in (1, 2, 3))
    noise = noise_variance / w_variance
    n = n_examples
    return second / ((n + 1) / n * third + (first + noise) / n * second)


def rotated_excess(
    step: float | int,
    spectrum: Float[Tensor, " d_input"],
    n_examples: int,
    *,
    w_variance: float | int = 1.0,
    noise_variance: float | int = 0.0,
) -> float:
    """Excess risk of Gamma = step I on such prompts, the same whatever the eigenvectors are."""
    first, second, third = (float((spectrum**k).sum()) for k in (1, 2, 3))
    n = n_examples
    square = w_variance * ((n + 1) / n * third + first / n * second) + noise_variance / n * second
    return w_variance * first - 2 * step * w_variance * second + step**2 * square


def diagonal_optimum(moments: Moments, n_examples: int, d_input: int, *, noise_variance: float | int = 0.0) -> float:
    """The step a of Gamma = a I where each covariance is diagonal with independent entries of one law, w ~ N(0, I).

    E[Gt Lam^2]^-1 E[Lam^2] with Gt = ((n+1)/n) Lam + (tr Lam + s2)/n I. As n grows it tends to e2/e3, and the
    prediction to a Lam w . q instead of w . q: no length mends that.

    Args:
        moments: E lam, E lam^2 and E lam^3 of an entry; (1, 2, 6) for Exponential(1).
        n_examples: n.
        d_input: d.
        noise_variance: s2.

    Source:
        Zhang et al. 2023, arXiv:2306.09927, its case of random covariances.
    """
    first, second, third = moments
    n = n_examples
    trace_term = third + (d_input - 1) * first * second + noise_variance * second
    return second / ((n + 1) / n * third + trace_term / n)
