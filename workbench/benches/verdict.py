"""How often the verdict is right: planted layer sequences, constructed transformers and controls, in two halves."""

import math
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import Literal

import torch

from workbench.agreement.nulls import Nulls
from workbench.agreement.sight import Sight
from workbench.agreement.verdict import weigh
from workbench.analyses import AGREEMENT_CODE
from workbench.benches.planted import N_PROMPTS, TASKS, Case, Prompts, planted
from workbench.benches.planted_constructions import constructions
from workbench.benches.planted_controls import by_heart, controls
from workbench.benches.planted_kin import KIN
from workbench.benches.planted_transformers import Read, constructed, stranger, untrained
from workbench.benches.record import Bench, Findings, Sheet
from workbench.configs import to_data
from workbench.linalg import cpu_threads
from workbench.metrics import bootstrap_weights

Half = Literal["tuning", "held_out"]
Draw = tuple[int, int]
HALVES: dict[Half, tuple[int, ...]] = {"tuning": (1,), "held_out": (51, 52)}
"""Seeds of each half, each a draw of all cases. Rules and thresholds were set while looking at the first half, and at
draws that are not judged any more: 31, 32, 41, 42."""
CONSTRUCTED = (61, 62)
"""Seeds of the constructed transformers, each a draw of all; no rule was set while looking at them."""
ABSTAINS = "abstains"
_KIN = tuple(dict.fromkeys(truth for truth, _, _ in KIN))
_N_RESAMPLES = 300
_Z = 1.96


@dataclass(frozen=True)
class Judged:
    """One case and what was said of it.

    Attributes:
        kind: What was planted.
        task: Of which prompts.
        truth: What should be said, or ``ABSTAINS``.
        verdict: What was said, or ``ABSTAINS``; of planted momentum, the nearest member of the class that was named.
        sentence: In words.
        kin: Methods of gradients of which it was said that they cannot be told from it.
    """

    kind: str
    task: str
    truth: str
    verdict: str
    sentence: str
    kin: tuple[str, ...] = ()

    @property
    def right(self) -> bool:
        """Whether it was what should be."""
        return self.truth == self.verdict


@dataclass(frozen=True)
class Confusion:
    """All cases of one half.

    Attributes:
        truths: What should be said, by row.
        verdicts: What was said, by column.
        counts: Number of cases.
        n_planted: Cases in which an algorithm was planted.
        right: Share of them that were named right.
        right_ci: Its 95% interval (Wilson).
        n_controls: Cases in which none was.
        abstained: Share of them without verdict.
        abstained_ci: Its 95% interval (Wilson).
        wrong: The cases that went wrong.
    """

    truths: tuple[str, ...]
    verdicts: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    n_planted: int
    right: float
    right_ci: tuple[float, float]
    n_controls: int
    abstained: float
    abstained_ci: tuple[float, float]
    wrong: tuple[Judged, ...]

    @classmethod
    def of(cls, judged: Sequence[Judged]) -> "Confusion":
        """The counts over cases."""
        truths = _ordered({each.truth for each in judged})
        verdicts = _ordered({each.verdict for each in judged} | set(truths))
        counts = Counter((each.truth, each.verdict) for each in judged)
        there = [each.right for each in judged if each.truth != ABSTAINS]
        none = [each.right for each in judged if each.truth == ABSTAINS]
        return cls(
            truths=truths,
            verdicts=verdicts,
            counts=tuple(tuple(counts[truth, verdict] for verdict in verdicts) for truth in truths),
            n_planted=len(there),
            right=_share(there),
            right_ci=wilson(sum(there), len(there)),
            n_controls=len(none),
            abstained=_share(none),
            abstained_ci=wilson(sum(none), len(none)),
            wrong=tuple(each for each in judged if not each.right),
        )


def _ordered(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda name: (name == ABSTAINS, name)))


def _share(right: Sequence[bool]) -> float:
    return sum(right) / len(right) if right else math.nan


