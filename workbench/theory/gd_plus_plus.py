"""The best L steps of GD++: gradient descent whose layers also shrink the inputs along their large directions.

In eigendirections of X^T X / n a layer takes the step eta on the eigenvalue lambda that it finds, and leaves
lambda (1 - gamma lambda)^2 to the next. There is no closed form for the best sizes: they are found numerically, on
one fixed sample of spectra.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy.optimize
from jaxtyping import Float

Spectra = Float[np.ndarray, "sample direction"]
Sizes = Float[np.ndarray, " _"]
_N_SPECTRA = 16_384
_N_TRIED = 1024
"""Spectra on which the starts are tried; the best is then refined on all."""
_STARTS = (0.3, 0.6, 1.0)
_SHRINKS = (0.1, 0.3)


@dataclass(frozen=True)
class BestGDPlusPlus:
    """The best sizes of GD++ found.

    Attributes:
        step_sizes: Eta of each layer, on the mean loss of whitened inputs, for the inputs that the layer finds.
        gammas: Gamma of each layer; that of the last does nothing and is 0 unless all layers are one.
        excess: Excess risk, in units of the variance of a whitened coordinate of w, summed over d.
    """

    step_sizes: tuple[float, ...]
    gammas: tuple[float, ...]
    excess: float


def spectra(n_examples: int, d_input: int, inputs: str, n_samples: int = _N_SPECTRA) -> Spectra:
    """Eigenvalues of X^T X / n for inputs with independent coordinates of variance 1: always the same sample.

    Args:
        n_examples: n.
        d_input: d.
        inputs: Law of a coordinate: gaussian or uniform.
        n_samples: Prompts.
    """
    generator = np.random.default_rng(0)
    shape = (n_samples, n_examples, d_input)
    xs = (generator.random(shape) - 0.5) * 12**0.5 if inputs == "uniform" else generator.standard_normal(shape)
    return np.linalg.eigvalsh(xs.transpose(0, 2, 1) @ xs / n_examples).clip(min=0)


def residuals(
    step_sizes: Sizes, gammas: Sizes, eigenvalues: Spectra, n_examples: int, noise_variance: float | int = 0.0
) -> Float[np.ndarray, "sample residual"]:
    """What is left of each direction, then the noise that is taken in; the excess risk is the mean sum of squares.

    That is r = prod_l (1 - eta_l lambda_l), lambda_1 = lambda and lambda_{l+1} = lambda_l (1 - gamma_l lambda_l)^2, and
    sqrt(s2/n) (1 - r)/sqrt(lambda).

    Args:
        step_sizes: Eta.
        gammas: Gamma.
        eigenvalues: Of X^T X / n, by prompt.
        n_examples: n.
        noise_variance: s2, over the variance of a whitened coordinate of w.
    """
    found, left = eigenvalues, np.ones_like(eigenvalues)
    for eta, gamma in zip(step_sizes, gammas, strict=True):
        left = left * (1 - eta * found)
        found = found * (1 - gamma * found) ** 2
    if noise_variance == 0:
        return left
    noise = (noise_variance / n_examples) ** 0.5 * (1 - left) / np.sqrt(np.maximum(eigenvalues, 1e-12))
    return np.concatenate([left, noise], 1)


def risk(found: Float[np.ndarray, "sample residual"]) -> float:
    """Excess risk from `residuals`."""
    return float((found**2).sum(1).mean())


@cache
def best_gd_plus_plus(
    n_layers: int, n_examples: int, d_input: int, inputs: str, noise_variance: float = 0.0, *, tied: bool = False
) -> BestGDPlusPlus:
    """The sizes of least risk, from several starts; the best found is no proof that there is no better.

    Args:
        n_layers: L.
        n_examples: n.
        d_input: d.
        inputs: Law of a whitened coordinate: gaussian or uniform.
        noise_variance: s2, over the variance of a whitened coordinate of w.
        tied: Whether all layers have one eta and one gamma.

    Source:
        The family is that of von Oswald et al. 2023, arXiv:2212.07677, appendix A.10, and of Ahn et al. 2023,
        arXiv:2306.00297, theorem 4, with A_l = a_l Sig^-1 and B_l = b_l I; its optimum by minimisation here. For
        Gaussian inputs, n = 20, d = 5 and three layers it gives b_0 = .905 and b_1 = .565 of their figure 4.
    """
    sample, problem = spectra(n_examples, d_input, inputs), (n_layers, n_examples, noise_variance)
    starts = [_start(n_layers, eta, shrink, tied=tied) for eta in _STARTS for shrink in _SHRINKS]
    tried = [_minimised(start, sample[:_N_TRIED], *problem) for start in starts]
    best, _ = min((each for each in tried if math.isfinite(each[1])), key=lambda each: each[1])
    sizes, excess = _minimised(best, sample, *problem)
    etas, gammas = _unpacked(sizes, n_layers)
    return BestGDPlusPlus(tuple(etas.tolist()), tuple(gammas.tolist()), excess)


def _start(n_layers: int, eta: float, shrink: float, *, tied: bool) -> Sizes:
    if tied:
        return np.array([eta, shrink])
    growing = 2.0 ** np.arange(n_layers)
    return np.concatenate([eta * growing, shrink * growing[:-1]])


def _unpacked(sizes: Sizes, n_layers: int) -> tuple[Sizes, Sizes]:
    if n_layers > 1 and len(sizes) == 2:  # one eta and one gamma; untied layers have at least three sizes
        return np.repeat(sizes[:1], n_layers), np.repeat(sizes[1:], n_layers)
    return sizes[:n_layers], np.append(sizes[n_layers:], 0.0)


def _minimised(
    start: Sizes, sample: Spectra, n_layers: int, n_examples: int, noise_variance: float
) -> tuple[Sizes, float]:
    """Levenberg-Marquardt, since the risk is a sum of squares."""

    def of(sizes: Sizes) -> np.ndarray:
        return residuals(*_unpacked(sizes, n_layers), sample, n_examples, noise_variance).ravel()

    found = scipy.optimize.least_squares(of, start, method="lm", x_scale=np.abs(start), max_nfev=400)
    return found.x, float((found.fun**2).sum() / len(sample))
