"""Predict nothing: the floor of every scale."""

import torch

from workbench.baselines.record import Baseline, Prefixes, Weights


def weights(prefixes: Prefixes) -> Weights:
    """Zero weights at every prefix."""
    return torch.zeros_like(prefixes.xs)[None]


ZERO = Baseline(
    name="zero",
    label="Zero predictor",
    source="Garg et al. 2022, arXiv:2208.01066, section 2",
    weights=weights,
    color="#8c8c8c",
)
