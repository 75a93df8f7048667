"""Analyses on runs: computed once, kept in the run folder, read ever after."""

from collections.abc import Callable
from typing import Any

from workbench.agreement.config import AgreementConfig
from workbench.agreement.record import SCHEMA as AGREEMENT_SCHEMA
from workbench.configs import no_nan, to_data
from workbench.opened import Run
from workbench.runs import result_key

AGREEMENT = "agreement"
_AGREEMENT_CODE = 2
"""Raise when the same settings would give other numbers: kept results are then computed anew."""


def agree(
    run: Run,
    config: AgreementConfig | None = None,
    step: int | None = None,
    tell: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """The layer-by-layer agreement of a checkpoint with the reference algorithms, as the JSON output has it.

    Args:
        run: The run.
        config: Settings; the defaults if None.
        step: Checkpoint; the last one if None.
        tell: Told each stage as it starts; nothing for a kept result, nor for wrong input.

    Raises:
        InputError: If the run has no such checkpoint, is damaged, or its task is no regression.
    """
    config = config or AgreementConfig()
    step = run.folder.resolve_step(step)
    key = result_key(
        {
            "analysis": AGREEMENT,
            "code": _AGREEMENT_CODE,
            "schema": AGREEMENT_SCHEMA,
            "config": to_data(config),
            "weights": run.folder.weights_sha256(step),
        }
    )
    kept = run.folder.result(AGREEMENT, key)
    if kept is not None:
        return {**kept, "run": run.folder.name}
    record = no_nan(_agreement_record(run, config, step, tell))
    run.folder.save_result(AGREEMENT, key, record)
    return record


def _agreement_record(
    run: Run, config: AgreementConfig, step: int, tell: Callable[[str], None] | None
) -> dict[str, Any]:
    from workbench.agreement.layerwise import study

    task = run.task()
    found = study(run.model(step), run.untrained_model(), task, config, tell)
    raw, normed = to_data(found.raw), to_data(found.final_norm)
    shape = task.model_shape()
    return {
        "schema": AGREEMENT_SCHEMA,
        "run": run.folder.name,
        "checkpoint": step,
        "task": {"name": task.name, "label": task.label, **to_data(task)},
        "config": to_data(config),
        "n_prompts": config.n_prompts,
        "d_input": shape["d_input"],
        "n_context": shape["n_context"],
        "scored_positions": list(found.scored_positions),
        "conventions": found.conventions,
        "model_error": list(found.model_error),
        "reference_error": to_data(found.reference_error),
        "layers": raw["layers"],
        "trend": raw["trend"],
        "verdict": raw["verdict"],
        "final_norm": normed,
    }


def agreements(run: Run, config: AgreementConfig | None = None) -> list[dict[str, Any]]:
    """Kept agreement records of a run, by checkpoint; only those of the given settings unless None."""
    kept = [r for r in run.folder.results(AGREEMENT) if r.get("schema") == AGREEMENT_SCHEMA]
    if config is not None:
        kept = [r for r in kept if r["config"] == to_data(config)]
    return sorted(kept, key=lambda r: r["checkpoint"])
