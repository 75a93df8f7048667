"""Trained against theory, on models that are built as theory says, and on ones that are not."""

from dataclasses import replace

import pytest
import torch

from workbench.against_theory.config import TheoryConfig
from workbench.against_theory.observed import drawn, lengthened, observe, pieces
from workbench.against_theory.of_steps import signed
from workbench.against_theory.record import to_record
from workbench.against_theory.seeds import over_runs
from workbench.against_theory.study import Study, setting_of, study
from workbench.errors import InputError
from workbench.models.config import TransformerConfig
from workbench.models.constructions import CONSTRUCTIONS
from workbench.models.transformer import Transformer
from workbench.tasks import LinearRegression
from workbench.theory import CLOSED_FORMS, SoftmaxHead
from workbench.theory.polynomial import best_steps
from workbench.weights import products

D, N = 3, 12
TASK = LinearRegression(d_input=D, n_context=N + 1)
SKEWED = replace(TASK, covariance="skewed", basis="fixed", noise_std=0.5)
FAST = TheoryConfig(n_prompts=2000, n_curve=800, n_resamples=50)


def random_like(model: Transformer) -> Transformer:
    return Transformer(model.config, torch.Generator().manual_seed(1)).double()


def with_gamma(gamma: torch.Tensor) -> Transformer:
    symmetric = (gamma + gamma.mT) / 2
    return CONSTRUCTIONS["preconditioned_gd"].build(D, N + 1, 1, preconditioner=symmetric, step_size=1.0)


def optimal(task: LinearRegression) -> Transformer:
    config = with_gamma(torch.eye(D, dtype=torch.float64)).config
    return with_gamma(CLOSED_FORMS["one_step"](setting_of(task, config)).gamma)


def rows(found: Study, name: str) -> dict:
    (one,) = [each for each in found.compared if each.name == name]
    return {row.quantity: row for row in one.rows}


@pytest.fixture(scope="module")
def skewed() -> Study:
    model = optimal(SKEWED)
    before = random_like(model)
    return study(model, before, SKEWED, FAST, [(0, random_like(model)), (5, model)])


def test_a_model_built_with_the_optimum_is_the_optimum(skewed):
    found = rows(skewed, "one_step")
    for name in ("gamma_error", "weights_gamma_error", "nmse", "value_leakage", "key_leakage"):
        assert found[name].measured == pytest.approx(0, abs=1e-5), name
        assert found[name].theory == 0
    for name in ("gamma_cosine", "one_step_share", "gradient_cosine"):
        assert found[name].measured == pytest.approx(1, abs=1e-9), name
    assert abs(found["excess_gap"].measured) < 1e-9
    assert found["excess_ratio"].measured == pytest.approx(1, abs=1e-9)
    assert min(found["excess_ratio"].controls.values()) > 1.3
    excess = found["excess"]
    assert excess.controls["theory's predictor, same prompts"] == pytest.approx(excess.measured)
    assert excess.ci.low < excess.theory < excess.ci.high
    assert all(row.controls["untrained"] > 0.3 for name, row in found.items() if name in ("gamma_error", "nmse"))
    assert found["gamma_error"].controls["multiple of I"] > 0.3


def test_its_distance_to_theory_falls_over_training(skewed):
    before, after = skewed.over_training
    assert (before["step"], after["step"]) == (0, 5)
    assert min(before["gamma_error"], before["nmse"]) > 0.3
    assert after["gamma_error"] < 1e-5
    assert after["nmse"] < 1e-9
    assert after["theory"] == before["theory"] == pytest.approx(after["excess"])
    assert before["zero"] > 1.3 * before["theory"]


def test_its_risk_follows_the_curves(skewed):
    for name in ("length_curve", "scale_curve"):
        (curve,) = [each.curve for each in skewed.compared if each.name == name]
        assert not curve.note
        for place, theory, low, high in zip(curve.at, curve.theory, curve.low, curve.high, strict=True):
            room = high - low  # two half widths on each side
            assert low - room < theory < high + room, (name, place)


def test_other_models_are_told_from_the_optimum():
    best = CLOSED_FORMS["one_step"](setting_of(SKEWED, optimal(SKEWED).config)).gamma
    model = with_gamma(torch.trace(best) / D * torch.eye(D, dtype=torch.float64))
    found = rows(study(model, random_like(model), SKEWED, FAST), "one_step")
    assert found["one_step_share"].measured == pytest.approx(1)
    assert found["gamma_error"].measured > 0.2
    assert found["gamma_error"].ci.low > 0.1
    assert found["gamma_cosine"].measured < 0.98
    assert found["excess_gap"].ci.low > 0
    assert found["excess_ratio"].ci.low > 1


