"""Risk curves of reference predictors, isotropic Gaussian prompts with w ~ N(0, I): what an error is read by."""

import math


def least_squares_excess(n_examples: int, d_input: int, noise_variance: float | int = 0.0) -> float:
    """Excess risk of minimum-norm least squares; infinite at n = d-1, d, d+1 with noise.

    max(d-n, 0) + s2 n/(d-n-1) for n < d-1, and s2 d/(n-d-1) for n > d+1.

    Source:
        Hastie et al. 2022, Surprises in high-dimensional ridgeless least squares interpolation, by exact Wishart means.
    """
    n, d = n_examples, d_input
    bias = max(float(d - n), 0.0)
    if noise_variance == 0 or n == 0:
        return bias
    if abs(n - d) <= 1:
        return math.inf
    return bias + noise_variance * (n / (d - n - 1) if n < d else d / (n - d - 1))


def averaging_excess(n_examples: int, d_input: int, noise_variance: float | int = 0.0) -> float:
    """Excess risk of w = mean of y_i x_i: d (d+1+s2)/n, above that of predicting 0 up to n = d + 1 + s2."""
    return d_input * (d_input + 1 + noise_variance) / n_examples


def one_step_excess(n_examples: int, d_input: int, noise_variance: float | int = 0.0) -> float:
    """The least excess risk of one step: d (d+1+s2)/(n+d+1+s2)."""
    rest = d_input + 1 + noise_variance
    return d_input * rest / (n_examples + rest)


def ridge_limit_excess(n_examples: int, d_input: int, noise_variance: float | int) -> float:
    """Excess risk of the Bayes ridge in the limit of many dimensions at this ratio d/n; within 5% at d = 20.

    s2 xi m(-z) with z = s2/n, xi = d/n and the Marchenko-Pastur transform
    m = [-(1-xi+z) + sqrt((1-xi+z)^2 + 4 xi z)]/(2 xi z).

    Source:
        Dobriban and Wager 2018, arXiv:1507.03003, section 2.
    """
    xi, z = d_input / n_examples, noise_variance / n_examples
    b = 1 - xi + z
    m = (-b + math.sqrt(b * b + 4 * xi * z)) / (2 * xi * z)
    return noise_variance * xi * m


def lms_factor(step: float, d_input: int) -> float:
    """What one example of online gradient descent multiplies E|w - w*|^2 by, noiseless: 1 - 2 eta + eta^2 (d+2)."""
    return 1 - 2 * step + step**2 * (d_input + 2)


def lms_floor(step: float, d_input: int, noise_variance: float | int) -> float:
    """The E|w - w*|^2 at which it stays with noise: eta s2 d/(2 - eta (d+2)); infinite where it diverges."""
    room = 2 - step * (d_input + 2)
    return step * noise_variance * d_input / room if room > 0 else math.inf
