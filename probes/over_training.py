"""Probes over training: the study of every checkpoint, each made once and kept."""

from collections.abc import Callable, Sequence
from typing import Any

from probes.config import ProbeConfig
from probes.results import probe
from workbench.errors import InputError
from workbench.opened import Run

SCHEMA = "mesascope/probes-over-training/1"
_SHARED = ("run", "task", "config", "control", "n_layers")


def probes_over_training(
    run: Run,
    config: ProbeConfig | None = None,
    steps: Sequence[int] | None = None,
    tell: Callable[[str], None] = lambda _: None,
    control: Run | None = None,
) -> dict[str, Any]:
    """Probe records of many checkpoints on the same prompts; what was interrupted goes on where it was.

    Args:
        run: The run.
        config: Settings; the defaults if None.
        steps: Checkpoints; all if None.
        tell: Told which checkpoint is at work.
        control: A run that is probed beside at its last checkpoint.

    Raises:
        InputError: As `probes.results.probe`, or if the run has no checkpoint.
    """
    if steps is None:
        steps = run.folder.checkpoint_steps()
    steps = sorted({run.folder.resolve_step(step) for step in steps})
    if not steps:
        raise InputError(f"run {run.folder.name} must have a checkpoint; it has none yet.")

    def record_at(number: int, step: int) -> dict[str, Any]:
        at = f"checkpoint {number} of {len(steps)}, step {step}"
        return probe(run, config, step, lambda stage: tell(f"{at}: {stage}"), control)

    records = [record_at(number, step) for number, step in enumerate(steps, 1)]
    shared = {name: records[0][name] for name in _SHARED}
    return {
        "schema": SCHEMA,
        **shared,
        "rows": [{"checkpoint": record["checkpoint"], **row} for record in records for row in record["rows"]],
    }
