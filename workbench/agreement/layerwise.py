"""The whole study: read out every layer, compare it with every step of every algorithm."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench import baselines
from workbench.activations import query_streams
from workbench.agreement.config import AgreementConfig
from workbench.agreement.read_outs import NormalEquations, ReadOuts, fit, total
from workbench.agreement.record import FamilyAgreement, LayerAgreement, Reading
from workbench.agreement.references import RIDGES, Family, References, references
from workbench.agreement.similarity import residual_directions, sim_e_by_prompt
from workbench.agreement.trend import Trend, fit_trend, rate_of_shape
from workbench.agreement.verdict import weigh
from workbench.batch import RegressionBatch
from workbench.errors import InputError
from workbench.metrics import bootstrap_weights, error_by_context, interval
from workbench.models.transformer import Transformer
from workbench.tasks import Task

_BATCH = 256
ANCHORED = 0.99
"""SimE with an anchor from which on a layer is said to sit on it."""


@dataclass(frozen=True, eq=False)
class Study:
    """What `study` finds.

    Attributes:
        scored_positions: First and last context position scored, 0-based.
        model_error: Squared error over d of the model's own output at every context position.
        reference_error: The same for reference predictors.
        raw: Layers read as they are.
        final_norm: Layers read through the model's final norm, or None if it has none.
        conventions: Options of each algorithm, as used.
    """

    scored_positions: tuple[int, int]
    model_error: tuple[float, ...]
    reference_error: dict[str, tuple[float, ...]]
    raw: Reading
    final_norm: Reading | None
    conventions: dict[str, dict[str, object]]


def study(model: Transformer, untrained: Transformer, task: Task, config: AgreementConfig) -> Study:
    """Compare every layer of a model with the reference algorithms.

    Read-outs are fitted on one set of prompts and scored on another.

    Args:
        model: The trained model.
        untrained: The same architecture before training: the control.
        task: Where the prompts come from.
        config: Settings.

    Raises:
        InputError: If the task is no regression, or the scored positions are not in the prompt.
    """
    batch = task.prompts(config.seed, "agreement", 0, config.n_prompts)
    if not isinstance(batch, RegressionBatch):
        raise InputError(f"agreement needs prompts of (x, y) examples; task {task.name!r} has tokens.")
    scored = _scored(batch, config)
    known = references(batch, scored, task.least_squares_ridge() or 0.0, config)
    readings = [_reading(model, untrained, task, batch, scored, known, config, final_norm=False)]
    if model.config.norm != "none":
        readings.append(_reading(model, untrained, task, batch, scored, known, config, final_norm=True))
    d = batch.xs.shape[-1]
    reference_predictions = {name: baselines.predict(name, batch.xs, batch.ys) for name in ("zero", "averaging", "ols")}
    if bayes := task.least_squares_ridge():
        reference_predictions["ridge"] = baselines.predict("ridge", batch.xs, batch.ys, ridge=bayes)
    conventions = {name: dict(family.options) for name, family in known.families.items()}
    conventions["gd_1"] = {"relative_step_size": known.one_step_size}
    return Study(
        scored_positions=(scored.start, scored.stop - 1),
        model_error=tuple(error_by_context(_predict(model, batch), batch.ys.double(), d).tolist()),
        reference_error={
            name: tuple(error_by_context(p, batch.ys.double(), d).tolist()) for name, p in reference_predictions.items()
        },
        raw=readings[0],
        final_norm=readings[1] if len(readings) > 1 else None,
        conventions=conventions,
    )


def _scored(batch: RegressionBatch, config: AgreementConfig) -> slice:
    last = batch.n_context - 1 if config.last_position is None else config.last_position
    if config.first_position > last or last >= batch.n_context:
        raise InputError(
            f"scored positions must lie in 0..{batch.n_context - 1}; got {config.first_position}..{last}. "
            "Change first_position or last_position."
        )
    return slice(config.first_position, last + 1)


def _reading(
    model: Transformer,
    untrained: Transformer,
    task: Task,
    batch: RegressionBatch,
    scored: slice,
    known: References,
    config: AgreementConfig,
    *,
    final_norm: bool,
) -> Reading:
    """All layers under one way of reading them."""
    predictions, ridges = _layer_predictions(model, task, batch, scored, config, final_norm=final_norm)
    control, _ = _layer_predictions(untrained, task, batch, scored, config, final_norm=final_norm)
    ys = batch.ys[:, scored].double()
    shares = bootstrap_weights(len(ys), config.n_resamples, torch.Generator().manual_seed(config.seed))
    by_family = {name: _Comparison.of(predictions, control, f, ys, shares) for name, f in known.families.items()}
    anchors = _anchors(predictions, known, ys)
    errors = ((predictions - ys) ** 2).mean((1, 2)) / batch.xs.shape[-1]
    layers = []
    for layer in range(len(predictions)):
        families = {name: comparison.family(layer) for name, comparison in by_family.items()}
        near = {name: values[layer] for name, values in anchors.items() if name != "best_ridge"}
        layers.append(
            LayerAgreement(
                layer=layer,
                error=errors[layer].item(),
                anchors=near,
                best_ridge=anchors["best_ridge"][layer],
                readout_ridge=ridges[layer].item(),
                families=families,
                at_anchor=next((name for name in ("zero", "ols") if near[name] >= ANCHORED), None),
            )
        )
    trend = {name: comparison.trend(layers, name) for name, comparison in by_family.items()}
    return Reading(tuple(layers), trend, weigh(layers, trend))


def _layer_predictions(
    model: Transformer, task: Task, batch: RegressionBatch, scored: slice, config: AgreementConfig, *, final_norm: bool
) -> tuple[Float[Tensor, "layer batch scored"], Float[Tensor, " layer"]]:
    """What each layer's read-out predicts on the scored prompts, and the read-outs' ridge strengths."""
    read_outs = fit_read_outs(model, task, config, final_norm=final_norm)
    parts = [
        read_outs.predict(query_streams(model, part, final_norm=final_norm).cpu()) for part in _parts(model, batch)
    ]
    return torch.cat(parts, 1)[..., scored], read_outs.ridges


def fit_read_outs(model: Transformer, task: Task, config: AgreementConfig, *, final_norm: bool) -> ReadOuts:
    """Read-outs of every layer, from prompts that nothing is scored on."""
    fitting = task.prompts(config.seed, "read-out", 0, config.n_fit)
    n_train = 3 * config.n_fit // 4
    train, validation = fitting.prompts(0, n_train), fitting.prompts(n_train, config.n_fit)
    sums = [
        total(
            NormalEquations.of(query_streams(model, part, final_norm=final_norm).cpu(), part.ys.cpu())
            for part in _parts(model, prompts)
        )
        for prompts in (train, validation)
    ]
    return fit(*sums)


def _parts(model: Transformer, batch: RegressionBatch) -> list[RegressionBatch]:
    weight = model.unembed.weight
    starts = range(0, batch.n_batch, _BATCH)
    return [batch.prompts(i, min(i + _BATCH, batch.n_batch)).to(weight.device, weight.dtype) for i in starts]


def _predict(model: Transformer, batch: RegressionBatch) -> Float[Tensor, "batch context"]:
    return torch.cat([model.predict(part).double().cpu() for part in _parts(model, batch)])


def _anchors(predictions: Tensor, known: References, ys: Tensor) -> dict[str, list[float]]:
    """SimE of each layer with each anchor, and the ridge strength nearest to each layer."""
    found = {
        name: sim_e_by_prompt(predictions, anchor[None], ys)[:, 0].nanmean(-1).tolist()
        for name, anchor in known.anchors.items()
    }
    by_ridge = sim_e_by_prompt(predictions, known.ridges, ys).nanmean(-1)
    best = by_ridge.nan_to_num(-torch.inf).argmax(1)
    found["ridge"] = by_ridge[torch.arange(len(best)), best].tolist()
    found["best_ridge"] = [RIDGES[i] for i in best.tolist()]
    return found


@dataclass(frozen=True, eq=False)
class _Comparison:
    """All layers against all steps of one family, with bootstrap."""

    steps: tuple[int, ...]
    sim_e: Float[Tensor, "layer step"]
    resampled: Float[Tensor, "resample layer step"]
    chance: Float[Tensor, "layer step"]
    untrained: Float[Tensor, "layer step"]

    @classmethod
    def of(cls, predictions: Tensor, control: Tensor, family: Family, ys: Tensor, shares: Tensor) -> "_Comparison":
        by_prompt = sim_e_by_prompt(predictions, family.predictions, ys)
        there = ~by_prompt.isnan()
        summed = torch.einsum("rp,lsp->rls", shares, by_prompt.nan_to_num(0.0))
        counted = torch.einsum("rp,lsp->rls", shares, there.double())
        return cls(
            steps=family.steps,
            sim_e=by_prompt.nanmean(-1),
            resampled=summed / counted,
            chance=_shifted(predictions, family.predictions, ys),
            untrained=sim_e_by_prompt(control, family.predictions, ys).nanmean(-1),
        )

    @property
    def best(self) -> Tensor:
        """Index of the best step of each layer, the first if several."""
        return self.sim_e.nan_to_num(-torch.inf).argmax(1)

    def family(self, layer: int) -> FamilyAgreement:
        best = int(self.best[layer])
        steps = torch.tensor(self.steps, dtype=torch.float64)
        best_steps = steps[self.resampled[:, layer].nan_to_num(-torch.inf).argmax(-1)]
        ci, step_ci = interval(self.resampled[:, layer, best]), interval(best_steps)
        return FamilyAgreement(
            steps=self.steps,
            sim_e=tuple(self.sim_e[layer].tolist()),
            best_step=self.steps[best],
            best_sim_e=self.sim_e[layer, best].item(),
            ci=(ci.low, ci.high),
            best_step_ci=(step_ci.low, step_ci.high),
            chance=self.chance[layer, best].item(),
            untrained=self.untrained[layer, best].item(),
        )

    def trend(self, layers: list[LayerAgreement], name: str) -> Trend:
        """Trend of the best step over the informative layers, with the bootstrap interval of its rate."""
        kept = [la.layer for la in layers if la.at_anchor is None and la.families[name].best_step > 0]
        trend = fit_trend(kept, [layers[i].families[name].best_step for i in kept])
        if trend.shape == "none":
            return trend
        steps = np.asarray(self.steps)
        resampled = steps[self.resampled[:, kept].nan_to_num(-torch.inf).argmax(-1).numpy()]
        rates = rate_of_shape(trend.shape, kept, np.maximum(resampled, 1))
        ends = interval(torch.from_numpy(rates))
        return replace(trend, rate_ci=(ends.low, ends.high))


def _shifted(predictions: Tensor, references: Tensor, ys: Tensor) -> Float[Tensor, "layer step"]:
    """SimE where the algorithm ran on the next prompt: each keeps its own labels."""
    ours = residual_directions(predictions, ys)
    theirs = residual_directions(references, ys).roll(1, dims=1)
    return torch.einsum("lpt,spt->lsp", ours, theirs).nanmean(-1)