def test_an_isotropic_optimum_has_every_special_form():
    model = optimal(TASK)
    found = study(model, random_like(model), TASK, FAST)
    step = rows(found, "mahankali_step")["sum_step"]
    assert step.theory == pytest.approx(1 / (N + D + 1))
    assert step.measured == pytest.approx(step.theory, rel=1e-5)
    split = rows(found, "zhang_split")["split"]
    assert split.theory == pytest.approx(1)
    assert split.measured == pytest.approx(1 / (N / (N + D + 1) * D**0.5))
    way = next(each.between for each in found.compared if each.name == "one_step")
    assert way.note == ""
    assert max(way.excess) - min(way.excess) < 1e-9


@pytest.fixture(scope="module")
def deep() -> Study:
    steps = [step.real for step in best_steps(3, N, D).step_sizes]
    order = [steps[1], steps[2], steps[0]]
    model = CONSTRUCTIONS["gd"].build(D, N + 1, 3, step_size=order)
    return study(model, random_like(model), TASK, FAST)


def test_layers_that_take_the_best_steps_are_found_in_any_order(deep):
    found = rows(deep, "best_steps")
    for place in (1, 2, 3):
        row = found[f"step_{place}"]
        assert row.measured == pytest.approx(row.theory, rel=1e-5)
        assert row.ci.low <= row.measured + 1e-9
        assert found[f"layer_{place}_r2"].measured == pytest.approx(1)
        assert found[f"layer_{place}_r2"].controls["another prompt's gradient"] < 0.3
        assert found[f"layer_{place}_distance"].measured == pytest.approx(0, abs=1e-5)
    excess = found["excess"]
    assert excess.ci.low - 0.1 < excess.theory < excess.ci.high + 0.1
    way = next(each.between for each in deep.compared if each.name == "best_steps")
    assert max(way.excess) == pytest.approx(min(way.excess), abs=1e-6)


def test_debiased_heads_match_the_debiased_step_and_not_the_plain_one():
    config = CONSTRUCTIONS["debiased_gd"].build(D, N + 1, step_size=1.0).config
    said = CLOSED_FORMS["debiased_step"](setting_of(TASK, config))
    model = CONSTRUCTIONS["debiased_gd"].build(D, N + 1, step_size=float(said.gamma[0, 0]), scale=1e-3)
    found = study(model, random_like(model), TASK, FAST)
    told = rows(found, "debiased_step")
    assert told["gamma_error"].measured < 1e-3
    assert told["nmse"].measured < 1e-6
    assert told["gradient_cosine"].measured == pytest.approx(1, abs=1e-5)
    assert told["excess"].ci.low < said.excess < told["excess"].ci.high
    way = next(each.between for each in found.compared if each.name == "debiased_step")
    assert "no way to it" in way.note


