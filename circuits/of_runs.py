"""Head records of runs: measured once, kept in the run folder, read ever after."""

from collections.abc import Callable
from typing import Any

from circuits.heads import HeadsConfig, measure_heads
from workbench.configs import no_nan, to_data
from workbench.errors import InputError
from workbench.opened import Run
from workbench.runs import result_key

SCHEMA = "mesascope/heads/1"
_ANALYSIS = "heads"
_CODE = 1
"""Raise when the same settings would give other numbers: kept results are then computed anew."""


def heads(
    run: Run, config: HeadsConfig | None = None, step: int | None = None, tell: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """The head record of a checkpoint of a run on a token task, as the JSON output has it.

    Args:
        run: The run.
        config: Settings; the defaults if None.
        step: Checkpoint; the last one if None.
        tell: Told each stage as it starts; nothing for a kept result.

    Raises:
        InputError: If the run has no such checkpoint, is damaged, or its prompts are no token ids.
    """
    from workbench.tasks import TokenTask

    config = config or HeadsConfig()
    task = run.task()
    if not isinstance(task, TokenTask) or run.config.model.input != "tokens":
        raise InputError(f"heads needs prompts of token ids; those of task {task.name!r} are vectors.")
    step = run.folder.resolve_step(step)
    key = result_key(
        {
            "analysis": _ANALYSIS,
            "code": _CODE,
            "schema": SCHEMA,
            "config": to_data(config),
            "weights": run.folder.weights_sha256(step),
        }
    )
    kept = run.folder.result(_ANALYSIS, key)
    if kept is not None:
        return {**kept, "model": run.folder.name}
    from circuits.folding import fold

    model = run.model(step)
    device = model.unembed.weight.device
    domains = {name: batch.to(device) for name, batch in task.domains(config.seed, config.n_prompts).items()}
    found = measure_heads(
        model,
        domains,
        task.ordinary_tokens(),
        task.first_token(),
        config,
        weights=fold(model),
        tell=tell or (lambda _: None),
    )
    head = {
        "schema": SCHEMA,
        "model": run.folder.name,
        "checkpoint": step,
        "task": {"name": task.name, "label": task.label, **to_data(task)},
        "config": to_data(config),
    }
    record = no_nan({**head, **found})
    run.folder.save_result(_ANALYSIS, key, record)
    return record
