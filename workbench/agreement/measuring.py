"""Every layer of a model against any algorithms, by every measure, in every region of context positions."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import baselines
from workbench.agreement.induced import Induced, induced_weights, local_weights, prompts_with_queries
from workbench.agreement.influence import model_influence
from workbench.agreement.measured import (
    Algorithm,
    LayerMeasures,
    Linearity,
    MeasureConfig,
    MeasureTable,
)
from workbench.agreement.measures import MEASURES, NEEDS, Measure, Needs, Scene
from workbench.agreement.read_outs import ReadOuts
from workbench.agreement.readers import LayerReader, said_of_all
from workbench.agreement.regions import Region, regions
from workbench.agreement.scores import PromptScores, Summary
from workbench.baselines import BASELINES, Prefixes
from workbench.batch import RegressionBatch
from workbench.errors import InputError, must, refuse_faults
from workbench.models.transformer import Transformer
from workbench.registry import find
from workbench.tasks import Task

_STAGES: dict[Needs, str] = {
    "predictions": "asking every layer for its predictions",
    "weights": "asking every layer fresh queries at every prefix",
    "sensitivity": "differentiating every layer with respect to the query",
    "influence": "following the influence of every label",
}


def measure_layers(
    model: Transformer,
    task: Task,
    read_outs: ReadOuts | None,
    algorithms: Sequence[Algorithm],
    config: MeasureConfig | None = None,
    *,
    final_norm: bool = False,
    measures: Sequence[str] = tuple(MEASURES),
    tell: Callable[[str], None] | None = None,
) -> LayerMeasures:
    """Measure how every layer and the output compare with some algorithms.

    Args:
        model: The model.
        task: Where prompts and fresh queries come from.
        read_outs: Read-outs of its layers, from `fit_read_outs`; None measures the output alone.
        algorithms: What to compare with.
        config: Settings; the defaults if None.
        final_norm: Whether the read-outs read the streams through the final norm.
        measures: Names from ``MEASURES``; what only others need is not computed.
        tell: Told each stage as it starts.

    Raises:
        InputError: If a name or option is unknown, the task has no (x, y) examples, or its prompts no such positions.
    """
    config = config or MeasureConfig()
    check_algorithms(algorithms)
    wanted = [find(MEASURES, name, "measure") for name in measures]
    batch, queries = prompts_with_queries(task, config.seed, "measures", config.n_prompts, config.n_query)
    n_context, d = batch.xs.shape[1:]
    ranges = regions(n_context, d, first=config.first_position, last=config.last_position, near=config.near)
    read = LayerReader(model, read_outs, final_norm)
    tables: list[MeasureTable] = []
    linearity: tuple[Linearity, ...] = ()
    counts: dict[str, int] = {}
    needed: list[Needs] = [need for need in NEEDS if any(measure.needs == need for measure in wanted)]
    for need in needed:
        if tell is not None:
            tell(_STAGES[need])
        counts[need] = config.n_prompts if need == "predictions" else config.n_probe_prompts
        prompts = batch.prompts(0, counts[need])
        if need == "weights":
            found = _induced(read, prompts, queries[: counts[need]])
            linearity = tuple(_linearity(found.linearity, region, config) for region in ranges)
            of_rows = found.weights
        else:
            of_rows = _of_rows(need, read, prompts)
        own = [measure for measure in wanted if measure.needs == need]
        tables += _tables(own, ranges, of_rows, _of_algorithms(need, prompts, algorithms), prompts, config)
    return LayerMeasures(
        rows=read.names,
        final_norm=final_norm,
        algorithms=tuple(algorithms),
        regions=ranges,
        tables=tuple(tables),
        linearity=linearity,
        n_prompts=counts,
        n_query=queries.shape[1],
        config=config,
    )


def check_algorithms(algorithms: Sequence[Algorithm]) -> None:
    """Refuse what is no algorithm with its step.

    Raises:
        InputError: If there is none, a name is unknown, or a step is missing or out of place.
    """
    if not algorithms:
        raise InputError("algorithms must hold at least one; got none.")
    refuse_faults(
        must(
            f"step of {each.name!r}",
            f"{'be' if iterates else 'not be'} given",
            each.step,
            (each.step is not None) == iterates,
        )
        for each in algorithms
        for iterates in [find(BASELINES, each.name, "algorithm").iterative]
    )


def _induced(read: LayerReader, batch: RegressionBatch, queries: Tensor) -> Induced:
    weight = read.model.unembed.weight
    return induced_weights(read, read.suited(batch), queries.to(weight.device, weight.dtype))


def _of_rows(need: Needs, read: LayerReader, batch: RegressionBatch) -> Float[Tensor, "row batch context *coordinate"]:
    """What a measure needs of every layer and the output."""
    own = read.suited(batch)
    if need == "predictions":
        return said_of_all(read, own)
    if need == "influence":
        return model_influence(read, own)
    return local_weights(read, own, own.xs[:, :, None])[..., 0, :].cpu()


def _of_algorithms(
    need: Needs, batch: RegressionBatch, algorithms: Sequence[Algorithm]
) -> Float[Tensor, "algorithm batch context *coordinate"]:
    """What a measure needs of every algorithm, those of one name and options together."""
    prefixes = Prefixes.of(batch.xs, batch.ys)
    groups: dict[tuple[str, str], list[int]] = {}
    for index, algorithm in enumerate(algorithms):
        groups.setdefault((algorithm.name, repr(sorted(algorithm.options.items()))), []).append(index)
    found: dict[int, Tensor] = {}
    for (name, _), indices in groups.items():
        options = dict(algorithms[indices[0]].options)
        if BASELINES[name].iterative:
            steps = [algorithms[index].step for index in indices]
            found |= dict(zip(indices, _of_algorithm(need, name, prefixes, steps, options)))
        else:
            found |= dict.fromkeys(indices, _of_algorithm(need, name, prefixes, None, options))
    return torch.stack([found[index] for index in range(len(algorithms))])


def _of_algorithm(need: Needs, name: str, prefixes: Prefixes, steps: Any, options: dict[str, Any]) -> Tensor:
    if need == "predictions":
        return baselines.predict(name, prefixes, steps=steps, **options)
    if need == "influence":
        return baselines.influence(name, prefixes, steps, **options)
    weights = baselines.weights(name, prefixes, steps=steps, **options)
    if need == "sensitivity" and not BASELINES[name].linear_in_query:
        return torch.full_like(weights, torch.nan)  # its weights are a fit over queries, not the gradient at one
    return weights


def _tables(
    measures: Sequence[Measure],
    ranges: Sequence[Region],
    of_rows: Tensor,
    of_algorithms: Tensor,
    batch: RegressionBatch,
    config: MeasureConfig,
) -> list[MeasureTable]:
    """Every measure of one kind in every region."""
    return [_table(measure, region, of_rows, of_algorithms, batch, config) for measure in measures for region in ranges]


def _table(
    measure: Measure,
    region: Region,
    of_rows: Tensor,
    of_algorithms: Tensor,
    batch: RegressionBatch,
    config: MeasureConfig,
) -> MeasureTable:
    at = region.positions
    scene = Scene(batch.ys[:, at].double(), batch.xs.double())
    references = of_algorithms[:, :, at]
    by_row = [
        measure.score(row[None, :, at], references, scene).summary(config.n_resamples, config.seed) for row in of_rows
    ]
    told = {f.name: tuple(tuple(getattr(summary, f.name).tolist()) for summary in by_row) for f in fields(Summary)}
    return MeasureTable(measure=measure.name, region=region.name, **told)


def _linearity(r2: Float[Tensor, "row batch context"], region: Region, config: MeasureConfig) -> Linearity:
    told = PromptScores.of(r2[:, :, region.positions]).summary(config.n_resamples, config.seed)
    names = [f.name for f in fields(Linearity) if f.name != "region"]
    return Linearity(region=region.name, **{name: tuple(getattr(told, name).tolist()) for name in names})
