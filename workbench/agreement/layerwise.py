"""The whole study: read out every layer, compare it with every step of every algorithm."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import baselines
from workbench.activations import query_streams
from workbench.agreement.compare import LayerPredictions, compare
from workbench.agreement.config import AgreementConfig
from workbench.agreement.nulls import relabelled
from workbench.agreement.output import nearest_ridge
from workbench.agreement.read_outs import NormalEquations, ReadOuts, fit, total
from workbench.agreement.record import NearestRidge, Reading
from workbench.agreement.references import References, references
from workbench.baselines import Prefixes
from workbench.batch import RegressionBatch
from workbench.errors import InputError
from workbench.metrics import error_by_context
from workbench.models.transformer import Transformer
from workbench.tasks import Task

_BATCH = 256
_RAW, _FINAL_NORM = "raw", "final_norm"


@dataclass(frozen=True, eq=False)
class Study:
    """What `study` finds.

    Attributes:
        scored_positions: First and last context position scored, 0-based.
        model_error: Squared error over d of the model's own output at every context position.
        reference_error: The same for reference predictors.
        nearest_ridge: Ridge of the strength that the model's own output is nearest to.
        raw: Layers read as they are.
        final_norm: Layers read through the model's final norm, or None if it has none.
        conventions: Options of each algorithm, as used.
        warnings: What to mind about them, such as a step size that diverges.
    """

    scored_positions: tuple[int, int]
    model_error: tuple[float, ...]
    reference_error: dict[str, tuple[float, ...]]
    nearest_ridge: NearestRidge
    raw: Reading
    final_norm: Reading | None
    conventions: dict[str, dict[str, object]]
    warnings: tuple[str, ...]


def study(
    model: Transformer,
    untrained: Transformer,
    task: Task,
    config: AgreementConfig,
    tell: Callable[[str], None] | None = None,
    others: Mapping[str, Transformer] | None = None,
) -> Study:
    """Compare every layer of a model with the reference algorithms.

    Read-outs are fitted on one set of prompts and scored on another. A model without causal mask is run on every
    prefix alone: n_context runs instead of one, most of them at lengths that training never showed.

    Args:
        model: The trained model.
        untrained: The same architecture before training: the control.
        task: Where the prompts come from.
        config: Settings.
        tell: Told each stage as it starts.
        others: Models of other tasks, as further controls, by what they are called; they must take these prompts.

    Raises:
        InputError: If the task is no regression, or the scored positions are not in the prompt.
    """
    batch = _regression_prompts(task, config.seed, "agreement", config.n_prompts)
    scored = _scored(batch, config)
    tell = tell or _tell_nobody
    if not model.plan.causal:
        tell("running every prefix alone, since the model has no causal mask; only the longest was trained")
    tell("running the reference algorithms at every prefix")
    known = references(batch, scored, task.bayes_ridge(), config)
    layers = _layers(_Models(model, untrained, others or {}), task, batch, known, config, tell)
    tell("comparing layers with algorithms, with bootstrap over prompts")
    readings = {
        name: compare(each, known, n_resamples=config.n_resamples, seed=config.seed) for name, each in layers.items()
    }
    ys, d, output = batch.ys.double(), batch.xs.shape[-1], _predict(model, batch)
    return Study(
        scored_positions=(scored.start, scored.stop - 1),
        model_error=tuple(error_by_context(output, ys, d).tolist()),
        reference_error=_reference_error(batch, task),
        nearest_ridge=nearest_ridge(output[:, scored], known, ys[:, scored], task.bayes_ridge(), config),
        raw=readings[_RAW],
        final_norm=readings.get(_FINAL_NORM),
        conventions=_conventions(known),
        warnings=tuple(family.warning for family in known.families.values() if family.warning),
    )


def _reference_error(batch: RegressionBatch, task: Task) -> dict[str, tuple[float, ...]]:
    """Squared error over d of reference predictors at every position."""
    prefixes = Prefixes.of(batch.xs, batch.ys)
    found = {name: baselines.predict(name, prefixes) for name in ("zero", "averaging", "ols")}
    if ridge := task.least_squares_ridge():
        found["ridge"] = baselines.predict("ridge", prefixes, ridge=ridge)
    d = batch.xs.shape[-1]
    return {name: tuple(error_by_context(each, prefixes.ys, d).tolist()) for name, each in found.items()}


def _conventions(known: References) -> dict[str, dict[str, object]]:
    """Options of each algorithm, as used."""
    found = {name: dict(family.options) for name, family in known.families.items()}
    return {**found, "gd_1": {"relative_step_size": known.one_step_size}}


@dataclass(frozen=True, eq=False)
class _Models:
    """The model in question and its controls."""

    trained: Transformer
    untrained: Transformer
    others: Mapping[str, Transformer]


def _layers(
    models: _Models,
    task: Task,
    batch: RegressionBatch,
    known: References,
    config: AgreementConfig,
    tell: Callable[[str], None],
) -> dict[str, LayerPredictions]:
    """What every layer predicts of the prompts, for each view, and the same of all controls."""
    tell("fitting and scoring the read-outs of every layer")
    read_outs = fit_read_outs(models.trained, task, config)
    trained = _read_layers(models.trained, read_outs, batch)
    asked = _read_layers(models.trained, read_outs, relabelled(batch).prompts(0, len(known.few.xs)))
    tell("doing the same with the untrained model")
    untrained = _read_layers(models.untrained, fit_read_outs(models.untrained, task, config), batch)
    others = {}
    for name, other in models.others.items():
        tell(f"doing the same with {name}")
        others[name] = _read_layers(other, fit_read_outs(other, task, config), batch)
    scored, ys, d = known.scored, batch.ys[:, known.scored].double(), batch.xs.shape[-1]
    return {
        view: LayerPredictions(
            said[..., scored],
            untrained[view][..., scored],
            read_outs[view].ridges,
            ys,
            d,
            asked[view][..., scored],
            {name: found.get(view, found[_RAW])[..., scored] for name, found in others.items()},
        )
        for view, said in trained.items()
    }


def _tell_nobody(stage: str) -> None:  # a listener that does not listen
    pass


def _regression_prompts(task: Task, seed: int, stream: str, n: int) -> RegressionBatch:
    batch = task.prompts(seed, stream, 0, n)
    if not isinstance(batch, RegressionBatch):
        raise InputError(f"agreement needs prompts of (x, y) examples; task {task.name!r} has tokens.")
    if batch.ys.ndim == 3:
        raise InputError(f"agreement needs labels that are numbers; those of task {task.name!r} are vectors.")
    return batch


def _scored(batch: RegressionBatch, config: AgreementConfig) -> slice:
    last = batch.n_context - 1 if config.last_position is None else config.last_position
    if config.first_position > last or last >= batch.n_context:
        raise InputError(
            f"scored positions must lie in 0..{batch.n_context - 1}; got {config.first_position}..{last}. "
            "Change first_position or last_position."
        )
    if last == 0:
        raise InputError("last_position must be at least 1; at position 0 no example has been seen. Raise it.")
    return slice(config.first_position, last + 1)


def _views(model: Transformer) -> dict[str, Callable[[Tensor], Tensor]]:
    """The ways to read a stream. They differ; the Hugging Face convention mixes them (normalised at the top only)."""
    views: dict[str, Callable[[Tensor], Tensor]] = {_RAW: lambda streams: streams}
    if model.config.norm != "none":
        views[_FINAL_NORM] = model.ln_final
    return views


@torch.no_grad()
def _read_layers(
    model: Transformer, read_outs: Mapping[str, ReadOuts], batch: RegressionBatch
) -> dict[str, Float[Tensor, "layer batch context"]]:
    """For each view, what every layer's read-out predicts."""
    parts: dict[str, list[Tensor]] = {name: [] for name in read_outs}
    for part in _parts(model, batch):
        streams = query_streams(model, part)
        for name, view in _views(model).items():
            parts[name].append(read_outs[name].predict(view(streams).cpu()))
    return {name: torch.cat(each, 1) for name, each in parts.items()}


