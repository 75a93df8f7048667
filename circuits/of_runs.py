"""Head records of runs: measured once, kept in the run folder, read ever after."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from circuits.heads import HeadsConfig, measure_heads
from circuits.prompt_patterns import PromptPatterns, chosen_prompts, with_patterns
from workbench.configs import no_nan, to_data
from workbench.errors import InputError
from workbench.opened import Run
from workbench.runs import result_key

if TYPE_CHECKING:
    from workbench.tasks import TokenTask

SCHEMA = "mesascope/heads/1"
ANALYSIS = "heads"
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
    config = config or HeadsConfig()
    task = _token_task(run)
    step = run.folder.resolve_step(step)
    key = result_key(
        {
            "analysis": ANALYSIS,
            "code": _CODE,
            "schema": SCHEMA,
            "config": to_data(config),
            "weights": run.folder.weights_sha256(step),
        }
    )
    kept = run.folder.result(ANALYSIS, key)
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
    run.folder.save_result(ANALYSIS, key, record)
    return record


def settings_of(record: Mapping[str, Any]) -> HeadsConfig:
    """Which prompts a record was measured on, as settings; all others are the defaults.

    Args:
        record: A head record.
    """
    told = record["config"]
    return HeadsConfig(n_prompts=told["n_prompts"], n_block=told["n_block"], seed=told["seed"])


def prompt_patterns(
    run: Run, step: int | None = None, prompt: int = 0, config: HeadsConfig | None = None
) -> list[PromptPatterns]:
    """What all heads of a checkpoint attend to on a few of the prompts that the record was measured on.

    Args:
        run: The run.
        step: Checkpoint; the last one if None.
        prompt: Number of the first prompt, from 0; wraps around behind the last.
        config: That of the record; the defaults if None.

    Raises:
        InputError: If the run has no such checkpoint, is damaged, or its prompts are no token ids.
    """
    config = config or HeadsConfig()
    task = _token_task(run)
    model = run.model(step)
    domains = task.domains(config.seed, config.n_prompts)
    chosen = chosen_prompts(domains, task.ordinary_tokens(), task.first_token(), config, prompt % config.n_prompts)
    return [with_patterns(model, each) for each in chosen]


def _token_task(run: Run) -> "TokenTask":
    from workbench.tasks import TokenTask

    task = run.task()
    if not isinstance(task, TokenTask) or run.config.model.input != "tokens":
        raise InputError(f"heads needs prompts of token ids; those of task {task.name!r} are vectors.")
    return task
