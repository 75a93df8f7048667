"""Heads over training: the record of every checkpoint, each measured once and kept."""

from collections.abc import Callable, Sequence
from typing import Any

from circuits.heads import HeadsConfig
from circuits.of_runs import heads
from workbench.errors import InputError
from workbench.opened import Run

SCHEMA = "mesascope/heads-over-training/1"


def heads_over_training(
    run: Run,
    config: HeadsConfig | None = None,
    steps: Sequence[int] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Head records of many checkpoints on the same prompts; what was interrupted goes on where it was.

    Args:
        run: The run.
        config: Settings; the defaults if None.
        steps: Checkpoints; all if None.
        tell: Told which checkpoint is at work.

    Raises:
        InputError: If there is no such checkpoint, the run is damaged, or its prompts are no token ids.
    """
    if steps is None:
        steps = run.folder.checkpoint_steps()
    steps = sorted({run.folder.resolve_step(step) for step in steps})
    if not steps:
        raise InputError(f"run {run.folder.name} must have a checkpoint; it has none yet.")

    def record_at(number: int, step: int) -> dict[str, Any]:
        return heads(
            run, config, step, lambda stage: tell(f"checkpoint {number} of {len(steps)}, step {step}: {stage}")
        )

    records = [record_at(number, step) for number, step in enumerate(steps, 1)]
    shared = {name: records[0][name] for name in ("model", "task", "config")}
    rows = [
        {
            "checkpoint": record["checkpoint"],
            **{name: record[name] for name in ("domains", "heads", "layers", "extreme")},
        }
        for record in records
    ]
    return {"schema": SCHEMA, **shared, "rows": rows}
