"""Nadaraya-Watson regression: the mean label, examples weighted by a Gaussian kernel."""

from workbench.baselines.kernels import distances, softmax_mean
from workbench.baselines.prefixes import Prefixes
from workbench.baselines.record import Baseline, Predictions, Queries, Steps
from workbench.configs import is_finite
from workbench.errors import must, refuse_faults


def respond(
    prefixes: Prefixes, queries: Queries, _steps: Steps = None, *, bandwidth: float | None = None
) -> Predictions:
    """Mean label with weights exp(-|q - x|^2 / (2 bandwidth^2)); 0 for the empty prefix.

    Args:
        prefixes: What to learn from.
        queries: Where to predict.
        bandwidth: In units of x; by default sqrt(d) / 2, about a third of the distance between two x ~ N(0, I).

    Raises:
        InputError: If the bandwidth is not greater than 0.
    """
    width = queries.shape[-1] ** 0.5 / 2 if bandwidth is None else bandwidth
    refuse_faults([must("bandwidth", "be greater than 0", width, is_finite(width, above=0))])
    return softmax_mean(prefixes, -(distances(prefixes, queries) ** 2) / (2 * width**2))


NADARAYA_WATSON = Baseline(
    name="nadaraya_watson",
    label="Nadaraya-Watson",
    source="Nadaraya 1964, Watson 1964; Gaussian kernel of bandwidth sqrt(d)/2 by default",
    family="kernel",
    color="#782d5a",
    respond=respond,
    linear_in_query=False,
)