def wilson(n_right: int, n: int) -> tuple[float, float]:
    """The 95% interval of a share; NaN without cases.

    Source:
        Wilson 1927, J. Am. Stat. Assoc. 22, 209.
    """
    if n == 0:
        return math.nan, math.nan
    share, square = n_right / n, _Z**2 / n
    middle = (share + square / 2) / (1 + square)
    half = _Z * math.sqrt(share * (1 - share) / n + square / (4 * n)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def judge(seed: int, index: int) -> list[Judged]:
    """All cases of one draw on the prompts of one task, and its control whose prompts all have the same w.

    Args:
        seed: Of the draw.
        index: Which of ``TASKS``.
    """
    task, seed = TASKS[index], 100 * seed + index
    with cpu_threads(1):
        prompts = Prompts.of(task, seed)
        cases = [*planted(prompts, seed), *planted(prompts, seed + 50, KIN), *controls(prompts, seed)]
        cases += _transformers(prompts, seed)
        own, memorised = by_heart(task, seed)
        return [*(judged(case, prompts) for case in cases), judged(memorised, own)]


def judge_constructed(seed: int, index: int) -> list[Judged]:
    """Every constructed transformer on the prompts of one task.

    Args:
        seed: Of the draw.
        index: Which of ``TASKS``.
    """
    task, seed = TASKS[index], 100 * seed + index
    with cpu_threads(1):
        prompts = Prompts.of(task, seed)
        return [judged(case, prompts) for case in _cases(constructions(prompts, seed), prompts)]


def _transformers(prompts: Prompts, seed: int) -> list[Case]:
    made = [build(prompts.task, prompts.batch, seed) for build in (constructed, untrained, stranger)]
    return _cases(made, prompts)


def _cases(made: Iterable[Read], prompts: Prompts) -> list[Case]:
    scored = prompts.scored
    return [
        Case(
            each.kind,
            each.truth,
            each.layers[..., scored],
            each.relabelled[..., scored],
            {name: layers[..., scored] for name, layers in each.strangers.items()},
        )
        for each in made
    ]


def judged(case: Case, prompts: Prompts) -> Judged:
    """A case with what the verdict says of it, its nulls at hand."""
    shares = bootstrap_weights(N_PROMPTS, _N_RESAMPLES, torch.Generator().manual_seed(prompts.task.n_context))
    sight = Sight(case.layers, prompts.known, prompts.labels, shares, prompts.foils)
    asked = None if case.relabelled is None else replace(sight, layers=case.relabelled)
    others = {name: replace(sight, layers=layers) for name, layers in case.strangers.items()}
    found, task = weigh(sight, Nulls(relabelled=asked, others=others)), prompts.task
    told = f"d={task.d_input}, n={task.n_context}, {task.covariance}, noise {task.noise_std:g}"
    name = found.member if case.truth in _KIN and found.member else found.algorithm
    return Judged(case.kind, told, case.truth or ABSTAINS, name or ABSTAINS, found.sentence, tuple(found.kin))


def judge_all(
    draws: Sequence[Draw],
    tell: Callable[[str], None],
    n_processes: int,
    judging: Callable[[int, int], list[Judged]] = judge,
) -> dict[Draw, list[Judged]]:
    """Judge all cases of draws, side by side in processes of one thread each; the slowest, of wide inputs, go first.

    Args:
        draws: Seed and index of the task.
        tell: Told of each draw that is done.
        n_processes: How many.
        judging: What judges the cases of a draw.
    """
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_processes, mp_context=spawning) as pool:
        waiting = {pool.submit(judging, *draw): draw for draw in sorted(draws, key=lambda draw: -draw[1])}
        done: dict[Draw, list[Judged]] = {}
        for each in as_completed(waiting):
            done[waiting[each]] = each.result()
            cases = [case for found in done.values() for case in found]
            wrong = sum(not case.right for case in cases)
            tell(f"{len(done)} of {len(waiting)} sets of prompts, {len(cases)} cases, {wrong} not as planted")
    return {draw: done[draw] for draw in draws}


