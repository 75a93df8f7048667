"""What the model says at a position, and what is lost by it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from workbench.registry import by_name

Said = Float[Tensor, "batch scored d_out"]
Losses = Float[Tensor, "batch scored"]


@dataclass(frozen=True)
class OutputKind:
    """One read-out. Its functions run compiled and over replicas: plain tensor code, shapes alone decide.

    Attributes:
        name: Registry name.
        label: Name for people.
        source: Where it is defined.
        width: Numbers per position, or the field of the model config that holds how many.
        loss: From what is said where labels are predicted, and the labels, to the loss of each.
        predictions: From what is said to the prediction, of a label's own shape where it is one.
        variance: From what is said to the model's own variance of the label, or None if it says none.
    """

    name: str
    label: str
    source: str
    width: int | str
    loss: Callable[[Said, Tensor], Losses]
    predictions: Callable[[Said], Tensor]
    variance: Callable[[Said], Losses] | None = None


def first(said: Said) -> Losses:
    """The first number: the prediction, or the mean of one with variance."""
    return said[..., 0]


def everything(said: Said) -> Said:
    """All that is said."""
    return said


def squared_error(said: Said, labels: Float[Tensor, "batch scored"]) -> Losses:
    """Squared error of the one number."""
    return (said[..., 0] - labels).square()


def squared_distance(said: Said, labels: Float[Tensor, "batch scored d_out"]) -> Losses:
    """Squared error summed over the numbers of a label."""
    return (said - labels).square().sum(-1)


def gaussian_nll(said: Said, labels: Float[Tensor, "batch scored"]) -> Losses:
    """-log N(y; mean, exp(log variance)), in nats, the constant included."""
    mean, log_variance = said[..., 0], said[..., 1]
    return ((labels - mean).square() * (-log_variance).exp() + log_variance + math.log(2 * math.pi)) / 2


def exp_of_second(said: Said) -> Losses:
    """The variance where its logarithm is the second number."""
    return said[..., 1].exp()


def cross_entropy(said: Said, labels: Tensor) -> Losses:
    """-log probability of the right token, in nats."""
    return F.cross_entropy(said.mT, labels, reduction="none")


OUTPUTS = by_name(
    OutputKind(
        name="scalar",
        label="One number, squared error",
        source="Garg et al. 2022, arXiv:2208.01066",
        width=1,
        loss=squared_error,
        predictions=first,
    ),
    OutputKind(
        name="mean_variance",
        label="Mean and log-variance, Gaussian negative log-likelihood",
        source="Nix and Weigend 1994, Estimating the mean and variance of the target probability distribution",
        width=2,
        loss=gaussian_nll,
        predictions=first,
        variance=exp_of_second,
    ),
    OutputKind(
        name="vector",
        label="One number per label coordinate, squared error summed over them",
        source="von Oswald et al. 2023, arXiv:2309.05858",
        width="d_output",
        loss=squared_distance,
        predictions=everything,
    ),
    OutputKind(
        name="logits",
        label="Logits over the vocabulary, cross-entropy",
        source="Bengio et al. 2003, A Neural Probabilistic Language Model",
        width="d_vocab",
        loss=cross_entropy,
        predictions=everything,
    ),
)
