"""Probes for classes: logistic regression, and the nearest mean."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.config import MlpConfig
from probes.record import Probe, Samples
from probes.sums import Rows

STRENGTHS = (1e-2, 1.0, 1e2)
"""Inverse penalties tried, scikit-learn's C, on activations of unit variance."""


@dataclass(frozen=True, eq=False)
class NearestMean:
    """The class whose mean activation is nearest, site by site.

    Attributes:
        classes: Class numbers.
        means: Of each copy, the mean activation of each class; NaN for a class that it lacks, which is never said.
    """

    classes: Int[Tensor, " label"]
    means: Float[Tensor, "site copy label width"]

    def __call__(self, activations: Rows) -> Float[Tensor, "site copy sample column"]:
        """Class numbers."""
        distances = torch.cdist(activations.double()[:, None].expand(-1, self.means.shape[1], -1, -1), self.means)
        return self.classes[distances.nan_to_num(torch.inf).argmin(-1)].double()[..., None]


def fit_nearest_mean(training: Samples, _validation: Samples, _settings: MlpConfig, _seed: int) -> NearestMean:
    """Means in float64; nothing is chosen, so nothing is validated."""
    labels = training.targets[..., 0].long()
    classes = labels.unique()
    belongs = (labels[..., None] == classes).double()  # [copy sample label]
    sums = torch.einsum("csl,xsw->xclw", belongs, training.activations.double())
    return NearestMean(classes, sums / belongs.sum(1)[None, :, :, None])


@dataclass(frozen=True, eq=False)
class Logistic:
    """Logistic regressions of scikit-learn, site by site.

    Attributes:
        mean: What activations are centred by.
        size: What they are divided by.
        fitted: Of each site, one for each copy.
    """

    mean: Float[Tensor, "site width"]
    size: Float[Tensor, "site width"]
    fitted: list[list[Any]]

    def __call__(self, activations: Rows) -> Float[Tensor, "site copy sample column"]:
        """Class numbers."""
        scaled = ((activations.double() - self.mean[:, None]) / self.size[:, None]).numpy()
        said = [np.stack([each.predict(rows) for each in copies]) for rows, copies in zip(scaled, self.fitted)]
        return torch.from_numpy(np.stack(said)).double()[..., None]


def fit_logistic(training: Samples, validation: Samples, _settings: MlpConfig, _seed: int) -> Logistic:
    """The strength of highest validation accuracy, for each site and copy."""
    rows = training.activations.double()
    mean, size = rows.mean(1), rows.std(1)
    size = torch.where(size > 0, size, 1.0)
    own, other = (
        ((each.activations.double() - mean[:, None]) / size[:, None]).numpy() for each in (training, validation)
    )
    labels, held = (each.targets[..., 0].long().numpy() for each in (training, validation))
    fitted = [
        [_best(own[site], labels[copy], other[site], held[copy]) for copy in range(len(labels))]
        for site in range(len(own))
    ]
    return Logistic(mean, size, fitted)


def _best(rows: Any, labels: Any, held: Any, wanted: Any) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a weak penalty on separable classes has no end
        tried = [LogisticRegression(C=strength, max_iter=300).fit(rows, labels) for strength in STRENGTHS]
    return max(tried, key=lambda each: each.score(held, wanted))


NEAREST_MEAN = Probe(
    "nearest_mean",
    "Nearest class mean",
    "Snell, Swersky and Zemel 2017, arXiv:1703.05175, prototypes",
    "classes",
    pools=False,
    fit=fit_nearest_mean,
)
LOGISTIC = Probe(
    "logistic",
    "Logistic regression",
    "Alain and Bengio 2016, arXiv:1610.01644",
    "classes",
    pools=False,
    fit=fit_logistic,
)
