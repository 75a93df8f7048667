"""A layer behind an MLP against a step on the MLP's features, and against what else those features could give."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.against_theory.config import TheoryConfig
from workbench.against_theory.observed import Observed, blocks, resampled
from workbench.against_theory.predictions import compare_gradients, compare_predictions
from workbench.against_theory.row import Row
from workbench.batch import RegressionBatch
from workbench.models.transformer import Transformer
from workbench.theory import OnFeatures
from workbench.theory.features import FeatureStep, best_feature_step

Features = Callable[[Float[Tensor, "*lead d_input"]], Float[Tensor, "*lead feature"]]
_PIECE = 4000
_RIDGES = tuple(10.0 ** (power / 2) for power in range(-12, 5))
"""Strengths of ridge that are tried, over the mean square of features."""
_N_RIDGE = 4000


def mlp_features(model: Transformer) -> Features:
    """What the MLP of the first block, before attention, makes of the token (x, 0), differentiable in x.

    Args:
        model: One with ``mlp_first``.
    """

    def features(xs: Float[Tensor, "*lead d_input"]) -> Float[Tensor, "*lead feature"]:
        flat = xs.reshape(1, -1, xs.shape[-1])
        tokens = torch.cat([flat, torch.zeros_like(flat[..., :1])], -1)
        block = model.layers[0]
        stream = model.embed(tokens)
        return (stream + block.mlp(block.ln2(stream))).reshape(*xs.shape[:-1], -1)

    return features


def step_on(features: Features, gamma: Float[Tensor, "feature feature"], batch: RegressionBatch) -> Tensor:
    """phi(q) . Gamma mean_i y_i phi(x_i)."""
    found = features(batch.xs)
    mean = (batch.ys[:, :-1, None] * found[:, :-1]).mean(1)
    return ((found[:, -1] @ gamma) * mean).sum(-1)


@torch.no_grad()
def ridge_risk(features: Features, seen: Observed) -> float:
    """Least mean squared error of ridge regression on the features of each prompt.

    Its strength is chosen on half of the prompts and told on the other half.
    """
    batch = seen.batch.prompts(0, _N_RIDGE)
    found, half = features(batch.xs), batch.n_batch // 2
    scale = found.square().sum(-1).mean()
    keys, query, ys = found[:, :-1], found[:, -1:], batch.ys[:, :-1, None]
    kernel, across = keys @ keys.mT, query @ keys.mT
    eye = torch.eye(keys.shape[1], dtype=kernel.dtype)
    risks = []
    for ridge in _RIDGES:
        told = (across @ torch.linalg.solve(kernel + ridge * scale * eye, ys))[:, 0, 0]
        error = (told - seen.truth[: batch.n_batch]).square()
        risks.append((float(error[:half].mean()), float(error[half:].mean())))
    return min(risks)[1]


def compare_features(
    said: OnFeatures, model: Transformer, untrained: Transformer, seen: Observed, before: Observed, config: TheoryConfig
) -> list[Row]:
    """The model beside the best step on its own features.

    Controls are other features, ridge, predicting 0, and the mean of all functions, which needs no example and is no
    step: a model that adds it errs less than the best one.
    """
    own, other = mlp_features(model), mlp_features(untrained)
    with torch.no_grad():
        best, random = (best_feature_step(each(said.law.nodes), said.law) for each in (own, other))
        plain = best_feature_step(said.law.nodes, said.law)
        told, told_random = (_in_pieces(f, step, seen.batch) for f, step in ((own, best), (other, random)))
    zero = float(seen.truth.square().mean())
    ridges = {"ridge on own features": ridge_risk(own, seen), "ridge on the untrained MLP's": ridge_risk(other, seen)}
    unseen = {"mean of all functions": said.law.variance}
    apart, risk, *pair = compare_predictions(told, best.excess, seen, before, config)
    from_random = float((seen.said - told_random).square().mean() / told_random.square().mean())
    return [
        Row(
            "feature_excess",
            "excess risk of the best step on the model's features; by theory, on any",
            said.least,
            best.excess,
            None,
            {"untrained MLP's": random.excess, "x itself": plain.excess, "zero predictor": zero},
        ),
        Row(risk.quantity, risk.label, risk.theory, risk.measured, risk.ci, {**risk.controls, **ridges, **unseen}),
        *pair,
        _over_random(told_random, seen, config),
        Row(
            apart.quantity,
            apart.label,
            apart.theory,
            apart.measured,
            apart.ci,
            {**apart.controls, "from the step on the untrained MLP's": from_random},
        ),
        step_share(own, seen, config),
        *compare_gradients(lambda batch: step_on(own, best.gamma, batch), model, untrained, seen, config),
    ]


def _over_random(told: Float[Tensor, " batch"], seen: Observed, config: TheoryConfig) -> Row:
    parts = blocks(torch.stack([(seen.said - seen.truth).square(), (told - seen.truth).square()], 1))

    def ratio(shares: Tensor) -> Tensor:
        risk, random = shares @ parts
        return (risk / random)[None]

    values, ends = resampled(ratio, config.n_resamples, config.seed)
    label = "excess risk over that of the best step on the untrained MLP's features, same prompts"
    return Row("excess_over_untrained_features", label, None, float(values[0]), ends[0])


def _in_pieces(features: Features, step: FeatureStep, batch: RegressionBatch) -> Tensor:
    pieces = [batch.prompts(first, first + _PIECE) for first in range(0, batch.n_batch, _PIECE)]
    return torch.cat([step_on(features, step.gamma, piece) for piece in pieces])


@torch.no_grad()
def step_share(features: Features, seen: Observed, config: TheoryConfig) -> Row:
    """Of predictions, the share that some step on the model's features explains, fitted and told on halves.

    Nothing is told of fewer prompts than twice the numbers of Gamma in each half.
    """
    label = "share of predictions that is a step on its features, whatever its Gamma"
    columns = []
    for first in range(0, seen.batch.n_batch, _PIECE):
        piece = seen.batch.prompts(first, first + _PIECE)
        found = features(piece.xs)
        columns.append(torch.cat([found[:, -1], (piece.ys[:, :-1, None] * found[:, :-1]).mean(1)], -1))
    query, mean = torch.cat(columns).chunk(2, -1)
    query, mean = (_white(each) for each in (query, mean))
    half = len(query) // 2
    products = (query[:, :, None] * mean[:, None]).flatten(1)
    fewest = 4 * products.shape[1]
    if len(products) < fewest:
        asked = f"n_prompts must be at least {fewest} for the {products.shape[1]} numbers of a Gamma"
        return Row("step_share", label, 1.0, None, note=f"{asked}; got {len(products)}")
    solution = torch.linalg.lstsq(products[:half], seen.said[:half, None]).solution
    rest = seen.said[half:] - (products[half:] @ solution)[:, 0]
    parts = blocks(torch.stack([rest.square(), seen.said[half:].square()], 1))

    def explained(shares: Tensor) -> Tensor:
        left, square = shares @ parts
        return (1 - left / square)[None]

    values, ends = resampled(explained, config.n_resamples, config.seed)
    return Row("step_share", label, 1.0, float(values[0]), ends[0])


def _white(values: Float[Tensor, "batch feature"], most: int = 12) -> Float[Tensor, "batch direction"]:
    """Values in the directions in which they vary, of size 1 each, at most so many."""
    sizes, vectors = torch.linalg.eigh(values.mT @ values / len(values))
    kept = [i for i in range(len(sizes)) if sizes[i] > 1e-10 * sizes[-1]][-most:]
    return values @ vectors[:, kept] / sizes[kept].sqrt()
