"""The best single step on given features of x, for any law of functions of which second moments are known."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.regression_law import FunctionLaw

_SMALLEST = 1e-10
"""Directions of features below this share of the largest variance are left out."""


@dataclass(frozen=True, eq=False)
class FeatureStep:
    """f = phi(q) . Gamma g with g the mean of y_i phi(x_i) over the examples.

    Attributes:
        gamma: The matrix.
        excess: Its expected squared error against the clean label.
    """

    gamma: Float[Tensor, "feature feature"]
    excess: float


def best_feature_step(features: Float[Tensor, "node feature"], law: FunctionLaw) -> FeatureStep:
    """The step that errs least: Gamma = Phi^-1 C G^-1 on the features that vary.

    Phi = E[phi phi^T], C = E[phi(x) E[f(x) f(x')] phi(x')^T] over independent x and x', and
    G = E[g g^T] = E[(f(x)^2 + s2) phi phi^T]/n + (n-1)/n C. Of linear features that is the optimum of
    ``one_step``; none assumes that f is linear in them.

    Args:
        features: phi at the law's nodes.
        law: The law of functions.
    """
    features, n = features.double(), law.n_examples
    phi = features.mT @ (law.shares[:, None] * features)
    values, vectors = torch.linalg.eigh(phi)
    kept = values > _SMALLEST * values.max()
    whiten = vectors[:, kept] / values[kept].sqrt()
    white = features @ whiten
    weighed = law.shares[:, None] * white
    cross = weighed.mT @ law.second_moment @ weighed
    square = law.second_moment.diagonal()
    moment = weighed.mT @ ((square + law.noise_variance)[:, None] * white) / n + (n - 1) / n * cross
    gamma = torch.linalg.solve(moment, cross, left=False)
    excess = float(law.shares @ square) - float((gamma * cross).sum())
    return FeatureStep(whiten @ gamma @ whiten.mT, excess)
