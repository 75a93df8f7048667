"""The averaging estimator: the mean of x y over the prefix."""

from workbench.baselines.record import Baseline, Prefixes, Weights


def weights(prefixes: Prefixes) -> Weights:
    """m_i / i; zero for the empty prefix. Worse than zero until i > d + 1."""
    return (prefixes.moment / prefixes.counts.clamp(min=1)[:, None])[None]


AVERAGING = Baseline(
    name="averaging",
    label="Averaging",
    source="Garg et al. 2022, arXiv:2208.01066, section 3.1",
    weights=weights,
    color="#a6761d",
)
