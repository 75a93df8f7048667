"""Ridge regression on the sum loss."""

from workbench.baselines import ols
from workbench.baselines.record import Baseline, Prefixes, Weights
from workbench.errors import must, refuse_faults


def weights(prefixes: Prefixes, *, ridge: float = 0.1) -> Weights:
    """(S_i + ridge I)^-1 m_i; least squares of least norm for ridge 0.

    Args:
        prefixes: What to learn from.
        ridge: Strength on the sum loss. The Bayes predictor for w ~ N(0, tau^2 I) and noise variance sigma^2
            has sigma^2 / tau^2.

    Raises:
        InputError: If ``ridge`` is negative.
    """
    refuse_faults([must("ridge", "be at least 0", ridge, ridge >= 0)])
    if ridge == 0:
        return ols.weights(prefixes)
    return prefixes.filtered((1 / (prefixes.eigenvalues + ridge))[None])


RIDGE = Baseline(
    name="ridge",
    label="Ridge",
    source="Akyurek et al. 2023, arXiv:2211.15661, equation 3",
    weights=weights,
    color="#e7298a",
)
