"""Prompts, and options for algorithms that cannot run without."""

from typing import Any

import torch
from torch import Tensor

from workbench.baselines import BASELINES, Baseline


def numbers(*shape: int, seed: int) -> Tensor:
    """Standard-normal float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def data(n_batch: int = 6, n_context: int = 7, d: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs and labels without any law between them."""
    drawn = numbers(n_batch, n_context, d + 1, seed=seed)
    return drawn[..., :d].contiguous(), drawn[..., d].contiguous()


def spread(d: int) -> Tensor:
    """A covariance that is neither isotropic nor diagonal."""
    root = numbers(d, d, seed=7)
    return root @ root.mT / d + 0.1 * torch.eye(d, dtype=torch.float64)


def needed(baseline: Baseline, d: int = 3) -> dict[str, Any]:
    """A value for every option that must be given, and steps."""
    given = {
        "preconditioner": spread(d),
        "prior_covariance": spread(d),
        "pool": numbers(9, d, seed=8),
        "noise_variance": 0.5,
        "noise_levels": torch.tensor([0.2, 0.7, 1.5], dtype=torch.float64),
        "odds": torch.tensor([0.3, 0.3, 0.4], dtype=torch.float64),
    }
    options = {name: given[name] for name in baseline.required}
    if baseline.name == "sparse_bayes":
        options |= {"n_nonzero": 2, "noise_variance": 0.5}
    return options


def call(baseline: Baseline, d: int = 3, steps: tuple[int, ...] = (0, 1, 2, 5)) -> dict[str, Any]:
    """Keyword arguments of a call."""
    return {**needed(baseline, d), **({"steps": list(steps)} if baseline.iterative else {})}


SPECTRAL = [name for name, baseline in BASELINES.items() if baseline.gain is not None]
ITERATIVE = [name for name, baseline in BASELINES.items() if baseline.iterative]
PATHS = ["online_gd", "adaptive_online_gd", "rls"]
"""What depends on the order of the examples."""
IN_COORDINATES = ["preconditioned_gd", "bayes_prior", "lasso", "sparse_bayes", "finite_pool"]
"""What a rotation of the inputs alone does not leave alike."""
