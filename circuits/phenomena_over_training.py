"""Sink, value drain and residual peak over the checkpoints of a run, with slopes on stated windows."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from circuits.phenomena import phenomena
from workbench.configs import is_count, no_nan, to_data
from workbench.errors import InputError, must, refuse_faults
from workbench.opened import Run
from workbench.runs import result_key
from workbench.tasks import BigramBackcopy

ANALYSIS, SCHEMA = "phenomena", "mesascope/phenomena/1"
_CODE = 1
WINDOWS = {"early": (0.02, 0.1), "late": (0.1, 1.0), "linear": (0.2, 1.0)}
"""Parts of all updates for slopes: of Guo et al.'s 10 000, 200 to 1000, 1000 to 10 000 and 2000 to 10 000."""


@dataclass(frozen=True)
class PhenomenaConfig:
    """On which prompts."""

    n_prompts: int = 128
    """Prompts of every checkpoint."""
    n_batch: int = 32
    """Prompts run at a time."""
    seed: int = 0
    """Of the prompts."""

    def __post_init__(self) -> None:
        least = {"n_prompts": 2, "n_batch": 1, "seed": 0}
        values = {name: getattr(self, name) for name in least}
        refuse_faults(
            must(name, f"be a whole number of at least {n}", values[name], is_count(values[name], n))
            for name, n in least.items()
        )


def over_training(
    run: Run, config: PhenomenaConfig | None = None, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """The phenomena at every checkpoint of a run, kept in the run: ``rows`` by step, ``fits`` of slopes.

    The last row also has the risks with each layer's attention zeroed.

    Args:
        run: Of task ``bigram_backcopy``.
        config: Settings; the defaults if None.
        tell: Told what is read; nothing for a kept result.

    Raises:
        InputError: If the run is of another task, has no checkpoint, or is damaged.
    """
    config, task = config or PhenomenaConfig(), run.task()
    if not isinstance(task, BigramBackcopy):
        raise InputError(f"sinks needs a run of task 'bigram_backcopy'; {run.folder.name!r} is of {task.name!r}.")
    steps = run.folder.checkpoint_steps()
    if not steps:
        raise InputError(f"run {run.folder.name!r} must have a checkpoint; it has none. Train it first.")
    weights = [run.folder.weights_sha256(step) for step in steps]
    key = result_key({"analysis": ANALYSIS, "code": _CODE, "config": to_data(config), "weights": weights})
    kept = run.folder.result(ANALYSIS, key)
    if kept is not None:
        return {**kept, "run": run.folder.name}
    tell(f"reading {len(steps)} checkpoints")
    rows = [
        {"step": step, **phenomena(run.model(step), task, **to_data(config), silence=step == steps[-1])}
        for step in steps
    ]
    record = no_nan(
        {
            "schema": SCHEMA,
            "run": run.folder.name,
            "n_steps": run.config.train.n_steps,
            "config": to_data(config),
            "rows": rows,
            "fits": fits(rows, run.config.train.n_steps),
        }
    )
    run.folder.save_result(ANALYSIS, key, record)
    return record


def fits(rows: Sequence[Mapping[str, Any]], n_steps: int) -> list[dict[str, Any]]:
    """Slopes by layer, of its first head: sink logit and log value norm on log time, stream norm on 1000 updates.

    Args:
        rows: Of checkpoints, by step.
        n_steps: Updates of the whole training, of which the windows are parts.
    """
    found = []
    for layer in range(len(rows[0]["layers"])):
        heads = [next(head for head in row["heads"] if head["layer"] == layer) for row in rows]
        series = {
            "logit": ("log", [head["logit"]["mean"] for head in heads], ("early", "late")),
            "log_value_norm": ("log", [_log(head["value_norm"]) for head in heads], ("early", "late")),
            "norm": ("linear", [row["layers"][layer]["norm"] for row in rows], ("linear",)),
        }
        for quantity, (axis, values, windows) in series.items():
            for window in windows:
                low, high = (part * n_steps for part in WINDOWS[window])
                points = [
                    (row["step"], value)
                    for row, value in zip(rows, values, strict=True)
                    if low <= row["step"] <= high and row["step"] > 0 and value is not None and math.isfinite(value)
                ]
                told = {"layer": layer, "quantity": quantity, "axis": axis, "from_step": low, "to_step": high}
                found.append({**told, **line(points, log=axis == "log")})
    return found


def _log(value: float) -> float:
    return math.log(value) if value > 0 else math.nan


def line(points: Sequence[tuple[int | float, float]], *, log: bool) -> dict[str, Any]:
    """Least squares of values on the logarithm of steps, or on thousands of steps: slope, R², number of points.

    Args:
        points: Steps and values; below three, or all at one step, there is no slope.
        log: Which.
    """
    steps, values = np.array(points, dtype=float).reshape(-1, 2).T
    x = np.log(steps) if log else steps / 1000
    if len(x) < 3 or np.ptp(x) == 0:
        return {"slope": None, "r2": None, "n": len(x)}
    slope, start = np.polyfit(x, values, 1)
    left = ((values - slope * x - start) ** 2).sum()
    spread = ((values - values.mean()) ** 2).sum()
    return {"slope": float(slope), "r2": float(1 - left / spread) if spread > 0 else None, "n": len(x)}
