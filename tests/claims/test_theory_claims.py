"""Claims of theory papers: met by models that are what theory says, and by no others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from workbench.arms import Arm, train_arms
from workbench.claims import THEORY_CLAIMS
from workbench.claims.ahn2023 import AHN2023
from workbench.claims.measure import measure_study
from workbench.claims.record import CONTESTED, Claim, Seen
from workbench.claims.theory_looks import N_SEEDS
from workbench.claims.vonoswald2022 import VONOSWALD2022
from workbench.registry import by_name

BY_NAME = by_name(*THEORY_CLAIMS)


def row(quantity: str, theory: float | None, measured: float | None, **controls: float) -> dict[str, Any]:
    return {"quantity": quantity, "theory": theory, "measured": measured, "controls": controls}


def form(name: str, *rows: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "rows": list(rows), "curve": None, "between": None, "shifted": [], "rolled_out": None, **more}


def look(*forms: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"closed_forms": list(forms), "weights": None, "over_training": [], **more}


def check(claim: Claim, looks: list[dict[str, Any]], n_seeds: int | None = None):
    (arm,) = claim.study.arms
    return claim.check({arm.name: Seen(tuple(looks), n_seeds or len(looks))})


def ahn(step: float, distance: float = 0.02) -> dict[str, Any]:
    steps = [row(f"step_{i}", said, got) for i, said, got in ((1, 0.42, 0.42), (2, 0.69, step), (3, 1.71, 1.70))]
    layers = [row(f"layer_{i}_distance", 0.0, distance) for i in (1, 2, 3)]
    return look(form("best_steps", *steps, *layers, row("excess_gap", 0.0, 0.002)))


def test_a_claim_is_met_only_if_every_seed_meets_every_condition():
    claim = AHN2023[0]
    met = check(claim, [ahn(0.69), ahn(0.70)])
    assert met.met
    assert met.measured.startswith("2 of 2 seeds")
    assert not check(claim, [ahn(0.69), ahn(0.80)]).met
    assert not check(claim, [ahn(0.69, distance=0.3)]).met
    assert not check(claim, [ahn(0.69)], n_seeds=2).met, "a seed whose training failed fails"
    assert not claim.check({}).met


def copying(partner: list[float], excess: list[float]) -> dict[str, Any]:
    lines = [{"step": 100 * i, "partner": p, "excess": e} for i, (p, e) in enumerate(zip(partner, excess, strict=True))]
    risk = row("excess", 0.4125, excess[-1], **{"zero predictor": 0.833})
    return look(form("step_behind_copying", row("partner", 1.0, partner[-1]), risk), over_training=lines)


def test_copying_must_come_before_learning():
    claim = BY_NAME["vonoswald2022/copying"]
    first = copying([0.05, 0.6, 0.9, 0.9], [0.83, 0.82, 0.5, 0.42])
    assert check(claim, [first]).met
    after = copying([0.05, 0.05, 0.05, 0.9], [0.83, 0.82, 0.5, 0.42])
    assert not check(claim, [after]).met
    never = copying([0.05, 0.05, 0.05, 0.05], [0.83, 0.82, 0.5, 0.42])
    assert not check(claim, [never]).met


@pytest.mark.parametrize(("middle", "met"), [(0.41, True), (0.6, False)])
def test_a_way_must_not_rise_between_its_ends(middle: float, met: bool):
    between = {"note": "", "shares": [0, 0.5, 1], "excess": [0.42, middle, 0.41]}
    claim = BY_NAME["vonoswald2022/one-layer-interpolation"]
    assert check(claim, [look(form("one_step", between=between))]).met is met
    blocked = {"note": "there is none", "shares": [], "excess": []}
    assert not check(claim, [look(form("one_step", between=blocked))]).met


def test_curves_must_coincide_everywhere():
    claim = BY_NAME["vonoswald2022/one-layer-shifts"]
    shifts = [{"axis": axis, "apart": [0.01, 0.02]} for axis in ("inputs", "weights", "law")]
    assert check(claim, [look(form("one_step", shifted=shifts))]).met
    shifts[2]["apart"] = [0.01, 0.2]
    assert not check(claim, [look(form("one_step", shifted=shifts))]).met


def test_rolled_out_layers_must_follow():
    claim = BY_NAME["vonoswald2022/roll-out"]
    for last, met in ((0.31, True), (0.5, False)):
        rolled = {"excess": [0.8, 0.4, last], "theory": [0.8, 0.4, 0.3]}
        assert check(claim, [look(form("one_step", rolled_out=rolled))]).met is met


def test_brittle_models_err_more_than_saying_nothing():
    claim = BY_NAME["zhang2023/covariate-shift"]
    for excess, met in ((100.0, True), (20.0, False)):
        shifts = [
            {"axis": "inputs", "at": [1.0, 3.0], "excess": [1.0, excess], "apart": [0.0, 0.01]},
            {"axis": "query", "at": [1.0], "excess": [1.0], "apart": [0.01]},
        ]
        zero = row("excess", 1.0, 1.0, **{"zero predictor": 5.0})
        assert check(claim, [look(form("one_step", zero, shifted=shifts))]).met is met


def test_every_arm_of_theory_has_five_seeds_and_one_config():
    arms: dict[str, Arm] = {}
    for claim in THEORY_CLAIMS:
        for arm in claim.study.arms:
            assert arm.n_seeds == N_SEEDS
            assert arms.setdefault(arm.name, arm) == arm
            arm.config("small", 0)
    assert len(VONOSWALD2022) == 10


SHORT = {"train.n_steps": 2, "train.n_batch": 2, "train.checkpoint_every": 1}


@pytest.mark.parametrize("name", ["vonoswald2022/roll-out", "zheng2024/constant-start", "he2025/patterns"])
def test_two_updates_teach_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from workbench import analyses
    from workbench.against_theory.config import TheoryConfig

    monkeypatch.setattr(
        analyses, "TheoryConfig", lambda: TheoryConfig(n_prompts=400, n_curve=400, n_resamples=20, n_checkpoints=1)
    )
    claim = BY_NAME[name]
    record = measure_study(claim, train_arms(claim.study.arms, tmp_path, n_seeds=1, changes=SHORT))
    assert record["status"] == CONTESTED
    assert record["evidence"]
