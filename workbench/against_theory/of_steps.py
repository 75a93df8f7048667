"""Layers against the best steps of gradient descent, and single numbers."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.against_theory.config import TheoryConfig
from workbench.against_theory.observed import Observed, blocks, resampled
from workbench.against_theory.one_step import distance_to_multiple, fit
from workbench.against_theory.row import Row
from workbench.metrics import Interval
from workbench.models.transformer import Transformer
from workbench.regression_law import RegressionLaw
from workbench.theory import Scalar, ShrinkingSteps, SoftmaxHead, Steps
from workbench.weights import fold_fault, implied_updates, layer_weights, products

_N_STEPS = 4000
_N_RESAMPLES = 40
"""Each fits every layer anew."""


def implied_sizes(matrix: Float[Tensor, "d d"], covariance: Float[Tensor, "d d"]) -> Tensor:
    """tr(A Sig)/d: the step on whitened inputs that a preconditioner is nearest to."""
    return torch.trace(matrix @ covariance) / len(covariance)


def compare_steps(
    said: Steps, model: Transformer, seen: Observed, law: RegressionLaw, config: TheoryConfig
) -> list[Row]:
    """Sorted sizes of the implied steps, and how well steps explain the layers."""
    batch = seen.batch.prompts(0, _N_STEPS)
    weights = layer_weights(model, batch)
    updates = implied_updates(weights, batch)
    sizes = torch.stack([implied_sizes(update.matrix, law.covariance) for update in updates])
    again = []
    for resample in range(_N_RESAMPLES):
        generator = torch.Generator().manual_seed(config.seed + resample)
        rows = torch.randint(batch.n_batch, (batch.n_batch,), generator=generator)
        part = type(batch)(batch.xs[rows], batch.ys[rows])
        fitted = implied_updates(weights[:, rows], part)
        again.append(torch.stack([implied_sizes(update.matrix, law.covariance) for update in fitted]).sort().values)
    ends = torch.stack(again).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
    root = _root(law.covariance)
    eye = torch.eye(law.d_input, dtype=torch.float64)
    rows_told: list[Row] = []
    ordered = sizes.sort().values
    for place, (theory, size) in enumerate(zip(said.step_sizes, ordered, strict=True)):
        is_real = abs(theory.imag) <= 1e-9 * abs(theory)
        rows_told.append(
            Row(
                f"step_{place + 1}",
                f"step size {place + 1} of {len(ordered)}, ascending",
                theory.real if is_real else None,
                float(size),
                _interval(ends[:, place]),
                note="" if is_real else f"theory's step is complex: {theory:.3g}",
            )
        )
    for layer, update in enumerate(updates, 1):
        white = root @ update.matrix @ root
        rows_told += [
            Row(
                f"layer_{layer}_r2",
                f"layer {layer}: share of its update that one step explains",
                1.0,
                update.r2,
                controls={"another prompt's gradient": update.null},
            ),
            Row(
                f"layer_{layer}_distance",
                f"layer {layer}: distance of Sig^(1/2) A Sig^(1/2) from a multiple of I",
                0.0,
                distance_to_multiple(white, eye),
                controls={"A itself": distance_to_multiple(update.matrix, eye)},
            ),
        ]
    return rows_told


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ (values.clamp(min=0).sqrt()[:, None] * vectors.mT)


def _interval(ends: Tensor) -> Interval:
    return Interval(float(ends[0]), float(ends[1]))


def compare_shrinking(said: ShrinkingSteps, model: Transformer, law: RegressionLaw) -> list[Row]:
    """Eta and gamma of every layer by its weights, and how near its matrices are to multiples of I and Sig^-1.

    A head that scores with KQ = a Sig^-1, adds -b times an input to inputs and -c times a label to labels has eta = c a
    and gamma = b a; where matrices are no such multiples, a and b are those nearest.
    """
    fault = fold_fault(model)
    if fault:
        return [Row("layer_1_eta", "layer 1: eta", said.step_sizes[0], None, note=fault)]
    found, d = products(model), law.d_input
    scores = found.key_query[..., :d, :d]
    a = (scores @ law.covariance).diagonal(dim1=-2, dim2=-1).mean(-1)
    b = -found.output_value[..., :d, :d].diagonal(dim1=-2, dim2=-1).mean(-1)
    c = -found.output_value[..., d, d]
    etas, gammas = (c * a).sum(-1), (b * a).sum(-1)
    root, eye = _root(law.covariance), torch.eye(d, dtype=torch.float64)
    rows = []
    for layer, (eta, gamma) in enumerate(zip(said.step_sizes, said.gammas, strict=True)):
        last = layer == len(said.gammas) - 1 and not model.config.tied_layers
        name = f"layer {layer + 1}"
        away = max(distance_to_multiple(root @ matrix @ root, eye) for matrix in scores[layer])
        rows += [
            Row(f"layer_{layer + 1}_eta", f"{name}: eta", eta, float(etas[layer])),
            *([] if last else [Row(f"layer_{layer + 1}_gamma", f"{name}: gamma", gamma, float(gammas[layer]))]),
            Row(
                f"layer_{layer + 1}_scores",
                f"{name}: distance of Sig^(1/2) KQ Sig^(1/2) from a multiple of I",
                0.0,
                away,
                controls={"KQ itself": max(distance_to_multiple(matrix, eye) for matrix in scores[layer])},
            ),
        ]
    return rows


def compare_head(said: SoftmaxHead, model: Transformer) -> list[Row]:
    """Sharpness and value of one head by its weights; of both the sign is free, of their product not."""
    label = "sharpness omega, from weights"
    fault = fold_fault(model)
    if fault:
        return [Row("sharpness", label, said.sharpness, None, note=fault)]
    found = products(model)
    d = found.d_input
    omega = float(found.key_query[0, 0, :d, :d].diagonal().mean())
    mu = float(found.read[0, 0, d])
    return [
        Row("sharpness", label, said.sharpness, abs(omega)),
        Row("value", "value mu, from weights", said.value, abs(mu)),
        Row("product", "mu omega, from weights", said.sharpness * said.value, mu * omega),
    ]


def signed(said: SoftmaxHead, model: Transformer) -> SoftmaxHead:
    """Of the two heads that theory tells, alike but for the signs of sharpness and value, the one with the model's."""
    if fold_fault(model):
        return said
    found = products(model)
    omega = float(found.key_query[0, 0, : found.d_input, : found.d_input].diagonal().mean())
    return replace(said, sharpness=-said.sharpness, value=-said.value) if omega * said.sharpness < 0 else said


