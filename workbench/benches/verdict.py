"""How often the verdict is right: planted layer sequences, constructed transformers and controls, in two halves."""

import math
import multiprocessing
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Literal

import torch

from workbench.agreement.hypotheses import paths
from workbench.agreement.verdict import Sight, weigh
from workbench.benches.planted import N_PROMPTS, TASKS, Case, Prompts, controls, planted
from workbench.benches.planted_transformers import constructed, untrained
from workbench.benches.record import Bench, Findings, Sheet
from workbench.configs import to_data
from workbench.linalg import cpu_threads
from workbench.metrics import bootstrap_weights

Half = Literal["tuning", "held_out"]
HALVES: dict[Half, int] = {"tuning": 1, "held_out": 9}
"""Seed of each half. Rules and thresholds were set while looking at the first alone."""
ABSTAINS = "abstains"
_N_RESAMPLES = 300
_Z = 1.96


@dataclass(frozen=True)
class Judged:
    """One case and what was said of it.

    Attributes:
        kind: What was planted.
        task: Of which prompts.
        truth: What should be said, or ``ABSTAINS``.
        verdict: What was said, or ``ABSTAINS``.
        sentence: In words.
    """

    kind: str
    task: str
    truth: str
    verdict: str
    sentence: str

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


def judge(half: Half, index: int, only: int | None = None) -> list[Judged]:
    """All cases on the prompts of one task.

    Args:
        half: Which seeds.
        index: Which of ``TASKS``.
        only: So many of them, or all.
    """
    seed = 100 * HALVES[half] + index
    with cpu_threads(1):
        prompts = Prompts.of(TASKS[index], seed)
        known = paths(prompts.prefixes, prompts.scored)
        shares = bootstrap_weights(N_PROMPTS, _N_RESAMPLES, torch.Generator().manual_seed(seed))
        cases = [*planted(prompts, seed), *controls(prompts, seed), *_transformers(prompts, seed)][:only]
        return [_judged(case, Sight(case.layers, known, prompts.labels, shares), prompts) for case in cases]


def _transformers(prompts: Prompts, seed: int) -> list[Case]:
    made = (build(prompts.task, prompts.batch, seed) for build in (constructed, untrained))
    return [Case(each.kind, each.truth, each.layers[..., prompts.scored]) for each in made]


def _judged(case: Case, sight: Sight, prompts: Prompts) -> Judged:
    found, task = weigh(sight), prompts.task
    told = f"d={task.d_input}, n={task.n_context}, {task.covariance}, noise {task.noise_std:g}"
    return Judged(case.kind, told, case.truth or ABSTAINS, found.algorithm or ABSTAINS, found.sentence)


def confusion(half: Half, tell: Callable[[str], None], n_workers: int) -> Confusion:
    """Judge all cases of one half, the tasks side by side in processes.

    Args:
        half: Which seeds.
        tell: Told of each task that is done.
        n_workers: Processes.
    """
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_workers, mp_context=spawning) as pool:
        waiting = {pool.submit(judge, half, index): index for index in range(len(TASKS))}
        judged: dict[int, list[Judged]] = {}
        for done in as_completed(waiting):
            judged[waiting[done]] = done.result()
            wrong = sum(not each.right for cases in judged.values() for each in cases)
            n = sum(map(len, judged.values()))
            tell(f"{half}: {len(judged)} of {len(TASKS)} tasks, {n} cases, {wrong} wrong")
    return Confusion.of([each for index in sorted(judged) for each in judged[index]])


def run(tell: Callable[[str], None]) -> Findings:
    """Judge every case of both halves."""
    n_workers = max(1, torch.get_num_threads())
    found = {half: confusion(half, tell, n_workers) for half in HALVES}
    rows = [_row(half, each) for half, each in found.items()]
    return Findings(
        [_sheet(half, each) for half, each in found.items()],
        {"rows": rows, **{half: to_data(each) for half, each in found.items()}},
    )


def _row(half: str, found: Confusion) -> dict[str, object]:
    right = {"n_planted": found.n_planted, "right": found.right, "right_ci": found.right_ci}
    none = {"n_controls": found.n_controls, "abstained": found.abstained, "abstained_ci": found.abstained_ci}
    return {"name": half, **right, **none}


def _sheet(half: str, found: Confusion) -> Sheet:
    which = "held-out half, its seeds never used while rules were set" if half == "held_out" else "tuning half"
    counted = [[truth, *map(str, row)] for truth, row in zip(found.truths, found.counts, strict=True)]
    remarks = [
        f"named right: {_told(found.right, found.right_ci)} of {found.n_planted} planted",
        f"abstained: {_told(found.abstained, found.abstained_ci)} of {found.n_controls} controls",
        *(f"wrong: {each.verdict} for {each.truth}: {each.kind} ({each.task})" for each in found.wrong),
    ]
    return Sheet(f"Verdicts on the {which}: rows are what was planted", ["planted", *found.verdicts], counted, remarks)


def _told(share: float, ci: tuple[float, float]) -> str:
    return f"{100 * share:.1f}% [{100 * ci[0]:.1f}, {100 * ci[1]:.1f}]"


VERDICT = Bench(
    name="verdict",
    help="how often the verdict names what was planted, and abstains where nothing was",
    run=run,
)
