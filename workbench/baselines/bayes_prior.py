"""The posterior mean of linear regression with a Gaussian prior of any covariance."""

from torch import Tensor

from workbench.baselines import ridge
from workbench.baselines.matrices import root
from workbench.baselines.prefixes import Prefixes, Weights
from workbench.baselines.record import Baseline, Steps
from workbench.configs import is_finite
from workbench.errors import must, refuse_faults


def solve(
    prefixes: Prefixes, _steps: Steps = None, *, prior_covariance: Tensor, noise_variance: float = 0.25
) -> Weights:
    """(S_i + noise_variance Psi^-1)^-1 m_i: ridge in the coordinates in which the prior is isotropic.

    Args:
        prefixes: What to learn from.
        prior_covariance: Psi, ``[d_input d_input]``. Directions without variance get no weight.
        noise_variance: Of the labels; 0 for the least-squares solution that the prior likes most.

    Raises:
        InputError: If the covariance is none, or the noise variance negative.
    """
    holds = is_finite(noise_variance, at_least=0)
    refuse_faults([must("noise_variance", "be at least 0", noise_variance, holds)])
    white = root("prior_covariance", prior_covariance, prefixes)
    return ridge.solve(prefixes.mapped(white), ridge=noise_variance) @ white


BAYES_PRIOR = Baseline(
    name="bayes_prior",
    label="Bayes, any Gaussian prior",
    source="Textbook; w ~ N(0, Psi), noise variance 1/4 by default",
    family="bayes",
    color="#3c6900",
    solve=solve,
)
