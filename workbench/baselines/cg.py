"""Conjugate gradient on S_i w = m_i, from zero."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.baselines.prefixes import Prefixes, Weights
from workbench.baselines.record import Baseline

_CONVERGED = 1e-14
"""Residual norm, relative to that of m_i, from which on the iterate stays: beyond it 0/0 looms."""


def solve(prefixes: Prefixes, steps: Int[Tensor, " step"]) -> Weights:
    """The iterates after k steps, for all prefixes at once.

    Run in the eigenbasis of S_i, where a product with S_i is elementwise: conjugate gradient commutes with
    rotations. It ends after as many steps as S_i has distinct non-zero eigenvalues.
    """
    values, target = prefixes.eigenvalues, prefixes.moment_in_basis
    w, residual = torch.zeros_like(target), target
    direction, size = target, _dot(target, target)
    enough = size.detach() * _CONVERGED**2
    iterates = [w]
    for _ in range(int(steps.max())):
        going = size > enough
        curved = values * direction
        length = _ratio(size, _dot(direction, curved), going)
        w = w + length[..., None] * direction
        residual = residual - length[..., None] * curved
        new_size = _dot(residual, residual)
        direction = residual + _ratio(new_size, size, going)[..., None] * direction
        size = torch.where(going, new_size, 0.0)
        iterates.append(w)
    return prefixes.from_basis(torch.stack([iterates[step] for step in steps.tolist()]))


def _ratio(a: Tensor, b: Tensor, going: Tensor) -> Tensor:
    """A / b where the iteration goes on, else 0; finite derivatives everywhere."""
    return torch.where(going, a / torch.where(going, b, 1.0), 0.0)


def _dot(a: Float[Tensor, "batch context eigen"], b: Float[Tensor, "batch context eigen"]) -> Tensor:
    return (a * b).sum(-1)


CG = Baseline(
    name="cg",
    label="Conjugate gradient",
    source="Hestenes and Stiefel 1952; compared in Fu et al. 2024, arXiv:2310.17086, appendix",
    family="krylov",
    solve=solve,
    linear_in_y=False,
    diagonal=True,
    compared=True,
    steps=tuple(range(41)),
    color="#7570b3",
)
