"""Muon on the matrices of the blocks, Adam on all other weights."""

from collections.abc import Mapping

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.training.optimizers.adam import KEEPS, adam_step
from workbench.training.optimizers.hidden import Matrices
from workbench.training.optimizers.record import Rows, Settings, UpdateRule

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of Jordan et al. 2024: the steepest slope at 0 for which singular values end near 1, from .7 to 1.2."""
_N_ITERATIONS = 5
_LEAST_NORM = 1e-7
_LIKE_ADAM = 0.2
"""Root mean square of a step of Adam, in learning rates: Liu et al. 2025, section 2.2."""


def muon(weights: Rows, grad: Rows, kept: Mapping[str, Rows], settings: Settings, number: Int[Tensor, ""]) -> None:
    """Muon with Nesterov momentum ``beta_1`` and decoupled weight decay; AdamW where there is no hidden matrix.

    A step of a hidden matrix is as long as one of Adam would be, so that one learning rate serves both.
    """
    step = adam_step(grad, kept, settings, number, torch.ones_like(settings.lr))
    hidden = settings.hidden
    if hidden is not None:
        ahead = grad.lerp(kept["exp_avg"], settings.beta_1)
        step = hidden.replaced(step, ahead, lambda matrices: _like_adam(orthogonal(matrices, hidden.dtype)))
    weights.mul_(1 - settings.lr * settings.weight_decay)
    weights.sub_(settings.lr * step)


def orthogonal(matrices: Matrices, dtype: torch.dtype) -> Matrices:
    """Matrices with the same singular vectors and singular values near 1, by five Newton-Schulz iterations.

    Args:
        matrices: The longer side last.
        dtype: In which they are multiplied.
    """
    norms = matrices.flatten(1).norm(dim=1)[:, None, None]
    found = (matrices / norms.clamp(min=_LEAST_NORM)).to(dtype)
    a, b, c = _COEFFICIENTS
    for _ in range(_N_ITERATIONS):
        gram = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.to(matrices.dtype)


def _like_adam(matrices: Matrices) -> Matrices:
    return matrices * (_LIKE_ADAM * matrices.shape[2] ** 0.5)


MUON = UpdateRule(
    "muon",
    "Muon",
    "Jordan et al. 2024, kellerjordan.github.io/posts/muon; scaled as in Liu et al. 2025, arXiv:2502.16982, eq. 4",
    KEEPS,
    muon,
)
