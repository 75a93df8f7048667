"""Ordinary least squares, the one of least norm where it is not unique."""

import torch
from einops import einsum

from workbench.baselines.record import Baseline, Prefixes, Weights


def weights(prefixes: Prefixes) -> Weights:
    """pinv(S_i) m_i, refined once through the residuals.

    The eigendecomposition of S_i squares the condition number of X_i; one step on X_i^T (y - X_i w), which does
    not go through S_i, gives the lost digits back. An underdetermined prefix gets its minimum-norm solution.
    """
    inverse = torch.where(prefixes.eigenvalues > 0, 1 / prefixes.eigenvalues, 0.0)
    first = prefixes.filtered(inverse[None])[0]
    return (first + _correction(prefixes, first, inverse))[None]


def _correction(prefixes: Prefixes, w: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
    xs, ys = prefixes.xs, prefixes.ys
    fitted = einsum(xs, w, "batch example d_input, batch context d_input -> batch context example")
    n_context = xs.shape[1]
    earlier = torch.ones(n_context, n_context, dtype=torch.bool, device=xs.device).tril(-1)
    residuals = (ys[:, None, :] - fitted) * earlier
    moment = einsum(residuals, xs, "batch context example, batch example d_input -> batch context d_input")
    in_basis = einsum(
        prefixes.basis, moment, "batch context d_input eigen, batch context d_input -> batch context eigen"
    )
    return prefixes.from_basis((inverse * in_basis)[None])[0]


OLS = Baseline(
    name="ols",
    label="Least squares",
    source="Garg et al. 2022, arXiv:2208.01066, section 2",
    weights=weights,
    color="#000000",
)
