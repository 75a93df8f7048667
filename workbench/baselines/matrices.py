"""Symmetric matrices given as options."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.baselines.prefixes import Prefixes
from workbench.errors import must, refuse_faults
from workbench.linalg import eigh


def root(name: str, matrix: Any, prefixes: Prefixes) -> Float[Tensor, "d_input d_input"]:
    """The symmetric square root of a symmetric matrix without negative eigenvalues.

    Raises:
        InputError: If it is no such matrix of the size of x.
    """
    d = prefixes.xs.shape[-1]
    shape = tuple(matrix.shape) if isinstance(matrix, Tensor) else matrix
    refuse_faults([must(name, f"be a {d} by {d} tensor", shape, shape == (d, d))])
    matrix = matrix.detach().to(prefixes.xs)
    finite = bool(torch.isfinite(matrix).all())
    refuse_faults([must(name, "be finite", "NaN or infinity", finite)])
    size = matrix.abs().max()
    values, basis = eigh(matrix)
    symmetric = bool((matrix - matrix.mT).abs().max() <= 1e-6 * size)
    least = float(values[0])
    refuse_faults(
        [
            must(name, "be symmetric", "another", symmetric),
            must(name, "have no negative eigenvalue", least, least >= -1e-9 * float(size)),
        ]
    )
    return (basis * values.clamp(min=0).sqrt()) @ basis.mT
