"""The best L steps of gradient descent with step sizes of their own: what deep sparse linear attention can reach."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from workbench.theory.wishart import mean_moment


@dataclass(frozen=True)
class BestSteps:
    """The best polynomial filter of a degree.

    Attributes:
        coefficients: c_1 .. c_L of phi(lambda) = sum_j c_j lambda^j, the share of an eigendirection of X^T X / n
            that is learnt.
        step_sizes: Reciprocals of the roots of 1 - phi, by size of their real part: the steps on the mean loss, in
            any order. Complex where no real steps reach the optimum, as noise can make them.
        excess: Least excess risk, in units of the variance of a whitened coordinate of w, summed over d.
    """

    coefficients: tuple[float, ...]
    step_sizes: tuple[complex, ...]
    excess: float

    @property
    def are_real(self) -> bool:
        """Whether steps of real size reach the optimum."""
        return all(abs(step.imag) <= 1e-9 * abs(step) for step in self.step_sizes)


def best_steps(n_steps: int, n_examples: int, d_input: int, noise_variance: float | int = 0.0) -> BestSteps:
    """The L-step gradient descent from 0 of least risk on whitened Gaussian prompts.

    phi solves A c = b with A_jk = m_{j+k} + (s2/n) m_{j+k-1}, b_j = m_j and m_k = E tr (X^T X / n)^k; the least
    excess risk is m_0 - b . c. Exact: the moments are integers over powers of n and the system is solved in fractions.

    Args:
        n_steps: L.
        n_examples: n.
        d_input: d.
        noise_variance: s2, over the variance of a whitened coordinate of w.

    Source:
        The family is that of Ahn et al. 2023, arXiv:2306.00297, theorem 3, with A_l = a_l Sig^-1 and B_l = 0; that
        its optimum is this least-squares polynomial is derived here and agrees with their figure 2.
    """
    noise = Fraction(noise_variance) / n_examples
    moments = [mean_moment(k, n_examples, d_input) for k in range(2 * n_steps + 1)]
    orders = range(1, n_steps + 1)
    matrix = [[moments[j + k] + noise * moments[j + k - 1] for k in orders] for j in orders]
    target = [moments[j] for j in orders]
    solved = _solve(matrix, target)
    excess = moments[0] - sum(b * c for b, c in zip(target, solved, strict=True))
    coefficients = tuple(float(c) for c in solved)
    # 1 - phi(1/eta) = 0 times eta^L: eta^L - c_1 eta^(L-1) - ... - c_L = 0, whose roots are the step sizes themselves.
    steps = np.roots([1.0, *(-c for c in coefficients)])
    return BestSteps(coefficients, tuple(sorted(map(complex, steps), key=lambda s: (s.real, s.imag))), float(excess))


def excess_of_steps(
    step_sizes: Sequence[float], n_examples: int, d_input: int, noise_variance: float | int = 0.0
) -> float:
    """Excess risk of gradient descent with these steps on the mean loss, on whitened Gaussian prompts.

    E tr r(W/n)^2 + (s2/n) E tr phi(W/n)^2 (W/n)^-1 with r = prod (1 - eta_l lambda) = 1 - phi.
    """
    residual = [Fraction(1)]
    for step in map(Fraction, step_sizes):
        residual = [a - step * b for a, b in zip([*residual, Fraction(0)], [Fraction(0), *residual], strict=True)]
    learnt = [-c for c in residual[1:]]
    moments = [mean_moment(k, n_examples, d_input) for k in range(2 * len(residual))]
    bias = sum(a * b * moments[i + j] for i, a in enumerate(residual) for j, b in enumerate(residual))
    noise = sum(a * b * moments[i + j + 1] for i, a in enumerate(learnt) for j, b in enumerate(learnt))
    return float(bias + Fraction(noise_variance) / n_examples * noise)


def _solve(matrix: list[list[Fraction]], target: list[Fraction]) -> list[Fraction]:
    """Gaussian elimination in fractions; the matrix is positive definite."""
    rows = [[*row, b] for row, b in zip(matrix, target, strict=True)]
    for i, pivot in enumerate(rows):
        rows[i] = [value / pivot[i] for value in pivot]
        for j in range(len(rows)):
            if j != i:
                rows[j] = [a - rows[j][i] * b for a, b in zip(rows[j], rows[i], strict=True)]
    return [row[-1] for row in rows]