def compare_scalar(
    said: Scalar, model: Transformer, seen: Observed | None, law: RegressionLaw | None, config: TheoryConfig
) -> list[Row]:
    """One number of theory beside the same of the model."""
    if said.quantity == "sum_step" and law is not None and seen is not None:
        fitted, covariance = fit(seen), law.covariance
        values, ends = resampled(
            lambda shares: (implied_sizes(fitted.gamma(shares), covariance) / law.n_examples)[None],
            config.n_resamples,
            config.seed,
        )
        return [Row("sum_step", "step size on the sum loss", said.value, float(values[0]), ends[0])]
    if said.quantity == "relu_step" and seen is not None:
        return [_relu(said, seen, config)]
    if said.quantity == "split":
        return [_split(said, model)]
    return [Row(said.quantity, said.quantity, said.value, None, note="nothing measures it here")]


def _relu(said: Scalar, seen: Observed, config: TheoryConfig) -> Row:
    xs, ys = seen.batch.xs[:, :-1], seen.batch.ys[:, :-1]
    feature = ((xs @ seen.query[..., None]).squeeze(-1).relu() * ys).mean(1)
    parts = blocks(torch.stack([feature * seen.said, feature.square()], 1))

    def slope(shares: Tensor) -> Tensor:
        along, square = shares @ parts
        return (along / square)[None]

    values, ends = resampled(slope, config.n_resamples, config.seed)
    return Row("relu_step", "c of (c/n) sum relu(x_i . q) y_i", said.value, float(values[0]), ends[0])


def _split(said: Scalar, model: Transformer) -> Row:
    label = "value weight over norm of the key-query matrix"
    fault = fold_fault(model)
    if fault or model.config.n_heads > 1:
        return Row("split", label, said.value, None, note=fault or "several heads share it")
    found = products(model)
    d = found.d_input
    measured = float(found.read[0, 0, d].abs() / found.key_query[0, 0, :d, :d].norm())
    return Row("split", label, said.value, measured, note="told only for gradient flow from a small balanced start")
