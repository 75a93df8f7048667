"""What theory predicts on prompts, for all that is said of regressions with one label."""

from collections.abc import Callable

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from workbench.batch import RegressionBatch
from workbench.regression_law import RegressionLaw
from workbench.theory import OneStep, ShrinkingSteps, SoftmaxHead, Steps

Predictor = Callable[[RegressionBatch], Float[Tensor, " batch"]]
"""From prompts to predictions of the last label, differentiable in its query."""
Predicting = OneStep | Steps | ShrinkingSteps | SoftmaxHead


def predictor(said: Predicting, law: RegressionLaw) -> Predictor | None:
    """The predictor that theory tells of, or None where its steps are no real numbers."""
    if isinstance(said, OneStep):
        return lambda batch: one_step(said.gamma, batch, centred=said.centred)
    if isinstance(said, SoftmaxHead):
        return lambda batch: softmax_head(said, batch)
    etas, gammas = sizes(said)
    if any(step.imag for step in etas):
        return None
    inverse = torch.linalg.inv(law.covariance)
    steps = [step.real for step in etas]
    return lambda batch: shrinking_steps(steps, gammas, inverse, batch)


def sizes(said: Steps | ShrinkingSteps) -> tuple[list[complex], list[float]]:
    """Eta and gamma of each layer; plain steps shrink nothing, and stand in ascending order."""
    if isinstance(said, ShrinkingSteps):
        return [complex(step) for step in said.step_sizes], list(said.gammas)
    return list(said.step_sizes), [0.0] * len(said.step_sizes)


def one_step(gamma: Float[Tensor, "d d"], batch: RegressionBatch, *, centred: bool = False) -> Float[Tensor, " batch"]:
    """Q . Gamma g, with g the mean of y_i x_i over the examples, inputs less their mean if centred."""
    xs, ys = batch.xs[:, :-1], batch.ys[:, :-1]
    xs = xs - xs.mean(1, keepdim=True) if centred else xs
    return ((batch.xs[:, -1] @ gamma) * (ys[..., None] * xs).mean(1)).sum(-1)


def shrinking_steps(
    etas: list[float], gammas: list[float], inverse: Float[Tensor, "d d"], batch: RegressionBatch
) -> Float[Tensor, " batch"]:
    """GD++ over tokens: labels and inputs of all, the query's too, move by what the examples say.

    Args:
        etas: Steps of labels, y_j <- y_j - eta mean_i y_i x_i . Sig^-1 x_j.
        gammas: Of inputs, x_j <- x_j - gamma mean_i x_i (x_i . Sig^-1 x_j), at the same time.
        inverse: Sig^-1.
        batch: Prompts.
    """
    xs, labels = batch.xs, torch.cat([batch.ys[:, :-1], torch.zeros_like(batch.ys[:, -1:])], 1)
    for eta, gamma in zip(etas, gammas, strict=True):
        seen = xs[:, :-1]
        scores = einsum(seen @ inverse, xs, "batch key d, batch query d -> batch query key") / seen.shape[1]
        told = einsum(scores, labels[:, :-1], "batch query key, batch key -> batch query")
        moved = einsum(scores, seen, "batch query key, batch key d -> batch query d")
        labels, xs = labels - eta * told, xs - gamma * moved
    return -labels[:, -1]


def softmax_head(said: SoftmaxHead, batch: RegressionBatch) -> Float[Tensor, " batch"]:
    """Value sum_i softmax_i(sharpness x_i . q) y_i."""
    scores = (batch.xs[:, :-1] @ batch.xs[:, -1, :, None])[..., 0]
    return said.value * ((said.sharpness * scores).softmax(-1) * batch.ys[:, :-1]).sum(-1)
