"""The planted benchmark: a sample of its cases, its controls, and how it counts."""

import math
from dataclasses import replace

import pytest
import torch

from workbench.analyses import AGREEMENT_CODE
from workbench.benches import verdict
from workbench.benches.planted import PLANTED, TASKS, Prompts, planted
from workbench.benches.planted_controls import CONTROLS, by_heart, controls
from workbench.benches.planted_kin import KIN
from workbench.benches.verdict import ABSTAINS, CONSTRUCTED, HALVES, Confusion, Judged, judged, wilson

SAMPLE = (0, pytest.param(5, marks=pytest.mark.slow))
"""Tasks whose cases are judged here; `mesascope bench verdict` takes all."""
SEED = 7
"""Neither half's."""


@pytest.fixture(scope="module", params=SAMPLE)
def prompts(request) -> Prompts:
    return Prompts.of(TASKS[request.param], SEED)


def test_planted_algorithms_are_named(prompts):
    found = [judged(case, prompts) for case in planted(prompts, SEED)]
    assert [(each.verdict, each.kind) for each in found if not each.right] == []
    assert {each.truth for each in found} == {truth for truth, _, _ in PLANTED}


def test_planted_methods_with_momentum_are_named_or_said_to_be_among_the_kin(prompts):
    found = [judged(case, prompts) for case in planted(prompts, SEED, KIN)]
    assert [(each.verdict, each.kind) for each in found if not each.right and each.truth not in each.kin] == []
    assert [each.truth for each in found] == [truth for truth, _, _ in KIN]
    assert sum(each.right for each in found) >= 3


def test_controls_are_not_named(prompts):
    found = [judged(case, prompts) for case in controls(prompts, SEED)]
    assert [(each.verdict, each.kind) for each in found if not each.right] == []
    assert len(found) == len(CONTROLS)


def test_labels_of_other_prompts_tell_one_w_by_heart_from_least_squares():
    prompts, case = by_heart(TASKS[0], SEED)
    unasked = judged(replace(case, relabelled=None), prompts)
    assert unasked.verdict == "ols", "what prompts that all have the same w cannot tell"
    found = judged(case, prompts)
    assert found.verdict == ABSTAINS
    assert "asked with labels of other prompts" in found.sentence
    ols = torch.stack([prompts.silence, prompts.converged, prompts.converged])
    listens = torch.stack([prompts.silence, *[prompts.relabelled.converged] * 2])
    found = judged(replace(case, layers=ols, relabelled=listens), prompts)
    assert found.verdict == "ols", "least squares takes them as they are"


def test_cases_are_reproducible_and_of_another_draw_for_every_seed():
    prompts = Prompts.of(TASKS[0], 1)
    once, again, other = (list(planted(prompts, seed)) for seed in (1, 1, 2))
    for a, b in zip(once, again, strict=True):
        assert a.kind == b.kind
        torch.testing.assert_close(a.layers, b.layers, rtol=0, atol=0)
    assert [case.kind for case in once] != [case.kind for case in other]
    seeds = [*CONSTRUCTED, *(seed for half in HALVES.values() for seed in half)]
    assert len({*seeds, SEED}) == len(seeds) + 1


def test_the_benchmark_is_as_large_as_it_says():
    draws = len(HALVES["held_out"])
    n_planted, n_controls = (draws * len(TASKS) * n for n in (len(PLANTED) + 1, len(CONTROLS) + 3))
    assert n_planted >= 200
    assert n_controls >= 60


def said(truth: str, found: str) -> Judged:
    return Judged("made up", "d=1", truth, found, "")


def test_the_confusion_counts_what_was_planted_and_controls_apart():
    cases = [said("gd", "gd"), said("gd", "newton"), said("cg", "cg"), said(ABSTAINS, ABSTAINS)]
    found = Confusion.of(cases)
    assert found.truths == ("cg", "gd", ABSTAINS)
    assert found.verdicts == ("cg", "gd", "newton", ABSTAINS)
    assert found.counts == ((1, 0, 0, 0), (0, 1, 1, 0), (0, 0, 0, 1))
    assert (found.n_planted, found.right) == (3, pytest.approx(2 / 3))
    assert (found.n_controls, found.abstained) == (1, 1.0)
    assert [each.verdict for each in found.wrong] == ["newton"]


def test_findings_keep_halves_and_kin_apart_and_say_by_which_rules(monkeypatch):
    def judge_all(draws, tell, n_processes, judging=verdict.judge):
        assert n_processes == 2
        if judging is verdict.judge_constructed:
            assert draws == [(61, 0), (61, 3), (62, 0), (62, 3)]
            return {draw: [said("knn", "knn"), said(ABSTAINS, "gd")] for draw in draws}
        kin = replace(said("momentum", "gd"), kin=("momentum",))
        made = {1: [said("gd", "gd"), said(ABSTAINS, ABSTAINS)], 31: [said("gd", "newton")], 32: [kin]}
        return {draw: made[draw[0]] if draw[1] == 0 else [said("cg", "cg")] for draw in draws}

    monkeypatch.setattr(verdict, "judge_all", judge_all)
    monkeypatch.setattr(verdict, "HALVES", {"tuning": (1,), "held_out": (31, 32)})
    data = verdict.run(print, 2, tasks=[0, 3]).data
    assert (data["code"], [row["n_planted"] for row in data["rows"]]) == (AGREEMENT_CODE, [2, 3, 4])
    assert (data["tuning"]["right"], data["held_out"]["right"]) == (1.0, pytest.approx(2 / 3))
    assert (data["held_out"]["kin"]["n_planted"], data["held_out"]["kin"]["among"]) == (1, 1)
    assert data["held_out"]["wrong"][0]["verdict"] == "newton"
    assert (data["constructed"]["right"], data["constructed"]["abstained"]) == (1.0, 0.0), "counted apart"
    assert [row["name"] for row in data["rows"]] == ["tuning", "held_out", "constructed"]


def test_wilsons_interval_is_the_textbooks():
    low, high = wilson(8, 10)
    assert (low, high) == (pytest.approx(0.4901, abs=1e-3), pytest.approx(0.9433, abs=1e-3))
    assert wilson(10, 10)[1] == 1.0
    assert all(map(math.isnan, wilson(0, 0)))
