"""Heads that attend to the position just before the query."""

import torch
from jaxtyping import Int
from torch import Tensor

from circuits.record import HeadDetector, Targets


def targets(tokens: Int[Tensor, "batch pos"]) -> Targets:
    """The key one before; not for query 1, whose target is the first token, so that no sink earns credit."""
    n_batch, n = tokens.shape
    before = torch.ones(n, n, dtype=torch.bool, device=tokens.device).tril(-1).triu(-1)
    before[:2] = False
    return before.expand(n_batch, n, n)


PREVIOUS_TOKEN = HeadDetector(
    name="previous_token",
    label="Previous token",
    source="Elhage et al. 2021, A Mathematical Framework for Transformer Circuits",
    stimulus="text",
    targets=targets,
)
