"""The averaging estimator: the mean of x y over the prefix."""

import torch

from workbench.baselines.prefixes import Prefixes
from workbench.baselines.record import Baseline, Gain, Steps


def gain(prefixes: Prefixes, _steps: Steps = None) -> Gain:
    """m_i / i; zero for the empty prefix. Worse than zero until i > d + 1."""
    values = prefixes.eigenvalues
    return torch.where(values > 0, 1 / prefixes.counts.clamp(min=1)[:, None], 0.0)[None]


AVERAGING = Baseline(
    name="averaging",
    label="Averaging",
    source="Garg et al. 2022, arXiv:2208.01066, section 3.1",
    family="anchor",
    color="#a6761d",
    gain=gain,
    diagonal=True,
)
