"""The posterior mean of linear regression with a Gaussian prior."""

from workbench.baselines import ridge as ridge_regression
from workbench.baselines.prefixes import Prefixes, Weights
from workbench.baselines.record import Baseline, Gain, Steps


def gain(prefixes: Prefixes, _steps: Steps = None, *, ridge: float = 0.25) -> Gain:
    """1 / (lambda + ridge).

    Args:
        prefixes: What to learn from.
        ridge: Noise variance over the variance of a coordinate of w; ``task.bayes_ridge()`` knows that of a task.

    Raises:
        InputError: If ``ridge`` is negative.
    """
    return ridge_regression.gain(prefixes, ridge=ridge)


def solve(prefixes: Prefixes, _steps: Steps = None, *, ridge: float = 0.25) -> Weights:
    """The same as weights; least squares without noise."""
    return ridge_regression.solve(prefixes, ridge=ridge)


BAYES = Baseline(
    name="bayes",
    label="Bayes",
    source="Raventos et al. 2023, arXiv:2306.15063; noise variance 1/4 and w ~ N(0, I) by default",
    family="bayes",
    color="#66a61e",
    gain=gain,
    solve=solve,
    diagonal=True,
)
