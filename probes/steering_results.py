"""Steering studies of runs."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from probes.kept import Kind, find_or_make, kept_records
from probes.steering_config import SteeringConfig
from workbench.configs import to_data
from workbench.opened import Run

if TYPE_CHECKING:
    from probes.steering_record import SteeringRow

STEERING, SCHEMA = "steering", "mesascope/steering/1"
KIND = Kind(STEERING, SCHEMA, code=2)


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
    at = run.folder.resolve_step(step)

    def make() -> Mapping[str, Any]:
        from probes.steering import steer

        model = run.model(at)
        rows = steer(model, run.task(), config, tell, run.untrained_model())
        return {"n_layers": model.config.n_layers, "rows": [row(each) for each in rows]}

    return find_or_make(KIND, run, config, at, make)


def kept_steering(run: Run, config: SteeringConfig | None = None) -> list[dict[str, Any]]:
    """Kept records of a run, by checkpoint; only those of the given settings unless None."""
    return kept_records(KIND, run, config)


def row(found: "SteeringRow") -> dict[str, Any]:
    """One row of the record: the coefficients beside the rest of what steering found."""
    told = to_data(found)
    if told["steered"] is not None:
        told["steered"] = {**told["steered"].pop("followed"), **told["steered"]}
    return told
