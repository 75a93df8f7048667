"""Steering studies of runs: computed once, kept in the run folder, read ever after."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from probes.steering_config import SteeringConfig
from workbench.configs import no_nan, to_data
from workbench.opened import Run
from workbench.runs import result_key

if TYPE_CHECKING:
    from probes.steering_record import SteeringRow

STEERING, SCHEMA = "steering", "mesascope/steering/1"
_CODE = 1
"""Raise when the same settings would give other numbers: kept results are then computed anew."""


def steering(
    run: Run,
    config: SteeringConfig | None = None,
    step: int | None = None,
    tell: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """What a checkpoint predicts when decoded weights are replaced or erased, as the JSON output has it.

    Args:
        run: The run.
        config: Settings; the defaults if None.
        step: Checkpoint; the last one if None.
        tell: Told each stage as it starts; nothing for a kept result.

    Raises:
        InputError: As `probes.steering.steer`, or if a run has no such checkpoint or is damaged.
    """
    config = config or SteeringConfig()
    step = run.folder.resolve_step(step)
    weights = run.folder.weights_sha256(step)
    named = {"analysis": STEERING, "code": _CODE, "schema": SCHEMA, "config": to_data(config), "weights": weights}
    key = result_key(named)
    kept = run.folder.result(STEERING, key)
    if kept is not None:
        return {**kept, "run": run.folder.name}
    from probes.steering import steer

    task, model = run.task(), run.model(step)
    rows = steer(model, task, config, tell)
    record = no_nan(
        {
            "schema": SCHEMA,
            "run": run.folder.name,
            "checkpoint": step,
            "task": {"name": task.name, "label": task.label, **to_data(task)},
            "config": to_data(config),
            "n_layers": model.config.n_layers,
            "rows": [row(each) for each in rows],
        }
    )
    run.folder.save_result(STEERING, key, record)
    return record


def kept_steering(run: Run, config: SteeringConfig | None = None) -> list[dict[str, Any]]:
    """Kept records of a run, by checkpoint; only those of the given settings unless None."""
    kept = [record for record in run.folder.results(STEERING) if record.get("schema") == SCHEMA]
    if config is not None:
        kept = [record for record in kept if record["config"] == to_data(config)]
    return sorted(kept, key=lambda record: record["checkpoint"])


def row(found: "SteeringRow") -> dict[str, Any]:
    """One row of the record: the coefficients beside the rest of what steering found."""
    told = to_data(found)
    if told["steered"] is not None:
        told["steered"] = {**told["steered"].pop("followed"), **told["steered"]}
    return told
