"""Iterative Newton: the Newton-Schulz iteration for the pseudo-inverse of S_i."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.baselines.filters import one_minus_power, over_eigenvalues
from workbench.baselines.prefixes import Prefixes
from workbench.baselines.record import Baseline, Gain
from workbench.errors import must, refuse_faults


def gain(
    prefixes: Prefixes,
    steps: Int[Tensor, " step"],
    *,
    alpha: float = 1.0,
    norm: Literal["spectral", "frobenius"] = "spectral",
) -> Gain:
    """M_0 = a S_i, M <- 2 M - M S_i M, w_k = M_k m_i: the filter (1 - (1 - a lambda^2)^(2^k)) / lambda.

    Args:
        prefixes: What to learn from.
        steps: Numbers of steps k.
        alpha: a is ``alpha`` over the norm of S_i S_i^T, for each prefix. Converges for a < 2 / lambda_max^2.
        norm: Which norm. (1, spectral) is 1 / lambda_max^2; (1, frobenius) is the released code of Fu et al.;
            (2, frobenius) reproduces their figures; (2, spectral), their text, never converges.

    Raises:
        InputError: If ``alpha`` is not greater than 0.
    """
    refuse_faults(
        [
            must("alpha", "be greater than 0", alpha, alpha > 0),
            must("norm", "be 'spectral' or 'frobenius'", norm, norm in ("spectral", "frobenius")),
        ]
    )
    values = prefixes.eigenvalues
    squared = values**2 * (alpha / _norm_of_square(values, norm))[..., None]
    return over_eigenvalues(one_minus_power(squared, 2.0 ** steps.to(values.dtype)), values)


def _norm_of_square(values: Float[Tensor, "batch context eigen"], norm: str) -> Float[Tensor, "batch context"]:
    """Norm of S S^T, 1 where it vanishes."""
    squares = values**2
    size = squares.amax(-1) if norm == "spectral" else squares.norm(dim=-1)
    return torch.where(size > 0, size, 1.0)


NEWTON = Baseline(
    name="newton",
    label="Newton",
    source="Fu et al. 2024, arXiv:2310.17086, equation 6; M_0 = S/lambda_max^2 by default",
    family="second-order",
    gain=gain,
    compared=True,
    steps=tuple(range(31)),
    color="#1b9e77",
)
