"""Many runs at once: made, trained, and told of in one table or document."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workbench.cli.output import note, number, print_json, print_table, say, training_progress
from workbench.cli.train import FINISHED, INTERRUPTED, STOPPED, check_run, is_left, on_accelerator, outcome_of
from workbench.errors import InputError

if TYPE_CHECKING:
    from workbench.runs import RunFolder
    from workbench.training.config import RunConfig

_FAILED = "failed"


def create_runs(configs: Sequence["RunConfig"], name: str, root: str) -> list["RunFolder"]:
    """New run folders ``name-000``, ``name-001``, ..., after everything has been looked at that can be wrong.

    Raises:
        InputError: With what is wrong.
    """
    from workbench.environment import environment
    from workbench.run_names import new_run_path
    from workbench.runs import RunFolder, has_traces

    paths = [new_run_path(f"{name}-{i:03d}", root) for i in range(len(configs))]
    for path in paths:
        if has_traces(str(path)):
            raise InputError(f"run {path.name!r} exists already at {path}. Resume it, or choose another name.")
    _check(configs)
    n_threads = _threads(len(configs))
    return [
        RunFolder.create(path, config.to_data(), environment(config.train.seed, config.train.n_threads or n_threads))
        for path, config in zip(paths, configs, strict=True)
    ]


def _check(configs: Sequence["RunConfig"]) -> None:
    """Refuse configs that this machine cannot train; the first of each program tells for the others."""
    from workbench.training.checking import check_first_loss
    from workbench.training.replicas import program_key

    seen: set[str] = set()
    for config in configs:
        key = program_key(config)
        (check_first_loss if key in seen else check_run)(config)
        seen.add(key)


def _threads(n_runs: int) -> int:
    """CPU threads for each of so many runs: one, but for fewer runs than cores."""
    from workbench.training.many import n_cores

    return max(1, n_cores() // n_runs)


def report_many(folders: Sequence["RunFolder"], *, as_json: bool) -> int:
    """Train runs with one progress bar; print how each ended and return the exit status."""
    from workbench.training.config import run_config_from_data
    from workbench.training.many import train_many
    from workbench.training.varying import differing

    note(f"{len(folders)} runs: {folders[0].path} to {folders[-1].name}")
    n_whole = sum(not is_left(folder) for folder in folders)
    if n_whole:
        note(f"nothing is left to train in {n_whole} of them")
    with training_progress(f"{len(folders)} runs", tell_engine=any(map(on_accelerator, folders))) as show:
        states = train_many(folders, show)
    outcomes = [_outcome(folder, state) for folder, state in zip(folders, states, strict=True)]
    if as_json:
        print_json({"schema": "mesascope/train-many/1", "runs": outcomes})
    else:
        _print(outcomes, differing([run_config_from_data(folder.config()) for folder in folders]))
    ended = {each["state"] for each in outcomes}
    return INTERRUPTED if STOPPED in ended else int(_FAILED in ended)


def _outcome(folder: "RunFolder", state: str | Exception) -> Mapping[str, Any]:
    if isinstance(state, str):
        return {**outcome_of(folder, state), "error": None}
    return {**outcome_of(folder, _FAILED), "error": f"{type(state).__name__}: {' '.join(str(state).split())}"}


def _print(outcomes: Sequence[Mapping[str, Any]], varied: Mapping[str, Sequence[Any]]) -> None:
    """What came out, the failures by name on standard error, and what to do next."""
    measured = ["state", "step", "loss", "over least squares"]
    rows = [
        [
            *(each["run"], *(_shown(column[i]) for column in varied.values()), each["state"], str(each["step"] or 0)),
            *(number(each["loss"]), number(each["excess"])),
        ]
        for i, each in enumerate(outcomes)
    ]
    print_table(f"{len(outcomes)} runs", ["run", *varied, *measured], rows)
    counts = {state: sum(each["state"] == state for each in outcomes) for state in (FINISHED, STOPPED, _FAILED)}
    say(", ".join(f"{n} {state}" for state, n in counts.items() if n))
    for each in outcomes:
        if each["error"]:
            note(f"{each['run']} failed: {each['error']}")
    unfinished = [each["path"] for each in outcomes if each["state"] == STOPPED]
    if unfinished:
        say(f"next: mesascope train --resume {' '.join(unfinished)}")
    elif counts[FINISHED]:
        best = _best([each for each in outcomes if each["state"] == FINISHED])
        say(f"next: mesascope agree {best['path']}")


def _best(finished: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The run with the least loss over least squares: losses of other noise do not compare. By loss if one has none."""
    by = "loss" if any(each["excess"] is None for each in finished) else "excess"
    return min(finished, key=lambda each: math.inf if each[by] is None else each[by])


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
