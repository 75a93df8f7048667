"""One causal linear layer on x_{t+1} = W x_t with W = diag(exp(i theta)): the step that training converges to."""

from workbench.regression_law import Moments


def autoregressive_step(moments: Moments, n_states: int) -> float:
    """The product ab of f_t = (ab/(t-1)) sum_{i<t} x_{i+1} x_i^* x_t: kappa1 / (kappa2 + kappa3 mean_t 1/(t-1)).

    The mean is over the predictions at t = 2 .. T-1. As t grows a coordinate's prediction tends to ab x_{1j}^2 times
    the truth, so a start with ab x_{1j}^2 = 1 is needed to recover it.

    Args:
        moments: kappa1 = E x_{1j}^4, kappa2 = E x_{1j}^6 and kappa3 = sum_{r != j} E x_{1j}^2 x_{1r}^4 of the start,
            whose mixed moments with an odd exponent vanish.
        n_states: T, at least 3.

    Source:
        Zheng et al. 2024, arXiv:2405.16845; the form for finite T derived here.
    """
    fourth, sixth, mixed = moments
    times = range(2, n_states)
    return fourth / (sixth + mixed * sum(1 / (t - 1) for t in times) / len(times))


def gaussian_start(d_state: int, variance: float | int = 1.0) -> Moments:
    """Moments of x_1 ~ N(0, variance I): the step tends to 1/(5 variance), and a fifth of the truth is recovered."""
    return 3 * variance**2, 15 * variance**3, 3 * (d_state - 1) * variance**3


def sparse_start(d_state: int, size: float | int = 1.0) -> Moments:
    """Moments of x_1 uniform on +-size e_j: the step is 1/size^2 and the prediction exact."""
    return size**4 / d_state, size**6 / d_state, 0.0


def constant_start(d_state: int, size: float | int = 1.0) -> Moments:
    """Moments of x_1 = size (1, .., 1), whose odd moments do not vanish: the formula holds only on diagonal blocks."""
    return float(size**4), float(size**6), float((d_state - 1) * size**6)
