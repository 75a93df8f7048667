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
        spread: Of each copy, the mean variance of a coordinate about the means of the classes.
    """

    classes: Int[Tensor, " label"]
    means: Float[Tensor, "site copy label width"]
    spread: Float[Tensor, "site copy"]

    def __call__(self, activations: Rows) -> Float[Tensor, "site copy sample column"]:
        """Class numbers."""
        return self.classes[self._distances(activations).nan_to_num(torch.inf).argmin(-1)].double()[..., None]

    def evidence(self, activations: Rows, classes: Int[Tensor, " label"]) -> Float[Tensor, "site copy sample label"]:
        """Log-densities of Gaussians around the means, all of one variance, NaN for a class without mean."""
        weighed = -self._distances(activations).square() / (2 * self.spread[..., None, None])
        return _among(weighed - weighed.nan_to_num(-torch.inf).amax(-1, keepdim=True), self.classes, classes)

    def _distances(self, activations: Rows) -> Float[Tensor, "site copy sample label"]:
        return torch.cdist(activations.double()[:, None].expand(-1, self.means.shape[1], -1, -1), self.means)


def _among(
    values: Float[Tensor, "*lead own"], own: Int[Tensor, " own"], classes: Int[Tensor, " label"]
) -> Float[Tensor, "*lead label"]:
    """Values of some classes among all, NaN for the others."""
    found = values.new_full((*values.shape[:-1], len(classes)), torch.nan)
    found[..., torch.searchsorted(classes, own)] = values
    return found


def fit_nearest_mean(training: Samples, _validation: Samples, _settings: MlpConfig, _seed: int) -> NearestMean:
    """Means in float64; nothing is chosen, so nothing is validated."""
    labels = training.targets[..., 0].long()
    classes = labels.unique()
    belongs = (labels[..., None] == classes).double()  # [copy sample label]
    rows = training.activations.double()
    counts = belongs.sum(1)
    means = torch.einsum("csl,xsw->xclw", belongs, rows) / counts[None, :, :, None]
    return NearestMean(classes, means, _spread(rows, counts, means))


def _spread(
    rows: Float[Tensor, "site sample width"],
    counts: Float[Tensor, "copy label"],
    means: Float[Tensor, "site copy label width"],
) -> Float[Tensor, "site copy"]:
    """Variance about the means of the classes; about the mean of all where every class stands at one point."""
    n, width = rows.shape[1:]
    rows_about, means_about = rows - rows.mean(1, keepdim=True), means - rows.mean(1)[:, None, None]
    everything = rows_about.square().sum((1, 2))[:, None]
    between = (means_about.nan_to_num().square().sum(-1) * counts).sum(-1)
    free = (n - (counts > 0).sum(-1)).clamp(min=1)
    within = (everything - between) / (free * width)
    about_all = everything / (max(n - 1, 1) * width)
    found = torch.where(within > 1e-12 * about_all, within, about_all)
    return torch.where(found > 0, found, 1.0)


@dataclass(frozen=True, eq=False)
class Logistic:
    """Logistic regressions of scikit-learn, site by site.

    Attributes:
        mean: What activations are centred by.
        size: What they are divided by.
        fitted: Of each site, one for each copy.
        rates: Of each copy, the log-frequencies of its classes among what was fitted.
    """

    mean: Float[Tensor, "site width"]
    size: Float[Tensor, "site width"]
    fitted: list[list[Any]]
    rates: list[Tensor]

    def __call__(self, activations: Rows) -> Float[Tensor, "site copy sample column"]:
        """Class numbers."""
        scaled = ((activations.double() - self.mean[:, None]) / self.size[:, None]).numpy()
        said = [np.stack([each.predict(rows) for each in copies]) for rows, copies in zip(scaled, self.fitted)]
        return torch.from_numpy(np.stack(said)).double()[..., None]

    def evidence(self, activations: Rows, classes: Int[Tensor, " label"]) -> Float[Tensor, "site copy sample label"]:
        """Log-probabilities less the log-frequencies that were fitted."""
        scaled = ((activations.double() - self.mean[:, None]) / self.size[:, None]).numpy()
        return torch.stack(
            [
                torch.stack(
                    [
                        _among(
                            torch.from_numpy(each.predict_log_proba(rows)) - rate,
                            torch.from_numpy(each.classes_),
                            classes,
                        )
                        for each, rate in zip(copies, self.rates, strict=True)
                    ]
                )
                for rows, copies in zip(scaled, self.fitted, strict=True)
            ]
        )


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
    rates = [torch.from_numpy(np.unique(each, return_counts=True)[1] / len(each)).log() for each in labels]
    return Logistic(mean, size, fitted, rates)


def _best(rows: Any, labels: Any, held: Any, wanted: Any) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a weak penalty on separable classes has no end
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # few samples: they are classes
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
