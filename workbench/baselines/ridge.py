"""Ridge regression on the sum loss."""

import torch

from workbench.baselines import ols
from workbench.baselines.prefixes import Prefixes, Weights
from workbench.baselines.record import Baseline, Gain, Steps
from workbench.errors import must, refuse_faults


def gain(prefixes: Prefixes, _steps: Steps = None, *, ridge: float = 0.1) -> Gain:
    """1 / (lambda + ridge): weights (S_i + ridge I)^-1 m_i, least squares of least norm for ridge 0.

    Args:
        prefixes: What to learn from.
        ridge: Strength on the sum loss. The Bayes predictor for w ~ N(0, tau^2 I) and noise variance sigma^2
            has sigma^2 / tau^2.

    Raises:
        InputError: If ``ridge`` is negative.
    """
    refuse_faults([must("ridge", "be at least 0", ridge, ridge >= 0)])
    return torch.where(prefixes.eigenvalues > 0, 1 / (prefixes.eigenvalues + ridge), 0.0)[None]


def solve(prefixes: Prefixes, _steps: Steps = None, *, ridge: float = 0.1) -> Weights:
    """(S_i + ridge I)^-1 m_i; as least squares does for ridge 0."""
    return ols.solve(prefixes) if ridge == 0 else prefixes.filtered(gain(prefixes, ridge=ridge))


RIDGE = Baseline(
    name="ridge",
    label="Ridge",
    source="Akyurek et al. 2023, arXiv:2211.15661, equation 3",
    family="anchor",
    color="#e7298a",
    gain=gain,
    solve=solve,
    diagonal=True,
)
