"""Published claims: data, checked on agreement records, kept in the run."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import tiny_run
from workbench import analyses
from workbench.claims import CLAIMS, measure
from workbench.claims.akyurek2023 import BAYES_RIDGE
from workbench.claims.fu2024 import GD_GEOMETRIC, NEWTON_LINEAR
from workbench.claims.record import CONTESTED, MET, NOT_RUN
from workbench.errors import InputError
from workbench.opened import Run
from workbench.registry import by_name
from workbench.runs import RunFolder
from workbench.tasks import TASKS
from workbench.training.config import preset_config
from workbench.training.loop import train


def trend(shape: str, rate: float | None = None, ci: list[float | None] | None = None) -> dict[str, Any]:
    return {"shape": shape, "rate": rate, "rate_ci": ci, "r2_linear": 0.98, "r2_geometric": None}


def record(newton: dict[str, Any], gd: dict[str, Any]) -> dict[str, Any]:
    """An agreement record with what claims look at: layer 2 sits on an anchor."""
    layers = [
        {
            "layer": layer,
            "at_anchor": "ols" if layer == 2 else None,
            "families": {name: {"best_step": layer, "best_sim_e": sim_e} for name in ("newton", "gd")},
        }
        for layer, sim_e in enumerate([0.9, None, 0.99])
    ]
    trends = {"newton": newton, "gd": gd}
    return {"trend": trends, "layers": layers, "d_input": 2, "n_context": 4, "checkpoint": 12}


LINEAR, GEOMETRIC, NONE = trend("linear", 2.5, [2.0, 3.25]), trend("geometric", 2.6), trend("none")


@pytest.mark.parametrize(
    ("claim", "found", "met", "told"),
    [
        (NEWTON_LINEAR, record(LINEAR, NONE), True, "linear, 2.50 steps a layer [2.00, 3.25]"),
        (NEWTON_LINEAR, record(GEOMETRIC, NONE), False, "geometric, 2.60 steps a layer"),
        (NEWTON_LINEAR, record(NONE, LINEAR), False, "none"),
        (GD_GEOMETRIC, record(NONE, GEOMETRIC), True, "geometric, 2.60 times a layer"),
        (GD_GEOMETRIC, record(NONE, LINEAR), False, "linear, 2.50 times a layer [2.00, 3.25]"),
        (GD_GEOMETRIC, record(GEOMETRIC, NONE), False, "none"),
    ],
)
def test_a_claim_is_met_by_the_trend_that_it_states_and_by_no_other(claim: Any, found: Any, met: bool, told: str):
    measured = claim.check(found)
    assert (measured.met, measured.measured) == (met, told)


def test_a_measurement_says_what_it_rests_on_without_the_layers_on_anchors():
    steps, fits = NEWTON_LINEAR.check(record(LINEAR, NONE)).evidence
    assert steps.endswith(": 0: 0 (SimE 0.900), 1: 1 (SimE –)"), steps
    assert "R² linear 0.980, geometric –; one trained model, d = 2, 4 examples" in fits


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=list(CLAIMS))
def test_every_claim_says_who_published_what_and_which_tasks_test_it(claim: Any):
    assert claim.name.startswith(f"{claim.paper}/")
    assert "arXiv" in claim.citation
    assert claim.statement
    assert claim.published
    for preset, task in claim.recipes.items():
        assert preset in TASKS[task].presets


# Kept in the run

FOUND = record(LINEAR, NONE)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A trained run whose agreement is ``FOUND``, and two claims."""
    folder = tiny_run(tmp_path / "runs", n_steps=1)
    train(folder)
    monkeypatch.setattr(measure, "CLAIMS", by_name(NEWTON_LINEAR, GD_GEOMETRIC))
    monkeypatch.setattr(measure, "agree", lambda run: {**FOUND, "checkpoint": run.folder.resolve_step(None)})
    monkeypatch.setattr(measure, "_follows", lambda claim, run: True)  # a tiny run follows no recipe
    return Run(folder)


def test_a_claim_is_not_run_before_and_kept_after_it_is_measured(run: Run):
    root = run.folder.path.parent
    before = measure.stored(root)
    assert [claim["id"] for claim in before] == [NEWTON_LINEAR.name, GD_GEOMETRIC.name]
    assert {claim["status"] for claim in before} == {NOT_RUN}
    assert all(claim[name] is None for claim in before for name in ("measured", "value", "ci", "run", "checkpoint"))
    measured = measure.measure(NEWTON_LINEAR, run)
    assert (measured["status"], measured["value"], measured["ci"]) == (MET, 2.5, [2.0, 3.25])
    assert (measured["run"], measured["checkpoint"]) == ("tiny", 1)
    after = {claim["id"]: claim for claim in measure.stored(root)}
    assert after[NEWTON_LINEAR.name] == measured
    assert after[GD_GEOMETRIC.name]["status"] == NOT_RUN
    assert measure.measured_on(run) == [measured]


