"""The posterior mean when only finitely many weight vectors exist: dMMSE."""

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from workbench.baselines.prefixes import Prefixes, Weights, before
from workbench.baselines.record import Baseline, Sensitivity, Steps
from workbench.configs import is_finite
from workbench.errors import must, refuse_faults


def solve(prefixes: Prefixes, _steps: Steps = None, *, pool: Tensor, noise_variance: float) -> Weights:
    """The mean of the pool under the posterior; the plain mean for the empty prefix.

    Args:
        prefixes: What to learn from.
        pool: All weight vectors, ``[n_pool d_input]``, equally likely.
        noise_variance: Of the labels. Without noise take one far below all errors that differ, such as 1e-6.

    Raises:
        InputError: If the pool is no finite tensor of the size of x, or the variance not greater than 0.
    """
    tasks = _checked(prefixes, pool, noise_variance)
    return einsum(
        _posterior(prefixes, tasks, noise_variance),
        tasks,
        "batch context task, task d_input -> batch context d_input",
    )[None]


def _posterior(prefixes: Prefixes, tasks: Tensor, noise_variance: float) -> Float[Tensor, "batch context task"]:
    """Log-likelihoods are summed over examples and normalised as logarithms."""
    errors = prefixes.ys[..., None] - prefixes.xs @ tasks.mT
    return torch.softmax(before(-(errors**2) / (2 * noise_variance)), -1)


def sensitivity(prefixes: Prefixes, _steps: Steps = None, *, pool: Tensor, noise_variance: float) -> Sensitivity:
    """Covariance of w under the posterior over the noise variance."""
    tasks = _checked(prefixes, pool, noise_variance)
    shares = _posterior(prefixes, tasks, noise_variance)
    mean = shares @ tasks
    squares = einsum(shares, tasks, tasks, "batch context task, task row, task col -> batch context row col")
    return ((squares - mean[..., :, None] * mean[..., None, :]) / noise_variance)[None]


def _checked(prefixes: Prefixes, pool: Tensor, noise_variance: float) -> Tensor:
    d = prefixes.xs.shape[-1]
    shape = tuple(pool.shape) if isinstance(pool, Tensor) else pool
    sized = isinstance(pool, Tensor) and pool.ndim == 2 and len(pool) > 0 and pool.shape[1] == d
    refuse_faults(
        [
            must("pool", f"be a tensor of weight vectors, [n_pool {d}]", shape, sized),
            must("noise_variance", "be greater than 0", noise_variance, is_finite(noise_variance, above=0)),
        ]
    )
    tasks = pool.detach().to(prefixes.xs)
    refuse_faults([must("pool", "be finite", "NaN or infinity", bool(torch.isfinite(tasks).all()))])
    return tasks


FINITE_POOL = Baseline(
    name="finite_pool",
    label="Bayes, finite pool",
    source="dMMSE of Raventos et al. 2023, arXiv:2306.15063",
    family="bayes",
    color="#0000ff",
    solve=solve,
    sensitivity=sensitivity,
    linear_in_y=False,
)
