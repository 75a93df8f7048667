"""The planted benchmark: a sample of its cases, its controls, and how it counts."""

import math

import pytest
import torch

from workbench.agreement.hypotheses import paths
from workbench.agreement.verdict import Sight, weigh
from workbench.benches.planted import N_PROMPTS, PLANTED, TASKS, Case, Prompts, controls, planted
from workbench.benches.verdict import ABSTAINS, HALVES, Confusion, Judged, wilson
from workbench.metrics import bootstrap_weights

SAMPLE = (0, pytest.param(5, marks=pytest.mark.slow))
"""Tasks whose cases are judged here; `mesascope bench verdict` takes all."""
SEED = 7
"""Neither half's."""


@pytest.fixture(scope="module", params=SAMPLE)
def prompts(request) -> Prompts:
    return Prompts.of(TASKS[request.param], SEED)


@pytest.fixture(scope="module")
def known(prompts):
    return paths(prompts.prefixes, prompts.scored)


def verdict(case: Case, prompts: Prompts, known) -> str | None:
    shares = bootstrap_weights(N_PROMPTS, 200, torch.Generator().manual_seed(0))
    return weigh(Sight(case.layers, known, prompts.labels, shares)).algorithm


def test_planted_algorithms_are_named(prompts, known):
    judged = [(case.truth, verdict(case, prompts, known), case.kind) for case in planted(prompts, SEED)]
    assert [(truth, found, kind) for truth, found, kind in judged if truth != found] == []
    assert {truth for truth, _, _ in judged} == {truth for truth, _, _ in PLANTED}


def test_controls_are_not_named(prompts, known):
    judged = [(verdict(case, prompts, known), case.kind) for case in controls(prompts, SEED)]
    assert [(found, kind) for found, kind in judged if found is not None] == []
    assert len(judged) == 6


def test_cases_are_reproducible_and_of_another_draw_for_every_seed():
    prompts = Prompts.of(TASKS[0], 1)
    once, again, other = (list(planted(prompts, seed)) for seed in (1, 1, 2))
    for a, b in zip(once, again, strict=True):
        assert a.kind == b.kind
        torch.testing.assert_close(a.layers, b.layers, rtol=0, atol=0)
    assert [case.kind for case in once] != [case.kind for case in other]
    assert len({*HALVES.values(), SEED}) == 3


def test_the_benchmark_is_as_large_as_it_says():
    n_planted = 2 * len(TASKS) * (len(PLANTED) + 1)
    n_controls = 2 * len(TASKS) * (6 + 1)
    assert n_planted >= 200
    assert n_controls >= 60


def judged(truth: str, found: str) -> Judged:
    return Judged("made up", "d=1", truth, found, "")


def test_the_confusion_counts_what_was_planted_and_controls_apart():
    cases = [judged("gd", "gd"), judged("gd", "newton"), judged("cg", "cg"), judged(ABSTAINS, ABSTAINS)]
    found = Confusion.of(cases)
    assert found.truths == ("cg", "gd", ABSTAINS)
    assert found.verdicts == ("cg", "gd", "newton", ABSTAINS)
    assert found.counts == ((1, 0, 0, 0), (0, 1, 1, 0), (0, 0, 0, 1))
    assert (found.n_planted, found.right) == (3, pytest.approx(2 / 3))
    assert (found.n_controls, found.abstained) == (1, 1.0)
    assert [each.verdict for each in found.wrong] == ["newton"]


def test_wilsons_interval_is_the_textbooks():
    low, high = wilson(8, 10)
    assert (low, high) == (pytest.approx(0.4901, abs=1e-3), pytest.approx(0.9433, abs=1e-3))
    assert wilson(10, 10)[1] == 1.0
    assert all(map(math.isnan, wilson(0, 0)))