def test_a_head_is_held_against_the_one_of_its_own_signs():
    config = CONSTRUCTIONS["debiased_gd"].build(D, N + 1, step_size=1.0).config
    model = Transformer(replace(config, n_heads=1), torch.Generator().manual_seed(3)).double()
    mirrored = Transformer(model.config, torch.Generator().manual_seed(3)).double()
    with torch.no_grad():
        attention = mirrored.blocks[0].attn
        attention.qkv.weight[: len(attention.qkv.weight) // 3].neg_()  # queries
        attention.out.weight.neg_()
    said = SoftmaxHead(0.5, 1.5, 0.2)
    one, other = signed(said, model), signed(said, mirrored)
    assert {one.sharpness, other.sharpness} == {0.5, -0.5}
    assert one.sharpness * one.value == other.sharpness * other.value == pytest.approx(0.75)
    omega = products(model).key_query[0, 0, :D, :D].diagonal().mean()
    assert omega * one.sharpness > 0


def test_relu_attention_has_its_step():
    base = with_gamma(torch.eye(D, dtype=torch.float64))
    model = Transformer(replace(base.config, attention="relu")).double()
    model.load_state_dict(base.state_dict())
    row = rows(study(model, random_like(model), TASK, FAST), "relu_step")["relu_step"]
    assert row.theory == pytest.approx(2 * N / (N + 2 * D + 3))
    assert row.measured == pytest.approx(1)


def test_a_causal_model_is_measured_at_every_position():
    config = replace(with_gamma(torch.eye(D, dtype=torch.float64)).config, causal=True, n_ctx=None)
    gamma = CLOSED_FORMS["causal_one_step"](setting_of(TASK, config)).gamma
    base = with_gamma(gamma)
    model = Transformer(config).double()
    model.load_state_dict(base.state_dict())
    found = study(model, random_like(model), TASK, FAST)
    assert rows(found, "causal_one_step")["gamma_error"].measured == pytest.approx(0, abs=1e-5)
    (curve,) = [each.curve for each in found.compared if each.name == "causal_curve"]
    assert curve.at == tuple(float(k) for k in range(1, N + 1))
    for theory, low, high in zip(curve.theory, curve.low, curve.high, strict=True):
        assert low - (high - low) < theory < high + (high - low)


def test_a_plain_transformer_is_held_against_references_alone_and_told_why():
    config = TransformerConfig(n_layers=1, d_model=8, n_heads=2).shaped(TASK.model_shape())
    found = study(Transformer(config), Transformer(config), TASK, FAST, [(0, Transformer(config))])
    applying = {each.name for each in found.compared if not each.fault}
    assert applying == {"least_squares_curve", "averaging_curve", "one_step_curve"}
    assert found.gamma is None
    assert found.products is None
    assert "model.layout must be 'pairs'" in found.unfolded
    assert found.over_training == ()
    record = to_record(found)
    faults = {form["name"]: form["fault"] for form in record["closed_forms"]}
    assert faults["one_step"] == "model.attention must be 'linear'; got 'softmax'"


def test_scaled_prompts_keep_their_noise():
    plain, scaled = drawn(SKEWED, 50, 0), drawn(SKEWED, 50, 0, scale=3.0)
    torch.testing.assert_close(scaled.xs, 3 * plain.xs)
    clean = (plain.xs * plain.latents["w"][:, None]).sum(-1)
    torch.testing.assert_close(scaled.ys - plain.latents["noise"], 3 * clean, rtol=1e-5, atol=1e-5)


def test_a_longer_model_says_the_same_and_positions_stop_it():
    model = optimal(TASK)
    longer = lengthened(model, 2 * N)
    batch = drawn(TASK, 10, 0)
    torch.testing.assert_close(observe(longer, batch).said, observe(model, batch).said)
    assert observe(longer, drawn(TASK, 10, 0, n_examples=2 * N)).said.shape == (10,)
    learned = Transformer(replace(model.config, positions="learned")).double()
    with pytest.raises(InputError, match="must be 'none' for prompts longer than trained; got 'learned'"):
        lengthened(learned, 2 * N)


def _record(values: dict[str, float | None]) -> dict:
    made = [{"quantity": name, "label": name, "theory": 1.0, "measured": value} for name, value in values.items()]
    return {"closed_forms": [{"name": "one_step", "rows": made}]}


def test_runs_are_summed_up_with_students_interval():
    found = over_runs([_record({"a": 1.0, "b": 2.0}), _record({"a": 2.0}), _record({"a": 3.0, "b": None})])
    first, second = found
    assert (first.quantity, first.mean, first.values) == ("a", 2.0, (1.0, 2.0, 3.0))
    assert first.ci == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))
    assert (second.mean, second.ci, second.values) == (2.0, None, (2.0, None, None))


@pytest.mark.parametrize("changes", [{"n_prompts": 10}, {"n_checkpoints": -1}, {"n_resamples": 1}])
def test_settings_out_of_range_are_refused(changes):
    (name,) = changes
    with pytest.raises(InputError, match=f"{name} must be a whole number of at least"):
        TheoryConfig(**changes)


def test_long_prompts_run_a_few_at_once():
    model = optimal(TASK)
    short, long = (drawn(TASK, 500, 0, n_examples=n) for n in (N, 100 * N))
    assert pieces(model, short) == 4000
    few = pieces(lengthened(model, 100 * N), long)
    assert few * (100 * N) ** 2 < 2**24
    seen = observe(lengthened(model, 100 * N), long.prompts(0, 2 * few + 1))
    again = observe(lengthened(model, 100 * N), long.prompts(2 * few, 2 * few + 1))
    torch.testing.assert_close(seen.said[-1:], again.said)
