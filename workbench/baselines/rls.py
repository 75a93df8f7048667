"""Recursive least squares, which can forget."""

import torch
from torch import Tensor

from workbench.baselines.prefixes import Prefixes, Weights
from workbench.baselines.record import Baseline, Steps
from workbench.configs import is_finite
from workbench.errors import must, refuse_faults


def solve(prefixes: Prefixes, _steps: Steps = None, *, forgetting: float = 0.95, delta: float = 0.1) -> Weights:
    """(sum_j rho^(i-1-j) x_j x_j^T + delta rho^i I)^-1 sum_j rho^(i-1-j) x_j y_j.

    What the recursion from P_0 = I / delta gives, solved at once for every prefix. A spectral filter of reweighted
    examples, not of S_i.

    Args:
        prefixes: What to learn from.
        forgetting: rho, the weight of an example relative to the next one; 1 forgets nothing and is ridge regression
            of strength ``delta``.
        delta: Inverse of P_0.

    Raises:
        InputError: If ``forgetting`` is not within (0, 1], or ``delta`` not greater than 0.
    """
    within = is_finite(forgetting, above=0) and forgetting <= 1
    refuse_faults(
        [
            must("forgetting", "be greater than 0 and at most 1", forgetting, within),
            must("delta", "be greater than 0", delta, is_finite(delta, above=0)),
        ]
    )
    xs, ys = prefixes.xs, prefixes.ys
    grams = _faded(xs[..., :, None] * xs[..., None, :], forgetting)
    moments = _faded(xs * ys[..., None], forgetting)
    eye = torch.eye(xs.shape[-1], dtype=xs.dtype, device=xs.device)
    start = delta * (forgetting**prefixes.counts)[:, None, None] * eye
    return torch.linalg.solve(grams + start, moments[..., None])[..., 0][None]


def _faded(products: Tensor, forgetting: float) -> Tensor:
    """Sums over the examples before each one, older ones with less weight."""
    total, found = torch.zeros_like(products[:, 0]), []
    for position in range(products.shape[1]):
        found.append(total)
        total = forgetting * total + products[:, position]
    return torch.stack(found, 1)


RLS = Baseline(
    name="rls",
    label="Recursive least squares",
    source="Haykin 2002, chapter 9; forgetting 0.95 and P_0 = 10 I by default",
    family="online",
    color="#1e7878",
    solve=solve,
)