@torch.no_grad()
def fit_read_outs(model: Transformer, task: Task, config: AgreementConfig) -> dict[str, ReadOuts]:
    """Read-outs of every layer for each view (``raw``, ``final_norm``), from prompts that nothing is scored on."""
    fitting = _regression_prompts(task, config.seed, "read-out", config.n_fit)
    n_train = 3 * config.n_fit // 4
    train = _normal_equations(model, fitting.prompts(0, n_train))
    validation = _normal_equations(model, fitting.prompts(n_train, config.n_fit))
    return {name: fit(train[name], validation[name]) for name in train}


def _normal_equations(model: Transformer, prompts: RegressionBatch) -> dict[str, NormalEquations]:
    """The sums of least squares over some prompts, for each view, in one pass through the model."""
    parts: dict[str, list[NormalEquations]] = {name: [] for name in _views(model)}
    for part in _parts(model, prompts):
        streams = query_streams(model, part)
        for name, view in _views(model).items():
            parts[name].append(NormalEquations.of(view(streams).cpu(), part.ys.cpu()))
    return {name: total(sums) for name, sums in parts.items()}


def _parts(model: Transformer, batch: RegressionBatch) -> list[RegressionBatch]:
    weight = model.unembed.weight
    starts = range(0, batch.n_batch, _BATCH)
    return [batch.prompts(i, min(i + _BATCH, batch.n_batch)).to(weight.device, weight.dtype) for i in starts]


def _predict(model: Transformer, batch: RegressionBatch) -> Float[Tensor, "batch context"]:
    return torch.cat([model.predict(part).double().cpu() for part in _parts(model, batch)])
