"""Ordinary least squares, the one of least norm where it is not unique."""

import torch
from einops import einsum

from workbench.baselines.prefixes import Prefixes, Weights
from workbench.baselines.record import Baseline, Gain, Steps


def gain(prefixes: Prefixes, _steps: Steps = None) -> Gain:
    """1 / lambda within the span of the prefix."""
    return torch.where(prefixes.eigenvalues > 0, 1 / prefixes.eigenvalues, 0.0)[None]


def solve(prefixes: Prefixes, _steps: Steps = None) -> Weights:
    """pinv(S_i) m_i, refined once through the residuals.

    The eigendecomposition of S_i squares the condition number of X_i; one step on X_i^T (y - X_i w), which does
    not go through S_i, gives the lost digits back. An underdetermined prefix gets its minimum-norm solution.
    """
    inverse = gain(prefixes)
    first = prefixes.filtered(inverse)
    return first + _correction(prefixes, first[0], inverse)


def _correction(prefixes: Prefixes, w: torch.Tensor, inverse: torch.Tensor) -> Weights:
    xs, ys = prefixes.xs, prefixes.ys
    fitted = einsum(xs, w, "batch example d_input, batch context d_input -> batch context example")
    n_context = xs.shape[1]
    earlier = torch.ones(n_context, n_context, dtype=torch.bool, device=xs.device).tril(-1)
    residuals = (ys[:, None, :] - fitted) * earlier
    moment = einsum(residuals, xs, "batch context example, batch example d_input -> batch context d_input")
    in_basis = einsum(
        prefixes.basis, moment, "batch context d_input eigen, batch context d_input -> batch context eigen"
    )
    return prefixes.from_basis(inverse * in_basis)


OLS = Baseline(
    name="ols",
    label="Least squares",
    source="Garg et al. 2022, arXiv:2208.01066, section 2",
    family="anchor",
    color="#000000",
    gain=gain,
    solve=solve,
    diagonal=True,
)
