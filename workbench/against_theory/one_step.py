"""A model against f = q . Gamma g: its matrix by behaviour and by weights, its predictions, its risk, its gradients."""

from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from workbench.against_theory.config import TheoryConfig
from workbench.against_theory.observed import Observed, blocks, resampled
from workbench.against_theory.predictions import compare_gradients, compare_predictions
from workbench.against_theory.predictors import predictor
from workbench.against_theory.row import Row
from workbench.models.transformer import Transformer
from workbench.regression_law import RegressionLaw
from workbench.theory import OneStep
from workbench.weights import fold_fault, products

Matrix = Float[Tensor, "d_input d_input"]


@dataclass(frozen=True, eq=False)
class Fit:
    """The regression of predictions on the products q_a g_b, by blocks of prompts.

    Attributes:
        squares: Second moments of the products, per block.
        along: Products times predictions.
        said: Square of the predictions.
    """

    squares: Float[Tensor, "block feature feature"]
    along: Float[Tensor, "block feature"]
    said: Float[Tensor, " block"]

    def gamma(self, shares: Float[Tensor, " block"]) -> Matrix:
        """The slope matrix: f is nearest to q . Gamma g."""
        squares = einsum(shares, self.squares, "block, block row col -> row col")
        solved = torch.linalg.solve(squares, shares @ self.along)
        d = round(len(solved) ** 0.5)
        return solved.reshape(d, d)

    def explained(self, shares: Float[Tensor, " block"]) -> Tensor:
        """Share of the square of the predictions that a one-step predictor explains."""
        squares = einsum(shares, self.squares, "block, block row col -> row col")
        along = shares @ self.along
        return along @ torch.linalg.solve(squares, along) / (shares @ self.said)


def fit(seen: Observed, *, centred: bool = False) -> Fit:
    """The model-agnostic Gamma: nothing but prompts and predictions."""
    g = seen.gradient(centred=centred)
    features = einsum(seen.query, g, "batch a, batch b -> batch a b").flatten(1)
    size = len(features) // len(blocks(seen.said))
    grouped = features[: size * len(blocks(seen.said))].unflatten(0, (-1, size))
    said = seen.said[: grouped.shape[0] * size].unflatten(0, (-1, size))
    return Fit(
        squares=grouped.mT @ grouped / size,
        along=(grouped.mT @ said[..., None]).squeeze(-1) / size,
        said=said.square().mean(1),
    )


def relative_error(found: Matrix, true: Matrix) -> Tensor:
    """|found - true| / |true|."""
    return (found - true).norm() / true.norm()


def cosine(found: Matrix, true: Matrix) -> Tensor:
    """Of two matrices as vectors."""
    return (found * true).sum() / (found.norm() * true.norm())


def distance_to_multiple(found: Matrix, shape: Matrix) -> float:
    """min_a |found - a shape| / |found|: 0 for a multiple of the shape, near 1 for unrelated matrices."""
    along = (found * shape).sum() / shape.square().sum()
    return float((found - along * shape).norm() / found.norm())


def compare(
    said: OneStep,
    model: Transformer,
    untrained: Transformer,
    seen: Observed,
    seen_untrained: Observed,
    law: RegressionLaw,
    config: TheoryConfig,
) -> list[Row]:
    """Every way in which a model can be the predictor, each with its controls.

    The controls of Gamma are the best multiples of I and of Sig^-1, and the model before training.
    """
    predict = predictor(said, law)
    assert predict is not None, "a step is real"
    fitted, before = fit(seen, centred=said.centred), fit(seen_untrained, centred=said.centred)
    even = torch.full((len(fitted.said),), 1 / len(fitted.said), dtype=torch.float64)

    def of_blocks(shares: Tensor) -> Tensor:
        gamma = fitted.gamma(shares)
        return torch.stack([relative_error(gamma, said.gamma), cosine(gamma, said.gamma), fitted.explained(shares)])

    values, ends = resampled(of_blocks, config.n_resamples, config.seed)
    eye = torch.eye(law.d_input, dtype=torch.float64)
    shapes = {} if law.basis is None else {"multiple of I": eye, "multiple of Sig^-1": torch.linalg.inv(law.covariance)}
    gamma_before = before.gamma(even)
    errors = {name: distance_to_multiple(said.gamma, shape) for name, shape in shapes.items()}
    cosines = {name: float(cosine(shape, said.gamma)) for name, shape in shapes.items()}
    rows = [
        Row(
            "gamma_error",
            "Gamma from predictions, relative error",
            0.0,
            float(values[0]),
            ends[0],
            {**errors, "untrained": float(relative_error(gamma_before, said.gamma))},
        ),
        Row(
            "gamma_cosine",
            "Gamma from predictions, cosine",
            1.0,
            float(values[1]),
            ends[1],
            {**cosines, "untrained": float(cosine(gamma_before, said.gamma))},
        ),
        Row(
            "one_step_share",
            "share of predictions that is one step",
            1.0,
            float(values[2]),
            ends[2],
            {"untrained": float(before.explained(even))},
        ),
    ]
    return [
        *rows,
        *_of_weights(said, model, untrained, law, errors),
        *compare_predictions(predict(seen.batch), said.excess, seen, seen_untrained, config),
        *compare_gradients(predict, model, untrained, seen, config),
    ]


def _of_weights(
    said: OneStep, model: Transformer, untrained: Transformer, law: RegressionLaw, errors: dict[str, float]
) -> list[Row]:
    label = "Gamma from weights, relative error"
    fault = fold_fault(model)
    if fault:
        return [Row("weights_gamma_error", label, 0.0, None, note=f"{fault}")]
    found, before = (_gamma_of(each, law.n_examples) for each in (model, untrained))
    controls = {**errors, "untrained": float(relative_error(before, said.gamma))}
    leaks = products(model).leakage
    return [
        Row("weights_gamma_error", label, 0.0, float(relative_error(found, said.gamma)), None, controls),
        *(
            Row(f"{name}_leakage", f"largest {name} leakage over heads, 0 by theory", 0.0, float(leak.max()))
            for name, leak in leaks.items()
        ),
    ]


def _gamma_of(model: Transformer, n_examples: int) -> Matrix:
    factor = n_examples / (n_examples + 1) if model.config.query_in_keys else 1.0
    return factor * products(model).gamma[0]
