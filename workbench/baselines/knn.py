"""The mean label of the nearest examples."""

from typing import Literal

import torch

from workbench.baselines.kernels import distances, mean
from workbench.baselines.prefixes import Prefixes
from workbench.baselines.record import Baseline, Predictions, Queries, Steps
from workbench.configs import is_count, is_finite
from workbench.errors import must, refuse_faults


def respond(
    prefixes: Prefixes,
    queries: Queries,
    _steps: Steps = None,
    *,
    n_neighbors: int = 3,
    weighting: Literal["uniform", "distance"] = "uniform",
    power: float = 1.0,
) -> Predictions:
    """Mean label of the examples nearest in Euclidean distance; of all if there are fewer, 0 if there are none.

    Args:
        prefixes: What to learn from.
        queries: Where to predict.
        n_neighbors: How many examples.
        weighting: Whether all count alike or by 1 / distance^power. An example at distance 0 then counts alone.
        power: 1 as scikit-learn and the code of Akyurek et al. have it (with 5 neighbours), 2 as their text (with 3).

    Raises:
        InputError: If a number is out of range.
    """
    refuse_faults(
        [
            must("n_neighbors", "be a whole number of at least 1", n_neighbors, is_count(n_neighbors)),
            must("power", "be greater than 0", power, is_finite(power, above=0)),
        ]
    )
    far = distances(prefixes, queries).masked_fill(~prefixes.earlier[:, None], torch.inf)
    near, index = far.topk(min(n_neighbors, far.shape[-1]), largest=False)
    counted = torch.isfinite(near)
    shares = counted.to(near.dtype) if weighting == "uniform" else _by_distance(near, power)
    shares = shares / shares.sum(-1, keepdim=True).clamp(min=torch.finfo(near.dtype).tiny)
    return mean(prefixes, torch.zeros_like(far).scatter(-1, index, shares))


def _by_distance(near: torch.Tensor, power: float) -> torch.Tensor:
    """1 / distance^power over its largest value, so that nothing overflows."""
    nearest = near[..., :1]
    relative = torch.where(nearest > 0, nearest / near, (near == 0).to(near.dtype))
    return torch.where(torch.isfinite(near), relative, 0.0) ** power


KNN = Baseline(
    name="knn",
    label="Nearest neighbours",
    source="Garg et al. 2022, arXiv:2208.01066, section 3.1: 3 neighbours alike by default",
    family="kernel",
    color="#69000f",
    respond=respond,
    linear_in_query=False,
)
