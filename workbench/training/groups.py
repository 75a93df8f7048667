"""Which runs are trained as one program, how many of them at most, and what becomes of the rest if one is at fault."""

import gc
import math
from collections.abc import Sequence
from typing import Any

from workbench.configs import is_count
from workbench.errors import InputError
from workbench.models.prompt import plan_of
from workbench.runs import RunFolder
from workbench.training.config import RunConfig
from workbench.training.loop import FINISHED, STOPPED, MemoryRanOut, Report, TrainingFailed, train_together
from workbench.training.memory import largest_group as most_in_memory
from workbench.training.replicas import program_key

_MOST_ON_CPU = 8
_NUMBERS_ON_CPU = 2**15
"""Where the residual stream of all models together is no larger, an update costs more in starting operations than in
doing them. Measured with 1 thread, alone over together: 8 models of 2048 numbers 2.6 to 3.8, 4 of 8192 1.5, 8 of 73728
(the demo) 1.0."""


def groups_of(runs: Sequence[RunFolder], configs: Sequence[RunConfig]) -> list[list[int]]:
    """The unfinished runs, by number, in groups that are trained as one program each.

    A group begins where the least of its runs stands, so that runs that stand elsewhere are kept apart, and so are
    those that have failed before, which may fail there again. The groups depend on the runs, and on an accelerator on
    its memory, never on how many groups are trained at a time.
    """
    alike: dict[object, list[int]] = {}
    for i, (run, config) in enumerate(zip(runs, configs, strict=True)):
        if not is_finished(run, config):
            key = program_key(config), run.status().state == "failed", threads_of(run, config)
            alike.setdefault(key, []).append(i)
    level = [part for same in alike.values() for part in _level(same, runs)]
    return [part for same in level for part in _parts(same, largest_group([configs[i] for i in same]))]


def _level(numbers: Sequence[int], runs: Sequence[RunFolder]) -> list[list[int]]:
    """Runs of one program, apart by their last checkpoints.

    Those one checkpoint behind stay with the others: a group that is killed while it saves leaves some of it there.
    """
    steps = {i: runs[i].checkpoint_steps() or [0] for i in numbers}
    at: dict[int, list[int]] = {}
    for i in numbers:
        at.setdefault(steps[i][-1], []).append(i)
    for last in sorted(at, reverse=True):
        ends = {tuple(steps[i][-2:]) for i in at[last]}
        before = ends.pop()[0]
        if not ends and before != last and before in at and steps[at[last][0]][-1] == last:
            at[before] = sorted([*at[before], *at.pop(last)])
    return list(at.values())


def is_finished(run: RunFolder, config: RunConfig) -> bool:
    """Whether nothing is left to train."""
    return run.status().state == FINISHED and config.train.n_steps in run.checkpoint_steps()


def threads_of(run: RunFolder, config: RunConfig) -> int:
    """CPU threads of a run among many: those that it was made for, else one."""
    noted: Any = run.env().get("n_threads")
    return noted if is_count(noted) else config.train.n_threads or 1


def largest_group(configs: Sequence[RunConfig]) -> int:
    """How many of these runs of one program are best trained as one."""
    config = configs[0]
    if config.train.device != "cpu":
        return max(1, most_in_memory(config))
    model = config.model
    n_positions = model.n_ctx or plan_of(model).n_positions(model.n_context or 1)
    numbers = config.train.n_batch * n_positions * model.d_model
    return max(1, min(_MOST_ON_CPU, _NUMBERS_ON_CPU // numbers))


def _parts(numbers: Sequence[int], most: int) -> list[list[int]]:
    """Consecutive parts of at most so many, of nearly one size."""
    n, n_parts = len(numbers), math.ceil(len(numbers) / most)
    return [list(numbers[i * n // n_parts : (i + 1) * n // n_parts]) for i in range(n_parts)]


def train_group(runs: Sequence[RunFolder], report: Report | None = None) -> list[str | Exception]:
    """``train_together`` without exceptions that one run alone is to blame for: the others are trained without it.

    Returns:
        For each run ``"finished"``, ``"stopped"``, or why it failed.
    """
    gc.collect()  # the program of the group before refers to itself, and holds its memory until then
    try:
        return train_together(runs, report)
    except (InputError, TrainingFailed) as error:
        failed = type(error)(*error.args)  # anew: the traceback of that one holds the program
    if len(runs) == 1 or not isinstance(failed, InputError | MemoryRanOut):  # a full disk: it is full for all
        return [failed] * len(runs)
    half = len(runs) // 2
    first = train_group(runs[:half], report)
    rest = runs[half:]
    return [*first, *([STOPPED] * len(rest) if STOPPED in first else train_group(rest, report))]