def run(tell: Callable[[str], None], n_processes: int | None = None, tasks: Sequence[int] | None = None) -> Findings:
    """Judge every case of both halves, and every constructed transformer, which are counted apart.

    Args:
        tell: Told of each set of prompts that is done.
        n_processes: As many as there are processors if None.
        tasks: Which of ``TASKS``, by index; all if None.
    """
    kept = range(len(TASKS)) if tasks is None else tasks
    draws = {half: [(seed, index) for seed in seeds for index in kept] for half, seeds in HALVES.items()}
    n_processes = n_processes or os.cpu_count() or 1
    by_draw = judge_all([draw for each in draws.values() for draw in each], tell, n_processes)
    cases = {half: [case for draw in each for case in by_draw[draw]] for half, each in draws.items()}
    found = {half: Confusion.of([case for case in each if case.truth not in _KIN]) for half, each in cases.items()}
    kin = {half: Confusion.of([case for case in each if case.truth in _KIN]) for half, each in cases.items()}
    among = {half: sum(case.truth in case.kin for case in each) for half, each in cases.items()}
    sheets = [
        sheet for half in HALVES for sheet in (_sheet(half, found[half]), _kin_sheet(half, kin[half], among[half]))
    ]
    data = {half: {**to_data(found[half]), "kin": {**to_data(kin[half]), "among": among[half]}} for half in HALVES}
    by_hand = of_constructed(tell, n_processes, kept)
    rows = [_row(half, each) for half, each in [*found.items(), ("constructed", by_hand)]]
    return Findings(
        [*sheets, _by_hand_sheet(by_hand)],
        {"code": AGREEMENT_CODE, "rows": rows, **data, "constructed": to_data(by_hand)},
    )


def of_constructed(tell: Callable[[str], None], n_processes: int, tasks: Sequence[int]) -> Confusion:
    """Judge every constructed transformer.

    Args:
        tell: Told of each set of prompts that is done.
        n_processes: How many judge side by side.
        tasks: Which of ``TASKS``, by index.
    """
    draws = [(seed, index) for seed in CONSTRUCTED for index in tasks]
    by_draw = judge_all(draws, tell, n_processes, judge_constructed)
    return Confusion.of([case for draw in draws for case in by_draw[draw]])


def _row(half: str, found: Confusion) -> dict[str, object]:
    right = {"n_planted": found.n_planted, "right": found.right, "right_ci": found.right_ci}
    none = {"n_controls": found.n_controls, "abstained": found.abstained, "abstained_ci": found.abstained_ci}
    return {"name": half, **right, **none}


def _sheet(half: str, found: Confusion) -> Sheet:
    which = "held-out half, its seeds never used while rules were set" if half == "held_out" else "tuning half"
    remarks = [
        f"named right: {_told(found.right, found.right_ci)} of {found.n_planted} planted",
        f"abstained: {_told(found.abstained, found.abstained_ci)} of {found.n_controls} controls",
        *_wrong(found),
    ]
    return _counted(f"Verdicts on the {which}: rows are what was planted", found, remarks)


def _by_hand_sheet(found: Confusion) -> Sheet:
    remarks = [
        f"named right: {_told(found.right, found.right_ci)} of {found.n_planted} whose algorithm has a name",
        f"abstained: {_told(found.abstained, found.abstained_ci)} of {found.n_controls} others",
        *_wrong(found),
    ]
    return _counted(
        "Verdicts on constructed transformers, read out for real: rows are what was written", found, remarks
    )


def _kin_sheet(half: str, found: Confusion, among: int) -> Sheet:
    remarks = [
        f"named right: {_told(found.right, found.right_ci)} of {found.n_planted}",
        f"named by a kin from which it is said not to be told: {among} more",
        *_wrong(found),
    ]
    return _counted(f"The same for momentum and attention, {half.replace('_', '-')} half", found, remarks)


def _counted(title: str, found: Confusion, remarks: list[str]) -> Sheet:
    rows = [[truth, *map(str, row)] for truth, row in zip(found.truths, found.counts, strict=True)]
    return Sheet(title, ["planted", *found.verdicts], rows, remarks)


def _wrong(found: Confusion) -> list[str]:
    return [
        f"{each.verdict} for {each.truth}{', said to be among its kin' if each.truth in each.kin else ''}: "
        f"{each.kind} ({each.task})"
        for each in found.wrong
    ]


def _told(share: float, ci: tuple[float, float]) -> str:
    return f"{100 * share:.1f}% [{100 * ci[0]:.1f}, {100 * ci[1]:.1f}]"


VERDICT = Bench(
    name="verdict",
    help="how often the verdict names what was planted, and abstains where nothing was",
    run=run,
    spread=run,
)
