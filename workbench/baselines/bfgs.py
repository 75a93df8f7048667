"""BFGS on the squared loss of the prefix, from zero and from the identity."""

from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.baselines.prefixes import Prefixes, Weights
from workbench.baselines.quasi_newton import CONVERGED, PerEigen, PerPrefix, dot, exact_length, ratio
from workbench.baselines.record import Baseline

_ARMIJO = 1e-4


def solve(
    prefixes: Prefixes, steps: Int[Tensor, " step"], *, line_search: Literal["backtracking", "exact"] = "backtracking"
) -> Weights:
    """The iterates after k steps, in the eigenbasis of S_i.

    Args:
        prefixes: What to learn from.
        steps: Numbers of steps.
        line_search: Whether a step has the first of the lengths 1, 1/2, 1/4, ... that lowers the loss by 1e-4 of what
            the slope promises, or the best length. With the best length the iterates are those of conjugate gradient
            but for rounding. What Fu et al. used is not known; their BFGS is slower than conjugate gradient.
    """
    lengths = _backtracked if line_search == "backtracking" else exact_length
    values, gradient = prefixes.eigenvalues, -prefixes.moment_in_basis
    enough = dot(gradient, gradient).detach() * CONVERGED**2
    inverse = torch.eye(values.shape[-1], dtype=values.dtype, device=values.device).expand(*values.shape, -1)
    w = torch.zeros_like(gradient)
    iterates = [w]
    for _ in range(int(steps.max())):
        going = dot(gradient, gradient) > enough
        direction = -_product(inverse, gradient)
        curved = values * direction
        length = lengths(gradient, direction, curved, going)[..., None]
        w, gradient = w + length * direction, gradient + length * curved
        inverse = _updated(inverse, length * direction, length * curved, going)
        iterates.append(w)
    return prefixes.from_basis(torch.stack([iterates[step] for step in steps.tolist()]))


def _backtracked(gradient: PerEigen, direction: PerEigen, curved: PerEigen, going: Tensor) -> PerPrefix:
    """The first of 1, 1/2, 1/4, ... that meets Armijo's condition: for a quadratic loss all up to a bound do."""
    bound = ratio(-2 * (1 - _ARMIJO) * dot(gradient, direction), dot(direction, curved), going).detach()
    halvings = torch.ceil(-torch.log2(torch.where(going, bound.clamp(min=1e-300), 1.0))).clamp(min=0)
    return torch.where(going, 2.0**-halvings, 0.0)


def _product(matrix: Tensor, vector: PerEigen) -> PerEigen:
    return (matrix @ vector[..., None])[..., 0]


def _updated(inverse: Tensor, step: PerEigen, change: PerEigen, going: Tensor) -> Tensor:
    """(I - s y^T / s.y) H (I - y s^T / s.y) + s s^T / s.y."""
    curvature = dot(step, change)
    share = ratio(torch.ones_like(curvature), curvature, going & (curvature > 0))[..., None, None]
    moved = _product(inverse, change)
    cross = step[..., :, None] * moved[..., None, :]
    square = (1 + share[..., 0, 0] * dot(change, moved))[..., None, None] * step[..., :, None] * step[..., None, :]
    return inverse + share * (square - cross - cross.mT)


BFGS = Baseline(
    name="bfgs",
    label="BFGS",
    source="Nocedal and Wright 2006, algorithm 6.1; compared in Fu et al. 2024, arXiv:2310.17086, appendix",
    family="second-order",
    color="#b469d2",
    solve=solve,
    steps=tuple(range(61)),
    linear_in_y=False,
    diagonal=True,
)
