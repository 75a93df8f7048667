"""Heads that attend to earlier copies of the token at the query."""

import torch
from jaxtyping import Int
from torch import Tensor

from circuits.record import HeadDetector, Targets


def targets(tokens: Int[Tensor, "batch pos"]) -> Targets:
    """Every earlier position that holds the query's token."""
    n = tokens.shape[1]
    earlier = torch.ones(n, n, dtype=torch.bool, device=tokens.device).tril(-1)
    return (tokens[:, :, None] == tokens[:, None, :]) & earlier


DUPLICATE = HeadDetector(
    name="duplicate",
    label="Duplicate token",
    source="Wang et al. 2022, arXiv:2211.00593",
    stimulus="repeated",
    targets=targets,
)
