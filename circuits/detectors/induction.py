"""Heads that attend to what came after earlier copies of the token at the query."""

import torch
from jaxtyping import Int
from torch import Tensor

from circuits.detectors import duplicate
from circuits.record import HeadDetector, Targets


def targets(tokens: Int[Tensor, "batch pos"]) -> Targets:
    """The position after every earlier copy, but never the query itself, as where a token comes twice in a row."""
    n = tokens.shape[1]
    after = duplicate.targets(tokens).roll(1, 2)
    after[:, :, 0] = False
    earlier = torch.ones(n, n, dtype=torch.bool, device=tokens.device).tril(-1)
    return after & earlier


def nearest(tokens: Int[Tensor, "batch pos"]) -> Targets:
    """Of these keys the last one alone."""
    every = targets(tokens)
    later = every.flip(-1).cumsum(-1).flip(-1)
    return every & (later == 1)


INDUCTION = HeadDetector(
    name="induction",
    label="Induction (prefix matching)",
    source="Olsson et al. 2022, arXiv:2209.11895, with the key one after the earlier copy",
    stimulus="repeated",
    targets=targets,
)
INDUCTION_NEAREST = HeadDetector(
    name="induction_nearest",
    label="Induction, last copy alone",
    source="as induction",
    stimulus="repeated",
    targets=nearest,
)
