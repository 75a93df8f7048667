"""A model's predictions beside theory's on the same prompts: how far apart, at what risk, with what gradients."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.against_theory.config import TheoryConfig
from workbench.against_theory.observed import Observed, blocks, resampled
from workbench.against_theory.predictors import Predictor
from workbench.against_theory.row import Row
from workbench.batch import RegressionBatch
from workbench.metrics import Interval
from workbench.models.transformer import Transformer
from workbench.weights import layer_weights

_N_GRADIENTS = 2000


def compare_predictions(
    told: Float[Tensor, " batch"], excess: float, seen: Observed, untrained: Observed, config: TheoryConfig
) -> list[Row]:
    """Distance of predictions and risk, each with its controls, and both risks on the same prompts.

    An excess risk is of these prompts alone, and so is that of theory's predictor on them, a control; their difference
    and their ratio say how far apart both are, free of what the prompts have in common.

    Args:
        told: What theory predicts on the prompts seen.
        excess: Its expected squared error.
        seen: The model.
        untrained: The model before training, on the same prompts.
        config: Settings.
    """
    columns = [
        (seen.said - told).square(),
        told.square(),
        (seen.said - seen.truth).square(),
        (told - seen.truth).square(),
    ]
    parts = blocks(torch.stack(columns, 1))

    def of_blocks(shares: Tensor) -> Tensor:
        apart, square, risk, risk_told = shares @ parts
        return torch.stack([apart / square, risk, risk - risk_told, risk / risk_told])

    values, ends = resampled(of_blocks, config.n_resamples, config.seed)
    apart = float((untrained.said - told).square().mean() / told.square().mean())
    risk_before = float((untrained.said - untrained.truth).square().mean())
    zero = float(seen.truth.square().mean())
    same = float((told - seen.truth).square().mean())
    return [
        Row(
            "nmse",
            "distance of predictions from theory's, over their square",
            0.0,
            float(values[0]),
            ends[0],
            {"untrained": apart, "zero predictor": 1.0},
        ),
        Row(
            "excess",
            "excess risk",
            excess,
            float(values[1]),
            ends[1],
            {"theory's predictor, same prompts": same, "untrained": risk_before, "zero predictor": zero},
        ),
        *paired(values[2:], ends[2:], {"untrained": risk_before / same, "zero predictor": zero / same}),
    ]


def paired(found: Float[Tensor, " two"], ends: Sequence[Interval], ratios: Mapping[str, float]) -> list[Row]:
    """Difference and ratio of the risks of model and theory's predictor on the same prompts; controls of the ratio."""
    return [
        Row("excess_gap", "excess risk less that of theory's predictor, same prompts", 0.0, float(found[0]), ends[0]),
        Row(
            "excess_ratio",
            "excess risk over that of theory's predictor, same prompts",
            1.0,
            float(found[1]),
            ends[1],
            ratios,
        ),
    ]


def compare_gradients(
    predict: Predictor, model: Transformer, untrained: Transformer, seen: Observed, config: TheoryConfig
) -> list[Row]:
    """Cosine of the gradients at the query with theory's, with its controls."""
    batch = seen.batch.prompts(0, _N_GRADIENTS)
    told = query_gradients(predict, batch)
    cosines, before = (
        torch.cosine_similarity(layer_weights(each, batch)[-1], told, dim=-1) for each in (model, untrained)
    )
    parts = blocks(cosines)
    values, ends = resampled(lambda shares: (shares @ parts)[None], config.n_resamples, config.seed)
    return [
        Row(
            "gradient_cosine",
            "cosine of gradients at the query with theory's",
            1.0,
            float(values[0]),
            ends[0],
            {
                "untrained": float(before.mean()),
                "another prompt": float(torch.cosine_similarity(told, told.roll(1, 0)).mean()),
            },
        )
    ]


def query_gradients(predict: Predictor, batch: RegressionBatch) -> Float[Tensor, "batch d_input"]:
    """Gradients of predictions in the last input."""
    with torch.enable_grad():
        xs = batch.xs.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(predict(RegressionBatch(xs, batch.ys)).sum(), xs)
    return gradient[:, -1]
