"""One-step predictors besides linear attention on linear targets: other targets, ReLU scores, softmax heads."""

import math


def linear_fit_step(fit_square: float, label_input_square: float, n_examples: int) -> float:
    """The step eta on the sum loss, f = eta sum_i y_i (x_i . q), for targets that are not linear.

    For isotropic x and a family of targets that is invariant under rotations and a change of sign:
    eta = E||u||^2 / (E[y^2 |x|^2] + (n-1) E||u||^2), u the best linear fit of the prompt's target.

    Args:
        fit_square: E||u||^2.
        label_input_square: E[y^2 |x|^2], the noise in y included.
        n_examples: n.

    Source:
        Mahankali et al. 2023, arXiv:2307.03576, theorem 3; the ratio in this form derived here.
    """
    return fit_square / (label_input_square + (n_examples - 1) * fit_square)


def two_layer_relu_moments(d_input: int, noise_variance: float | int = 0.0) -> tuple[float, float]:
    """E||u||^2 and E[y^2 |x|^2] for y = H^-1/2 sum_h a_h relu(v_h . x), all of a, v, x standard normal."""
    return d_input / 4, d_input * (d_input + 2) / 2 + noise_variance * d_input


def sphere_moments(d_input: int, noise_variance: float | int = 0.0) -> tuple[float, float]:
    """The same for y = w . x with x uniform on the sphere of radius sqrt(d): the step is 1/(n - 1 + d + s2)."""
    return float(d_input), d_input * (d_input + noise_variance)


def relu_step(n_examples: int, d_input: int, noise_variance: float | int = 0.0) -> float:
    """The c of f = (c/n) sum_i relu(x_i . q) y_i with least risk, isotropic Gaussian: 2n/(n+2d+3+2 s2).

    Source:
        The setting of Ahn et al. 2023, arXiv:2306.00297, theorem 5; the constant derived here.
    """
    return 2 * n_examples / (n_examples + 2 * d_input + 3 + 2 * noise_variance)


def relu_excess(n_examples: int, d_input: int, noise_variance: float | int = 0.0) -> float:
    """Excess risk of that: d (2d+3+2 s2)/(n+2d+3+2 s2), more than linear attention's at every n."""
    rest = 2 * d_input + 3 + 2 * noise_variance
    return d_input * rest / (n_examples + rest)


def softmax_pair_surrogate(scale: float, n_examples: int, d_input: int, noise_variance: float | int = 0.0) -> float:
    """The authors' loss of two heads with scores +-scale x_i . q and their best values, for w ~ N(0, I/d).

    1 + s2 - 1/(1 + ((1+s2)/n) sinh(d scale^2)/scale^2), against noisy labels; of order 1/n too low. It falls as the
    scale goes to 0, where the heads take the debiased step.

    Source:
        He et al. 2025, arXiv:2503.12734, and their released notebook.
    """
    spread = d_input if scale == 0 else math.sinh(d_input * scale**2) / scale**2
    return 1 + noise_variance - 1 / (1 + (1 + noise_variance) / n_examples * spread)


def softmax_head_surrogate(
    n_examples: int, d_input: int, noise_variance: float | int = 0.0
) -> tuple[float, float, float]:
    """Score scale, value weight and loss of the best single head under the same surrogate.

    1/sqrt(d), sqrt(d)/(1 + e (1+s2) d/n) and 1 + s2 - 1/(1 + e (1+s2) d/n): a first guess, the true optimum of one
    head scores somewhat more sharply.

    Source:
        As `softmax_pair_surrogate`.
    """
    rest = 1 + math.e * (1 + noise_variance) * d_input / n_examples
    return 1 / math.sqrt(d_input), math.sqrt(d_input) / rest, 1 + noise_variance - 1 / rest
