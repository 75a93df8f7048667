"""Studies of runs: computed once, kept in the run folder, read ever after."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.configs import no_nan, to_data
from workbench.opened import Run
from workbench.runs import result_key


@dataclass(frozen=True)
class Kind:
    """One kind of study.

    Attributes:
        name: Folder of its records.
        schema: Schema of its records.
        code: Raise when the same settings would give other numbers: kept results are then computed anew.
    """

    name: str
    schema: str
    code: int


def find_or_make(
    kind: Kind, run: Run, config: Any, step: int, make: Callable[[], Mapping[str, Any]], **beside: Any
) -> dict[str, Any]:
    """The record of a checkpoint as the JSON output has it: the kept one, or what is made now.

    Args:
        kind: What kind of study.
        run: The run.
        config: Settings.
        step: Checkpoint.
        make: What the record holds besides the run, its task and the settings; called if nothing is kept.
        beside: What else it depends on.

    Raises:
        InputError: As ``make``, or if the run is damaged.
    """
    named = {"analysis": kind.name, "code": kind.code, "schema": kind.schema, "config": to_data(config)}
    key = result_key({**named, "weights": run.folder.weights_sha256(step), **beside})
    kept = run.folder.result(kind.name, key)
    if kept is not None:
        return {**kept, "run": run.folder.name}
    task = run.task()
    head = {
        "schema": kind.schema,
        "run": run.folder.name,
        "checkpoint": step,
        "task": {"name": task.name, "label": task.label, **to_data(task)},
        "config": to_data(config),
    }
    record = no_nan({**head, **make()})
    run.folder.save_result(kind.name, key, record)
    return record


def kept_records(kind: Kind, run: Run, config: Any = None) -> list[dict[str, Any]]:
    """Kept records of a run, by checkpoint; only those of the given settings unless None."""
    kept = [record for record in run.folder.results(kind.name) if record.get("schema") == kind.schema]
    if config is not None:
        kept = [record for record in kept if record["config"] == to_data(config)]
    return sorted(kept, key=lambda record: record["checkpoint"])
