"""Probe studies of runs: computed once, kept in the run folder, read ever after."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from probes.config import ProbeConfig
from workbench.configs import no_nan, to_data
from workbench.opened import Run
from workbench.runs import result_key

if TYPE_CHECKING:
    from probes.record import ProbeScore

PROBES, SCHEMA = "probes", "mesascope/probe/1"
_CODE = 1
"""Raise when the same settings would give other numbers: kept results are then computed anew."""


def probe(
    run: Run,
    config: ProbeConfig | None = None,
    step: int | None = None,
    tell: Callable[[str], None] | None = None,
    control: Run | None = None,
) -> dict[str, Any]:
    """The probe study of a checkpoint, as the JSON output has it.

    Args:
        run: The run.
        config: Settings; the defaults if None.
        step: Checkpoint; the last one if None.
        tell: Told each stage as it starts; nothing for a kept result.
        control: A run of the same architecture trained on something else, such as one w for all prompts (Akyurek et
            al. 2023, appendix E); its last checkpoint is probed beside.

    Raises:
        InputError: As `probes.evaluate.evaluate`, or if a run has no such checkpoint or is damaged.
    """
    config = config or ProbeConfig()
    step = run.folder.resolve_step(step)
    key = result_key(
        {
            "analysis": PROBES,
            "code": _CODE,
            "schema": SCHEMA,
            "config": to_data(config),
            "weights": run.folder.weights_sha256(step),
            "control": None if control is None else control.folder.weights_sha256(),
        }
    )
    kept = run.folder.result(PROBES, key)
    if kept is not None:
        return {**kept, "run": run.folder.name}
    from probes.evaluate import Models, evaluate

    models = Models(run.model(step), run.untrained_model(), None if control is None else control.model())
    task = run.task()
    found = evaluate(models, task, config, tell)
    record = no_nan(
        {
            "schema": SCHEMA,
            "run": run.folder.name,
            "checkpoint": step,
            "control": None if control is None else control.folder.name,
            "task": {"name": task.name, "label": task.label, **to_data(task)},
            "config": to_data(config),
            "n_layers": models.trained.config.n_layers,
            "rows": [row(score) for score in found.scores],
            "poolings": to_data(found.poolings),
        }
    )
    run.folder.save_result(PROBES, key, record)
    return record


def kept_probes(run: Run, config: ProbeConfig | None = None) -> list[dict[str, Any]]:
    """Kept probe records of a run, by checkpoint; only those of the given settings unless None."""
    kept = [record for record in run.folder.results(PROBES) if record.get("schema") == SCHEMA]
    if config is not None:
        kept = [record for record in kept if record["config"] == to_data(config)]
    return sorted(kept, key=lambda record: record["checkpoint"])


def row(score: "ProbeScore") -> Mapping[str, Any]:
    """One row of the record: the score under the name of its measure, that of its controls behind it.

    The other measure is None: ``r2`` of a probe for classes, never 0.
    """
    measured = {"score": "", "ci": "_ci", "shuffled": "_shuffled", "shuffled_max": "_shuffled_max"}
    measured |= {"untrained": "_untrained", "embedding": "_embedding", "control": "_control"}
    values = {field.name: getattr(score, field.name) for field in dataclasses.fields(score)}
    told = {name: value for name, value in values.items() if name not in measured and name != "measure"}
    for measure in ("r2", "accuracy"):
        for name, suffix in measured.items():
            told[f"{measure}{suffix}"] = to_data(values[name]) if score.measure == measure else None
    return told
