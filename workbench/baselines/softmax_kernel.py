"""Softmax attention from query to examples, its values the labels."""

from workbench.baselines.kernels import softmax_mean
from workbench.baselines.prefixes import Prefixes
from workbench.baselines.record import Baseline, Predictions, Queries, Steps
from workbench.configs import is_finite
from workbench.errors import must, refuse_faults


def respond(prefixes: Prefixes, queries: Queries, _steps: Steps = None, *, scale: float | None = None) -> Predictions:
    """Mean label with weights exp(scale q.x); 0 for the empty prefix.

    For a small scale this is the mean label plus scale times one debiased step of gradient descent.

    Args:
        prefixes: What to learn from.
        queries: Where to predict.
        scale: Factor on q.x; by default 1 / sqrt(d).

    Raises:
        InputError: If the scale is not greater than 0.
    """
    factor = queries.shape[-1] ** -0.5 if scale is None else scale
    refuse_faults([must("scale", "be greater than 0", factor, is_finite(factor, above=0))])
    return softmax_mean(prefixes, factor * (queries @ prefixes.xs.mT[:, None]))


SOFTMAX_KERNEL = Baseline(
    name="softmax_kernel",
    label="Softmax kernel",
    source="One softmax attention head; scale 1/sqrt(d) by default",
    family="kernel",
    color="#d278a5",
    respond=respond,
    linear_in_query=False,
)
