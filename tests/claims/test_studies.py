"""Claims about several seeds: what meets them, what does not, and how they are trained, kept and shown."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from workbench.arms import Arm, Trained, train_arms
from workbench.claims import CLAIMS, THEORY_CLAIMS
from workbench.claims.edelman2024 import PLATEAU
from workbench.claims.gu2024 import BY_INPUT
from workbench.claims.measure import measure_study, stored
from workbench.claims.record import CONTESTED, MET, NOT_RUN, Seen
from workbench.errors import InputError
from workbench.training.config import preset_config

STUDIES = {name: claim for name, claim in CLAIMS.items() if claim.study is not None}


def seen(*looks: dict[str, Any], failed: int = 0) -> Seen:
    return Seen(tuple(looks), len(looks) + failed)


def mean(value: float) -> dict[str, float]:
    return {"mean": value, "standard_error": 0.0}


def row(step: int, **given: float) -> dict[str, Any]:
    """A row of phenomena, that of a good last checkpoint but for what is given."""
    usual = {
        "backcopy": 1e-4,
        "bigram": 0.007,
        "attention": 0.81,
        "value": 1.4,
        "logit": 15.0,
        "cosine": -0.9,
        "ratio": 4.0,
    }
    v = {**usual, **given}
    return {
        "step": step,
        "risks": {
            "backcopy": mean(v["backcopy"]),
            "bigram": mean(2.2),
            "excess_backcopy": mean(v["backcopy"]),
            "excess_bigram": mean(v["bigram"]),
        },
        "heads": [
            {
                "layer": 0,
                "attention": v["attention"],
                "value_norm": v["value"],
                "value_cosine": v["cosine"],
                "logit": mean(v["logit"]),
            }
        ],
        "layers": [{"layer": 0, "norm": 100.0, "ratio": v["ratio"]}],
        "without_attention": [{"layer": 0, "backcopy": mean(v.get("lost", 7.7)), "bigram": mean(2.2001)}],
    }


EARLY = [
    row(100, bigram=0.15, backcopy=2.6, attention=0.03, value=8.7),
    row(250, bigram=0.04, backcopy=1.0, attention=0.4, value=9.0),
    row(300, bigram=0.03, backcopy=0.4, attention=0.56, value=5.5),
    row(1000, bigram=0.01, backcopy=7e-3, attention=0.78, value=3.5),
]


def look(**last: float) -> dict[str, Any]:
    fits = [{"quantity": "norm", "layer": 0, "r2": last.pop("r2", 0.99), "slope": last.pop("slope", 13.0)}]
    return {"rows": [*EARLY, row(10_000, **last)], "fits": fits}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("guo2024/a2-sink-and-drain", look(), look(attention=0.95)),
        ("guo2024/a2-sink-and-drain", look(), look(value=4.0)),
        ("guo2024/a2-sink-and-drain", look(), look(logit=8.0)),
        ("guo2024/a3-order", look(), {**look(), "rows": look()["rows"][3:]}),
        ("guo2024/a4-dormant", look(), look(lost=2.0)),
        ("guo2024/a6-cosine", look(), look(cosine=0.3)),
    ],
)
def test_all_seeds_must_meet_a_claim_about_one_layer(name: str, good: dict[str, Any], bad: dict[str, Any]):
    claim = CLAIMS[name]
    assert claim.check({"bb1-softmax": seen(good, good)}).met
    mixed = claim.check({"bb1-softmax": seen(good, bad)})
    assert not mixed.met
    assert mixed.measured.startswith("1 of 2 seeds")
    assert not claim.check({"bb1-softmax": seen(good, failed=1)}).met, "a seed that failed counts"
    assert not claim.check({"bb1-softmax": seen()}).met, "nothing is met by nobody"


def test_the_peak_must_be_there_under_adamw_and_nowhere_else():
    check = CLAIMS["guo2024/a5-residual-peak"].check
    flat = look(ratio=1.1)
    arms = {"bb3-softmax": seen(look()), "bb3-sgd": seen(flat), "bb3-relu": seen(flat)}
    assert check(arms).met
    assert check(arms).value == 4.0
    later = look(ratio=1.2)
    later["rows"][-1]["layers"].append({"layer": 1, "norm": 900.0, "ratio": 30.0})
    later["fits"].append({"quantity": "norm", "layer": 1, "slope": 85.0, "r2": 0.99})
    told = check({**arms, "bb3-relu": seen(later)}).evidence
    assert "ReLU, largest ratio: 30 after block 1, norm 85 per 1000 updates, R² 0.99" in told
    for other in ({"bb3-sgd": seen(look())}, {"bb3-softmax": seen(flat)}, {"bb3-softmax": seen(look(r2=0.9))}):
        assert not check({**arms, **other}).met
    assert not check({**arms, "bb3-softmax": seen(look(slope=-1.0))}).met, "a line that falls is no growth"


def test_domains_need_contrast_in_sink_mass_and_in_loss():
    def head(difference: float, acting: float, resting: float) -> dict[str, Any]:
        contrast = {"sink_difference": difference, "loss_change_acting": acting, "loss_change_resting": resting}
        return {"heads": [{"contrast": contrast}]}

    check = CLAIMS["guo2024/a7-domains"].check
    assert check({"bb-domains": seen(head(0.6, 3.0, -0.1))}).met
    assert not check({"bb-domains": seen(head(0.3, 3.0, 0.1))}).met
    assert not check({"bb-domains": seen(head(0.6, 3.0, 0.7))}).met


def accuracies(*in_context: float, shifted: float = 0.95) -> dict[str, Any]:
    rows = [
        {"step": 500 * i, "in_context": a, "shifted": shifted, "in_weights": 0.03} for i, a in enumerate(in_context)
    ]
    return {"rows": rows}


def test_four_of_six_seeds_must_learn_in_context_and_fewer_of_the_control():
    check, other = CLAIMS["reddy2023/b1-abrupt"].check, CLAIMS["reddy2023/b2-two-measures"].check
    learnt, not_learnt = accuracies(0.12, 0.4, 0.97), accuracies(0.12, 0.13, 0.14)
    four, three = seen(*[learnt] * 4, *[not_learnt] * 2), seen(*[learnt] * 3, *[not_learnt] * 3)
    assert check({"icl": four, "icl-l-is-n": three}).met
    assert not check({"icl": three, "icl-l-is-n": seen(*[not_learnt] * 6)}).met
    assert not check({"icl": four, "icl-l-is-n": four}).met
    assert not check({"icl": four}).met, "without the control nothing is said"
    assert "500 and 1000" in " ".join(check({"icl": four}).evidence)
    assert other({"icl": four}).met
    assert not other({"icl": seen(accuracies(0.97, shifted=0.5))}).met
    assert not other({"icl": seen(not_learnt)}).met, "there is no regime to speak of"


def test_the_circuit_needs_both_heads_and_their_composition():
    def heads(induction: float, previous: float, z: float) -> dict[str, Any]:
        first = {"layer": 0, "induction": 0.0, "previous_token": previous, "composition": {"k": None}}
        second = {"layer": 1, "induction": induction, "previous_token": 0.1, "composition": {"k": {"z": z}}}
        return {"heads": [first, second, {**second, "induction": 0.1, "composition": {"k": {"z": 50.0}}}]}

    check = CLAIMS["olsson2022/c2-circuit"].check
    assert check({"repeated": seen(heads(0.9, 0.9, 9.0))}).met
    for bad in (heads(0.5, 0.9, 9.0), heads(0.9, 0.7, 9.0), heads(0.9, 0.9, 4.0)):
        assert not check({"repeated": seen(bad)}).met


def test_a_plateau_must_last_and_end_at_the_bigram_predictor():
    def losses(*values: float) -> dict[str, Any]:
        rows = [{"step": 100 * i, "loss": value} for i, value in enumerate(values)]
        return {"n_steps": 100 * (len(rows) - 1), "rows": rows, "references": {"order_1": 0.512}}

    assert PLATEAU.check({"chains": seen(losses(0.7, 0.58, 0.575, 0.58, 0.53, 0.515))}).met
    assert not PLATEAU.check({"chains": seen(losses(0.7, 0.65, 0.58, 0.55, 0.53, 0.515))}).met
    assert not PLATEAU.check({"chains": seen(losses(0.7, 0.58, 0.575, 0.58, 0.58, 0.58))}).met


def test_other_positions_and_the_published_end_are_told_beside_the_plateau():
    def losses(last: float) -> dict[str, Any]:
        rows = [{"step": i, "loss": value} for i, value in enumerate((0.7, 0.58, 0.58, last))]
        return {"n_steps": 3, "rows": rows, "references": {"order_1": 0.512}}

    found = PLATEAU.check({"chains": seen(losses(0.535)), "chains-learned": seen(losses(0.56))})
    assert not found.met, "the end is not the bigram predictor's"
    told = "\n".join(found.evidence)
    assert "published: loss at the end within .01 of the published 0.53: 0.535; met by 1 of 1" in told
    assert "learned positions: loss at the end within .01 of the published 0.53: 0.56; met by 0 of 1" in told


def test_the_memories_must_recall_in_order_and_the_circuit_must_be_there():
    def look(*at: int, loss: float = 0.05, late: float = 0.9) -> dict[str, Any]:
        rows = [
            {
                "step": step,
                "loss": loss,
                **{
                    name: float(step >= first)
                    for name, first in zip(("copying", "matching", "previous"), at, strict=True)
                },
                "early": 0.9,
                "late": late,
                **dict.fromkeys(("chance_token", "chance_position", "early_chance", "late_chance"), 0.02),
            }
            for step in (0, 100, 200, 300)
        ]
        return {"references": {"in_context": 0.0, "bigram": None}, "rows": rows}

    check = CLAIMS["bietti2023/memories"].check
    found = check({"in-context-bigram": seen(look(100, 200, 300))})
    assert found.met
    assert "seed 0: copying at 100, matching at 200, previous at 300" in found.evidence
    for bad in (look(200, 100, 300), look(100, 200, 400), look(100, 200, 300, loss=0.2), look(100, 200, 300, late=0.5)):
        assert not check({"in-context-bigram": seen(bad)}).met


def test_what_needs_no_training_is_measured_whenever_claims_are_listed(tmp_path: Path):
    records = {record["id"]: record for record in stored(tmp_path)}
    ideal, law = records["olsson2022/c1-ideal-head"], records["guo2024/a1-law"]
    assert (ideal["status"], ideal["value"]) == (MET, 1.0)
    assert law["status"] == CONTESTED, "the counts that ship are those of another text"
    assert law["value"] == pytest.approx(0.302, abs=0.002)
    others = {r["status"] for r in records.values() if r["id"] not in (ideal["id"], law["id"])}
    assert others == {NOT_RUN}


def test_repeated_tokens_must_have_less_of_a_sink_than_every_text():
    def record(prose: float, code: float, repeated: float) -> dict[str, Any]:
        rates = {"prose": prose, "code": code, "random tokens": 0.5, "repeated tokens": 0.9}
        rates["one token repeated"] = repeated
        sink = {k: {"rate": v, "standard_error": 0.01, "T": 64, "epsilon": 0.3} for k, v in rates.items()}
        return {"model": "m", "bos": {"policy": "none"}, "extreme": {"sink": sink}}

    assert BY_INPUT.check(record(0.8, 0.7, 0.5)).met
    assert not BY_INPUT.check(record(0.8, 0.4, 0.5)).met
    assert "T = 64, epsilon = 0.3, BOS none" in BY_INPUT.check(record(0.8, 0.7, 0.5)).evidence[0]
    with pytest.raises(InputError, match="--record must hold sink rates on random tokens and one token repeated"):
        BY_INPUT.check({})


@pytest.mark.parametrize("claim", STUDIES.values(), ids=list(STUDIES))
@pytest.mark.parametrize("scale", ["small", "paper"])
def test_every_arm_has_a_config_at_either_scale(claim: Any, scale: str):
    for arm in claim.study.arms:
        config = arm.config(scale, 1)
        assert config.train.seed == 1
        assert config.model == config.resolved().model


def test_the_control_differs_in_labels_alone():
    default, control = CLAIMS["reddy2023/b1-abrupt"].study.arms
    for scale in ("small", "paper"):
        one, other = default.config(scale, 0), control.config(scale, 0)
        assert other.task.n_labels == other.task.n_pairs < one.task.n_labels
        assert replace(other.task, n_labels=one.task.n_labels) == one.task
        assert other.train == one.train


# Trained, looked at and kept, very small

SMALL = {"train.n_steps": 2, "train.n_batch": 2, "train.checkpoint_every": 1, "model.d_model": 8}


OF_THEORY = {claim.name for claim in THEORY_CLAIMS}  # their models have the width of a token: test_theory_claims.py


@pytest.mark.parametrize(
    "name", [name for name, claim in STUDIES.items() if claim.study.arms and name not in OF_THEORY]
)
def test_a_study_is_looked_at_checked_and_kept(name: str, tmp_path: Path):
    claim = STUDIES[name]
    shorter = {"guo2024": {"task.n_positions": 12}, "edelman2024": {"task.n_positions": 12}}.get(claim.paper, {})
    trained = train_arms(claim.study.arms, tmp_path, n_seeds=1, changes={**SMALL, **shorter})
    told: list[str] = []
    record = measure_study(claim, trained, told.append)
    assert (record["id"], record["status"]) == (name, CONTESTED), "two updates teach nothing"
    assert record["evidence"]
    [kept] = [each for each in stored(tmp_path) if each["id"] == name]
    assert kept == record
    before = len(told)
    measure_study(claim, trained, told.append)
    assert len(told) == before, "what was looked at is kept"
    assert measure_study(claim, [Trained(each.arm, {}, {}) for each in trained])["status"] == NOT_RUN


def test_the_scale_of_the_paper_is_the_papers_preset():
    arm = Arm("x", "bigram_backcopy", {"paper": "paper"})
    assert arm.config("paper", 0) == preset_config("bigram_backcopy", "paper").resolved()