def test_all_claims_of_the_runs_task_are_measured_at_once(run: Run):
    found = measure.measure_all(run)
    assert {claim["id"]: claim["status"] for claim in found} == {NEWTON_LINEAR.name: MET, GD_GEOMETRIC.name: CONTESTED}
    assert sorted(measure.measured_on(run), key=str) == sorted(found, key=str)


def test_only_claims_of_whose_recipe_a_run_is_are_measured(tmp_path: Path):
    noisy = RunFolder.create(tmp_path / "noisy", preset_config("linear_regression", "noisy").resolved().to_data(), {})
    paper = RunFolder.create(tmp_path / "paper", preset_config("linear_regression", "paper").resolved().to_data(), {})
    follows = {
        folder.name: [name for name, claim in CLAIMS.items() if measure._follows(claim, Run(folder))]
        for folder in (noisy, paper)
    }
    assert follows == {"noisy": [BAYES_RIDGE.name], "paper": [NEWTON_LINEAR.name, GD_GEOMETRIC.name]}


@pytest.mark.parametrize(
    ("strength", "ci", "bayes", "met"),
    [(0.25, (0.25, 0.4), 0.25, True), (1.0, (0.6, 1.6), 0.25, False), (0.25, (0.2, 0.3), None, False)],
)
def test_the_nearest_ridge_is_held_against_the_bayes_strength(strength, ci, bayes, met):
    found = {"strengths": [0.25, 1.0], "difference": [0.01, 0.02], "strength": strength, "ci": ci, "bayes": bayes}
    measured = BAYES_RIDGE.check({"nearest_ridge": found})
    assert measured.met == met
    assert measured.value == strength


def test_measuring_again_replaces_what_was_kept(run: Run, monkeypatch: pytest.MonkeyPatch):
    measure.measure(NEWTON_LINEAR, run)
    monkeypatch.setattr(measure, "agree", lambda run: {**record(NONE, NONE), "checkpoint": 1})
    measure.measure(NEWTON_LINEAR, run)
    [kept] = measure.measured_on(run)
    assert kept["status"] == CONTESTED


def test_the_newest_runs_measurement_is_shown(run: Run):
    root = run.folder.path.parent
    measure.measure_all(run)
    other = tiny_run(root, "newer", n_steps=1, seed=1)
    train(other)
    measure.measure_all(Run(other))
    os.utime(run.folder.path)  # a folder touched later, by a report say, is not measured later
    assert {claim["run"] for claim in measure.stored(root)} == {"newer"}
    time.sleep(0.002)
    measure.measure_all(run)
    assert {claim["run"] for claim in measure.stored(root)} == {"tiny"}


def test_a_run_with_damaged_records_does_not_hide_the_others(run: Run):
    root = run.folder.path.parent
    measure.measure_all(run)
    damaged = tiny_run(root, "damaged")
    damaged.save_result("claims", "0", {"id": NEWTON_LINEAR.name})
    [path] = (damaged.path / "results" / "claims").iterdir()
    path.write_bytes(path.read_bytes()[:-9])
    assert {claim["run"] for claim in measure.stored(root)} == {"tiny"}


def test_a_paper_is_chosen_by_name_and_an_unknown_one_refused_with_the_known_ones(tmp_path: Path):
    assert {claim["paper"] for claim in measure.stored(tmp_path, "fu2024")} == {"fu2024"}
    with pytest.raises(InputError, match=r"Unknown paper 'fu2042'. Did you mean 'fu2024'\? Known: .*fu2024"):
        measure.stored(tmp_path, "fu2042")
    assert len(measure.stored(tmp_path / "nothing")) == len(CLAIMS)


def test_agreements_of_a_run_are_listed_by_checkpoint_and_settings(run: Run):
    quick = analyses.AgreementConfig(n_fit=64, n_prompts=8, n_resamples=10)
    other = analyses.AgreementConfig(n_fit=64, n_prompts=8, n_resamples=10, seed=1)
    records = [
        analyses.agree(run, quick, step=1),
        analyses.agree(run, quick, step=0),
        analyses.agree(run, other, step=0),
    ]
    run.folder.save_result(analyses.AGREEMENT, "0", {"schema": "mesascope/agreement/0", "checkpoint": 0})
    found = analyses.agreements(run)
    assert [record["checkpoint"] for record in found] == [0, 0, 1]
    assert analyses.agreements(run, quick) == [records[1], records[0]]
    assert analyses.agreements(run, other) == [records[2]]


def test_only_a_run_of_a_recipes_task_and_model_speaks_for_a_claim(tmp_path: Path):
    run = Run(tiny_run(tmp_path / "runs"))
    assert not measure.follows_a_recipe(run)
    demo = preset_config("linear_regression", "demo").resolved()
    other_seed = replace(demo, train=replace(demo.train, seed=7))
    assert measure.follows_a_recipe(Run(tiny_run(tmp_path, "seed", other_seed)))
    noisy = replace(demo, task=replace(demo.task, noise_std=0.5))
    assert not measure.follows_a_recipe(Run(tiny_run(tmp_path, "noisy", noisy)))
