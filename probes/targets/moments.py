"""What sufficient statistics of the examples seen are made of: X^T y, X^T X, its inverse, its conditioning."""

import math

import torch
from torch import Tensor

from probes.examples import Seen
from probes.record import ProbeTarget
from probes.targets.algorithms import STEPS
from workbench.baselines.prefixes import RANK_TOLERANCE
from workbench.errors import InputError
from workbench.linalg import eigh

_AKYUREK = "Akyurek et al. 2023, arXiv:2211.15661, section 4"


def vector(seen: Seen) -> Tensor:
    """X^T y, over n for means."""
    return (seen.xs.mT @ seen.ys[..., None])[..., 0] / seen.per_example()


def matrix(seen: Seen) -> Tensor:
    """X^T X, over n for means: the entries on and above the diagonal, row by row."""
    return _upper(seen.gram) / seen.per_example()


def inverse(seen: Seen) -> Tensor:
    """The pseudo-inverse of X^T X, times n for means. Heavy-tailed where n is near d."""
    values, basis = _eigen(seen)
    inverted = torch.where(values > 0, 1 / values, 0.0)
    return _upper((basis * inverted[..., None, :]) @ basis.mT) / seen.per_example(-1)


def newton_matrix(seen: Seen, step: int) -> Tensor:
    """M_k of Newton's iteration for the inverse: M_0 = S / lambda_max^2, M <- 2 M - M S M. Entries as of `matrix`."""
    gram = seen.gram
    largest = eigh(gram)[0][..., -1]
    found = gram / torch.where(largest > 0, largest**2, 1.0)[:, None, None]
    for _ in range(step):
        found = 2 * found - found @ gram @ found
    return _upper(found) / seen.per_example(-1)


def log_condition(seen: Seen) -> Tensor:
    """log10 of the largest over the smallest eigenvalue of X^T X that is not 0.

    Raises:
        InputError: Before any example is seen.
    """
    if seen.n == 0:
        raise InputError("target 'condition_number' must have seen an example; got n_context 0. Ask for more.")
    values, _ = _eigen(seen)
    least = torch.where(values > 0, values, math.inf).amin(-1, keepdim=True)
    return torch.log10(values[:, -1:] / least)


def _eigen(seen: Seen) -> tuple[Tensor, Tensor]:
    values, basis = eigh(seen.gram)
    return torch.where(values > RANK_TOLERANCE * values[..., -1:], values, 0.0), basis


def _upper(matrices: Tensor) -> Tensor:
    rows, cols = torch.triu_indices(*matrices.shape[-2:], device=matrices.device)
    return matrices[:, rows, cols]


MOMENT_VECTOR = ProbeTarget("moment_vector", "X^T y of the examples seen", _AKYUREK, vector)
MOMENT_MATRIX = ProbeTarget("moment_matrix", "X^T X of the examples seen", _AKYUREK, matrix)
INVERSE_MOMENT_MATRIX = ProbeTarget("inverse_moment_matrix", "inverse of X^T X", _AKYUREK, inverse)
NEWTON_MATRIX = ProbeTarget(
    "newton_matrix", "M_k of Newton", "Fu et al. 2024, arXiv:2310.17086, equation 6", newton_matrix, argument=STEPS
)
CONDITION_NUMBER = ProbeTarget(
    "condition_number", "log10 condition number of X^T X", "Fu et al. 2024, section 4.3", log_condition
)
