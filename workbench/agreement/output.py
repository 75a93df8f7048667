"""What the model's own output is nearest to."""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.agreement.config import AgreementConfig
from workbench.agreement.record import NearestRidge
from workbench.agreement.references import RIDGES, References
from workbench.metrics import bootstrap_weights, interval


def nearest_ridge(
    output: Float[Tensor, "batch scored"],
    known: References,
    labels: Float[Tensor, "batch scored"],
    bayes: float | None,
    config: AgreementConfig,
) -> NearestRidge:
    """Ridge of the strength whose predictions differ least from the output: the squared difference over d.

    Args:
        output: Predictions of the model itself.
        known: Ridge of every strength on the same prompts.
        labels: Of them.
        bayes: Strength of the Bayes predictor, if it is a ridge.
        config: Resamples and seed.

    Source:
        Akyurek et al. 2023, arXiv:2211.15661, figure 2, where the argmin of each column is the Bayes strength.
    """
    d = known.few.xs.shape[-1]
    apart = ((output - known.ridges) ** 2).mean(-1) / d
    shares = bootstrap_weights(len(labels), config.n_resamples, torch.Generator().manual_seed(config.seed))
    strengths = torch.tensor(RIDGES, dtype=torch.float64)
    ends = interval(strengths[(shares @ apart.mT).argmin(-1)])
    means = apart.mean(-1)
    best = int(means.argmin())
    return NearestRidge(
        strengths=RIDGES,
        difference=tuple(means.tolist()),
        median=tuple(apart.median(-1).values.tolist()),
        strength=RIDGES[best],
        ci=(ends.low, ends.high),
        bayes=bayes,
    )
