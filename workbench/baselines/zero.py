"""Predict nothing: the floor of every scale."""

import torch

from workbench.baselines.prefixes import Prefixes
from workbench.baselines.record import Baseline, Gain, Steps


def gain(prefixes: Prefixes, _steps: Steps = None) -> Gain:
    """Zero weights at every prefix."""
    return torch.zeros_like(prefixes.eigenvalues)[None]


ZERO = Baseline(
    name="zero",
    label="Zero predictor",
    source="Garg et al. 2022, arXiv:2208.01066, section 2",
    family="anchor",
    color="#8c8c8c",
    gain=gain,
    diagonal=True,
)
