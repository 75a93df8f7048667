"""Agreement at many checkpoints of one run as one table. Imports no torch."""

from collections.abc import Iterable, Mapping
from typing import Any

from workbench.runs import result_key

SCHEMA = "mesascope/over-training/1"
ANALYSIS = "over_training"

_SAME_FOR_ALL = (
    "task",
    "config",
    "n_prompts",
    "d_input",
    "n_context",
    "scored_positions",
    "conventions",
    "warnings",
    "reference_error",
)
"""What does not depend on the checkpoint: prompts are the same for all."""
_OF_LAYER = ("layer", "error", "anchors", "at_anchor")
_OF_FAMILY = ("best_step", "best_step_ci", "best_sim_e", "ci", "chance", "untrained")
_OF_VERDICT = ("algorithm", "abstained", "reason", "sentence", "equals", "advance")
_OF_RIDGE = ("strength", "ci", "bayes")


def row_of(record: Mapping[str, Any], weights: str | None = None, rules: int | None = None) -> dict[str, Any]:
    """What of an agreement record belongs in a table over training: all but grids of steps, filters and evidence.

    Args:
        record: As `workbench.analyses.agree` returns it.
        weights: Checksum of the checkpoint's weights.
        rules: Version of the rules behind the verdict.
    """
    normed = record["final_norm"]
    return {
        "checkpoint": record["checkpoint"],
        "weights": weights,
        "rules": rules,
        "model_error": record["model_error"],
        "nearest_ridge": _only(record["nearest_ridge"], _OF_RIDGE) if record.get("nearest_ridge") else None,
        **_reading(record),
        "final_norm": _reading(normed) if normed else None,
    }


def _reading(reading: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "layers": [
            {
                **_only(layer, _OF_LAYER),
                "families": {name: _only(found, _OF_FAMILY) for name, found in layer["families"].items()},
            }
            for layer in reading["layers"]
        ],
        "trend": reading["trend"],
        "verdict": {
            **_only(reading["verdict"], _OF_VERDICT),
            "nearest": next(iter(reading["verdict"].get("nearness", {})), None),
        },
    }


def _only(data: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: data[name] for name in names if name in data}


def table_of(record: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The table of some rows, by checkpoint.

    Args:
        record: The agreement record of any of the checkpoints, or such a table.
        rows: From `row_of`, one per checkpoint; of two the later counts.
    """
    by_step = {row["checkpoint"]: row for row in rows}
    return {
        "schema": SCHEMA,
        "run": record["run"],
        **_only(record, _SAME_FOR_ALL),
        "rows": [by_step[step] for step in sorted(by_step)],
    }


def kept_under(config: Mapping[str, Any]) -> str:
    """The key of a run's table of these settings: not of its weights, since rows outlive their checkpoints."""
    return result_key({"analysis": ANALYSIS, "schema": SCHEMA, "config": config})


def check_table(data: Mapping[str, Any]) -> None:
    """Refuse what is no table over training.

    Raises:
        ValueError: If its schema is another, or it has no rows, settings or task.
    """
    if data.get("schema") != SCHEMA:
        raise ValueError(f"it must have schema {SCHEMA!r}; got {data.get('schema')!r}")
    if not isinstance(data.get("config"), dict) or not isinstance(data.get("task"), dict):
        raise ValueError("it must name its settings and its task")
    rows = data.get("rows")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) and "checkpoint" in row for row in rows):
        raise ValueError("it must have rows, one per checkpoint")


def without_old_verdicts(table: Mapping[str, Any], rules: int) -> dict[str, Any]:
    """The table with null for verdicts of other rules than these: their checkpoints may be gone."""
    return {**table, "rows": [row if row["rules"] == rules else _without_verdict(row) for row in table["rows"]]}


def _without_verdict(row: Mapping[str, Any]) -> dict[str, Any]:
    normed = row["final_norm"]
    return {**row, "verdict": None, "final_norm": normed and {**normed, "verdict": None}}
