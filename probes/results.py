"""Probe studies of runs."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from probes.config import ProbeConfig
from probes.kept import Kind, find_or_make, kept_records
from workbench.configs import to_data
from workbench.opened import Run

if TYPE_CHECKING:
    from probes.record import ProbeScore

PROBES, SCHEMA = "probes", "mesascope/probe/1"
KIND = Kind(PROBES, SCHEMA, code=3)


def probe(
    run: Run,
    config: ProbeConfig | None = None,
    step: int | None = None,
    tell: Callable[[str], None] | None = None,
    control: Run | None = None,
) -> dict[str, Any]:
    """The probe study of a checkpoint, as the JSON output has it: computed once, kept in the run folder.

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
    at = run.folder.resolve_step(step)

    def make() -> Mapping[str, Any]:
        from probes.evaluate import Models, evaluate

        models = Models(run.model(at), run.untrained_model(), None if control is None else control.model())
        found = evaluate(models, run.task(), config, tell)
        return {
            "control": None if control is None else control.folder.name,
            "n_layers": models.trained.config.n_layers,
            "rows": [row(score) for score in found.scores],
            "poolings": to_data(found.poolings),
        }

    weights = None if control is None else control.folder.weights_sha256()
    return find_or_make(KIND, run, config, at, make, control=weights)


def kept_probes(run: Run, config: ProbeConfig | None = None) -> list[dict[str, Any]]:
    """Kept probe records of a run, by checkpoint; only those of the given settings unless None."""
    return kept_records(KIND, run, config)


def row(score: "ProbeScore") -> Mapping[str, Any]:
    """One row of the record: the score under the name of its measure, that of its controls behind it.

    The other measure is None: ``r2`` of a probe for classes, never 0.
    """
    measured = {"score": "", "ci": "_ci", "shuffled": "_shuffled", "shuffled_max": "_shuffled_max"}
    measured |= {"untrained": "_untrained", "embedding": "_embedding", "control": "_control"}
    measured |= {"control_task": "_control_task"}
    values = {field.name: getattr(score, field.name) for field in dataclasses.fields(score)}
    told = {name: value for name, value in values.items() if name not in measured and name != "measure"}
    for measure in ("r2", "accuracy"):
        for name, suffix in measured.items():
            told[f"{measure}{suffix}"] = to_data(values[name]) if score.measure == measure else None
    return told
