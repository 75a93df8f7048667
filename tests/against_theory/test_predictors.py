"""What theory predicts, against constructed transformers that do the same, and loops written out."""

from dataclasses import replace

import pytest
import torch

from workbench.against_theory.config import TheoryConfig
from workbench.against_theory.observed import clean, drawn, observe
from workbench.against_theory.of_sequences import (
    compare_sequence,
    layer_tensor,
    phases_of,
    plain_step,
    plain_tensor,
)
from workbench.against_theory.of_tasks import compare_tasks, head_purity
from workbench.against_theory.phases import coefficients
from workbench.against_theory.predictions import query_gradients
from workbench.against_theory.predictors import predictor, softmax_head
from workbench.against_theory.roll_out import DAMPING, roll_out
from workbench.against_theory.shifts import SHIFTS, shifts
from workbench.against_theory.study import setting_of, study
from workbench.models.constructions import CONSTRUCTIONS
from workbench.models.transformer import Transformer
from workbench.tasks import LinearDynamics, LinearRegression, MultiTaskRegression, NonlinearRegression
from workbench.theory import CLOSED_FORMS, OneStep, ShrinkingSteps, SoftmaxHead, Steps
from workbench.theory.record import TaskSteps
from workbench.theory.softmax_heads import excesses, shared_steps
from workbench.training.building import build_model
from workbench.training.config import preset_config

D, N = 3, 12
TASK = LinearRegression(d_input=D, n_context=N + 1)
SKEWED = LinearRegression(d_input=D, n_context=N + 1, covariance="skewed", basis="fixed", noise_std=0.5)
FAST = TheoryConfig(n_prompts=2000, n_curve=400, n_resamples=20)
EYE = torch.eye(D, dtype=torch.float64)


def of_preset(task: str, preset: str) -> Transformer:
    return build_model(preset_config(task, preset).resolved()).double().eval()


def test_predictors_say_what_constructed_transformers_say():
    batch = drawn(TASK, 50, 0)
    steps, gammas = [0.3, 0.9], [0.2, 0.0]
    model = CONSTRUCTIONS["gd_plus_plus"].build(D, N + 1, 2, step_size=steps, gamma=gammas)
    told = predictor(ShrinkingSteps(tuple(steps), tuple(gammas), 0.0), TASK.law())
    torch.testing.assert_close(told(batch), observe(model, batch).said, rtol=0, atol=1e-10)
    plain = CONSTRUCTIONS["gd"].build(D, N + 1, 2, step_size=steps)
    told = predictor(Steps((0.3 + 0j, 0.9 + 0j), 0.0), TASK.law())
    torch.testing.assert_close(told(batch), observe(plain, batch).said, rtol=0, atol=1e-10)
    assert predictor(Steps((0.3 + 0.1j, 0.3 - 0.1j), 0.0), TASK.law()) is None


def test_a_softmax_head_averages_labels():
    batch = drawn(TASK, 4, 0)
    said = softmax_head(SoftmaxHead(0.7, 2.0, 0.0), batch)
    scores = torch.stack([0.7 * xs[:-1] @ xs[-1] for xs in batch.xs])
    torch.testing.assert_close(said, 2 * (scores.softmax(-1) * batch.ys[:, :-1]).sum(-1))


def test_gradients_of_a_step_are_its_weights():
    batch = drawn(SKEWED, 20, 0)
    gamma = torch.randn(D, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = query_gradients(predictor(OneStep(gamma, 0.0), SKEWED.law()), batch)
    g = (batch.ys[:, :-1, None] * batch.xs[:, :-1]).mean(1)
    torch.testing.assert_close(found, g @ gamma.mT)


@pytest.fixture(scope="module")
def shifted():
    law = SKEWED.law()
    gamma = CLOSED_FORMS["one_step"](setting_of(SKEWED, of_preset("linear_regression", "zhang").config)).gamma
    predict = predictor(OneStep(gamma, 0.0), law)
    model = CONSTRUCTIONS["preconditioned_gd"].build(D, N + 1, 1, preconditioner=(gamma + gamma.mT) / 2, step_size=1.0)
    return {each.axis: each for each in shifts(predict, model, SKEWED, law, FAST)}


def test_a_model_that_is_theorys_predictor_is_so_on_all_other_prompts(shifted):
    assert set(shifted) == set(SHIFTS)
    for each in shifted.values():
        assert max(each.apart) < 1e-10, each.axis
        assert each.excess == pytest.approx(each.theory)
        for ratio in (each.over, each.over_low, each.over_high):
            assert ratio == pytest.approx([1.0] * len(each.at)), "whatever the prompts"
        assert all(low < value < high for low, value, high in zip(each.low, each.excess, each.high, strict=True))


def test_shifts_change_what_they_say(shifted):
    query, weights = (shifted[name] for name in ("query", "weights"))
    assert query.excess[2] == pytest.approx(4 * query.excess[1])
    assert query.zero[2] == pytest.approx(4 * query.zero[1])
    assert weights.at[1] == 1.0
    assert shifted["labels"].excess[0] < shifted["labels"].excess[-1]
    batch = drawn(SKEWED, 400, 0)
    for name, at in (("inputs", 2.0), ("law", 1.5), ("covariance", 4.0), ("query", 3.0)):
        changed = SHIFTS[name].change(batch, at, torch.Generator().manual_seed(0))
        noise = changed.ys - (changed.xs * batch.latents["w"][:, None]).sum(-1)
        torch.testing.assert_close(noise, batch.ys - clean(batch), rtol=1e-4, atol=1e-5)
    law = SHIFTS["law"].change(batch, 1.5, torch.Generator().manual_seed(0))
    assert law.xs[:, :-1].flatten(1).norm(dim=1).tolist() == pytest.approx([1.5] * 400)


def test_a_layer_rolled_out_is_damped_gradient_descent():
    eta = 0.5
    model = CONSTRUCTIONS["gd"].build(D, N + 1, 1, step_size=eta)
    seen = observe(model, drawn(TASK, 50, 0))
    found = roll_out(OneStep(eta * EYE, 0.0), model, seen)
    batch, w = seen.batch, torch.zeros(50, D, dtype=torch.float64)
    for step in range(4):
        error = (batch.xs[:, -1] * w).sum(-1) - seen.truth
        assert found.excess[step] == pytest.approx(float(error.square().mean()))
        left = (batch.xs[:, :-1] @ w[..., None])[..., 0] - batch.ys[:, :-1]
        w = w - DAMPING * eta * (left[..., None] * batch.xs[:, :-1]).mean(1)
    assert found.excess == pytest.approx(found.theory)
    assert found.excess[-1] < 0.1 * found.excess[0]
    assert roll_out(OneStep(EYE, 0.0, centred=True), model, seen) is None


def test_sizes_of_gd_plus_plus_are_read_from_weights():
    best = CLOSED_FORMS["best_gd_plus_plus"](
        setting_of(TASK, CONSTRUCTIONS["gd"].build(D, N + 1, 2, step_size=1.0).config)
    )
    model = CONSTRUCTIONS["gd_plus_plus"].build(D, N + 1, 2, step_size=best.step_sizes, gamma=best.gammas)
    before = Transformer(model.config, torch.Generator().manual_seed(1)).double()
    compared = study(model, before, TASK, FAST, [(0, before), (9, model)])
    (one,) = [each for each in compared.compared if each.name == "best_gd_plus_plus"]
    rows = {row.quantity: row for row in one.rows}
    for name in ("layer_1_eta", "layer_1_gamma", "layer_2_eta"):
        assert rows[name].measured == pytest.approx(rows[name].theory, rel=1e-5), name
    assert "layer_2_gamma" not in rows
    assert rows["nmse"].measured < 1e-10
    assert rows["nmse"].controls["untrained"] > 0.5
    assert rows["gradient_cosine"].measured == pytest.approx(1)
    assert max(one.between.excess) == pytest.approx(min(one.between.excess), rel=1e-6)
    assert compared.over_training[0]["nmse"] > 0.5
    assert compared.over_training[1]["nmse"] < 1e-10
    plain = {each.name: each for each in compared.compared}["best_steps"]
    assert {row.quantity: row for row in plain.rows}["nmse"].measured > 1e-3


def test_a_step_on_networks_is_best_as_mahankali_say():
    task = NonlinearRegression(d_input=D, n_context=N + 1, noise_std=0.3)
    config = CONSTRUCTIONS["gd"].build(D, N + 1, 1, step_size=1.0).config
    said = CLOSED_FORMS["nonlinear_step"](setting_of(task, config))
    assert float(said.gamma[0, 0]) / N == pytest.approx(0.0468, abs=1e-4)
    model = CONSTRUCTIONS["gd"].build(D, N + 1, 1, step_size=float(said.gamma[0, 0]))
    seen = observe(model, drawn(task, 40_000, 0))
    errors = (seen.said - seen.truth).square()
    assert abs(float(errors.mean()) - said.excess) < 4 * float(errors.std()) / 200
    slope = (seen.said * seen.truth).mean() / seen.said.square().mean()
    assert float(slope) == pytest.approx(1, abs=0.05)


# Sequences

SEQUENCES = LinearDynamics(d_input=4, n_context=9, matrix="rotations")


@pytest.mark.parametrize("is_complex", [True, False])
def test_the_plain_step_is_its_sum(is_complex):
    xs = SEQUENCES.prompts(0, "test", 0, 3).xs.double()
    found = plain_step(xs, is_complex=is_complex)
    states = torch.view_as_complex(xs.unflatten(-1, (2, 2)).contiguous()) if is_complex else xs
    for t in range(1, 9):
        told = sum(states[:, i + 1] * (states[:, i].conj() * states[:, t]).sum(-1, keepdim=True) for i in range(t)) / t
        told = torch.view_as_real(told).flatten(-2) if is_complex else told
        torch.testing.assert_close(found[:, t], told)
    assert not found[:, 0].any()


def plain_layer(step: float) -> Transformer:
    config = preset_config("linear_dynamics", "zheng").resolved().model
    shape = SEQUENCES.model_shape()
    data = {"d_model": 12, "d_input": None, "n_context": None, "d_output": None, "products": "merged"}
    model = Transformer(replace(config, **data).shaped(shape)).double().eval()
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    turned, eye = torch.block_diag(turn, turn), torch.eye(4, dtype=torch.float64)
    keys, values = (torch.zeros(2, 12, 12, dtype=torch.float64) for _ in range(2))
    for head, (value, score) in enumerate(((eye, eye), (turned, turned.mT))):
        keys[head, 4:8, :4] = score
        values[head, 8:, :4] = -step * value
    with torch.no_grad():
        for name, found in (("keys", keys), ("values", values)):
            parameter = getattr(model.layers[0].attn.qkv, name)
            parameter.copy_(found.flatten(0, 1) if name == "values" else found.mT.flatten(0, 1))
    return model


def test_a_plain_layer_is_found_by_weights_and_by_behaviour():
    model = plain_layer(0.3)
    xs = SEQUENCES.prompts(0, "test", 0, 3).to(dtype=torch.float64)
    said = model.predict(xs)
    torch.testing.assert_close(said[:, 1:], 0.3 * plain_step(xs.xs, is_complex=True)[:, 1:])
    torch.testing.assert_close(layer_tensor(model, 4), 0.3 * plain_tensor(4, is_complex=True))
    before = Transformer(model.config, torch.Generator().manual_seed(2)).double()
    said_of = CLOSED_FORMS["autoregressive_step"](setting_of(SEQUENCES, model.config))
    rows = {row.quantity: row for row in compare_sequence(said_of, model, before, SEQUENCES, FAST, is_complex=True)}
    for name in ("product", "weights_product"):
        assert rows[name].measured == pytest.approx(0.3), name
    for name in ("one_step_share", "weights_share"):
        assert rows[name].measured == pytest.approx(1), name
        assert rows[name].controls["untrained"] < 0.5
    assert said_of.recovered == pytest.approx(said_of.step)
    assert rows["recovered"].ci.low < 0.3 < rows["recovered"].ci.high


def turned_layer(step: float, phases: torch.Tensor) -> Transformer:
    """V = step D and K = D of one complex head."""
    model = Transformer(replace(plain_layer(step).config, products="complex")).double().eval()
    keys, values = (torch.zeros(6, 12, dtype=torch.float64) for _ in range(2))
    for j, phase in enumerate(phases):
        row = torch.stack([phase.real, -phase.imag])
        keys[j, 4 + 2 * j : 6 + 2 * j] = row
        values[4 + j, 2 * j : 2 + 2 * j] = -step * row
    with torch.no_grad():
        model.layers[0].attn.qkv.keys.copy_(keys)
        model.layers[0].attn.qkv.values.copy_(values)
    return model


def test_a_step_in_phases_of_its_own_errs_as_much_and_is_found():
    phases = torch.polar(torch.ones(2, dtype=torch.float64), torch.tensor([0.0, 2.0], dtype=torch.float64))
    model, plain = turned_layer(0.3, phases), plain_layer(0.3)
    torch.testing.assert_close(phases_of(model), phases)
    torch.testing.assert_close(phases_of(plain), torch.ones_like(phases))
    batch = SEQUENCES.prompts(0, "test", 0, 3).to(dtype=torch.float64)
    told = plain_step(batch.xs, is_complex=True, phases=phases)
    torch.testing.assert_close(model.predict(batch)[:, 1:], 0.3 * told[:, 1:])
    many = SEQUENCES.prompts(0, "test", 0, 20_000).to(dtype=torch.float64)
    losses = [(each.predict(many) - many.ys)[:, 1:].square().sum(-1).mean(1) for each in (model, plain)]
    assert abs(float((losses[0] - losses[1]).mean())) < 4 * float((losses[0] - losses[1]).std()) / 20_000**0.5
    said = CLOSED_FORMS["autoregressive_step"](setting_of(SEQUENCES, model.config))
    before = Transformer(model.config, torch.Generator().manual_seed(2)).double()
    rows = {row.quantity: row for row in compare_sequence(said, model, before, SEQUENCES, FAST, is_complex=True)}
    for name in ("product", "weights_product"):
        assert rows[name].measured == pytest.approx(0.3), name
    for name in ("one_step_share", "weights_share"):
        assert rows[name].measured == pytest.approx(1), name
        assert rows[name].controls["untrained"] < 0.5


def test_what_is_no_complex_map_has_no_phases_that_make_it_a_step():
    """Conjugated values are as far from every complex map as can be."""
    tensor = plain_tensor(4, is_complex=True)
    conjugate = torch.diag(torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64))
    of_conjugates = torch.einsum("ovkq,vw->owkq", 2 * tensor[:, :4, 4:, :4], conjugate)
    assert coefficients(of_conjugates).abs().max() < 1e-12
    torch.testing.assert_close(coefficients(2 * tensor[:, :4, 4:, :4]), torch.ones(2, 2, dtype=torch.complex128))


# Several labels


def test_heads_of_one_label_are_pure():
    found = head_purity(torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, 1e-4]], dtype=torch.float64))
    assert found[:2].tolist() == [1.0, 0.5]
    assert found[2].isnan()


def heads_of_steps(task: MultiTaskRegression, values: torch.Tensor) -> tuple[Transformer, TaskSteps]:
    """Softmax heads of small scores that together take theory's step for each label, given their label weights."""
    config = preset_config("multi_task_regression", "he_head_per_sign").resolved().model
    blank = replace(config, n_heads=len(values), d_model=5, d_head=5, d_input=None, n_context=None, d_output=None)
    model = Transformer(blank.shaped(task.model_shape())).double().eval()
    said = CLOSED_FORMS["debiased_steps_of_tasks"](setting_of(task, model.config))
    wanted = torch.stack([gamma.diagonal() for gamma in said.own])
    scores, scale = torch.linalg.pinv(values.mT) @ wanted, 1e-3
    with torch.no_grad():
        attention = model.layers[0].attn
        for name in ("W_Q", "W_K", "W_V", "W_O"):
            getattr(attention, name).zero_()
        for head, (own, score) in enumerate(zip(values, scores, strict=True)):
            attention.W_Q[head, :3, :3] = scale * score.diag() * 5**0.5
            attention.W_K[head, :3, :3] = torch.eye(3)
            attention.W_V[head, 3:, 3:] = torch.eye(2)
            attention.W_O[head, 3:, 3:] = -own.diag() / scale
    return model, said


def test_labels_are_measured_one_by_one():
    task = MultiTaskRegression(d_input=3, n_used=2, n_context=13, noise_std=0.3)
    two_each = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    model, said = heads_of_steps(task, two_each)
    many, untrained = replace(FAST, n_prompts=20_000), Transformer(model.config).double()
    rows = {row.quantity: row for row in compare_tasks(said, model, untrained, task, many)}
    for label in (1, 2):
        assert rows[f"label_{label}_gamma_error"].measured < 1e-2
        assert rows[f"label_{label}_nmse"].measured < 1e-4
        assert rows[f"label_{label}_excess"].ci.low < rows[f"label_{label}_excess"].theory
        assert rows[f"label_{label}_excess"].ci.high > rows[f"label_{label}_excess"].theory
    assert rows["head_purity"].measured == pytest.approx(1)
    assert rows["head_purity"].controls["random"] == pytest.approx(0.82, abs=0.03)
    assert rows["zero_sum"].measured == pytest.approx(0, abs=1e-9)
    assert rows["excess_ratio"].measured == rows["excess_over_own"].measured == pytest.approx(1, abs=1e-3)
    assert rows["excess_ratio"].ci.high - rows["excess_ratio"].ci.low < 1e-3 < rows["excess"].ci.high / 50
    diagonal = shared_steps(task.laws())
    shared = TaskSteps(diagonal, excesses(diagonal, task.laws()), True, said.gammas)
    rows = {row.quantity: row for row in compare_tasks(shared, model, untrained, task, FAST)}
    assert rows["excess_ratio"].ci.high < 0.95, "own heads beat one diagonal"
    assert rows["excess_over_own"].measured == pytest.approx(1, abs=1e-3)
    assert rows["excess_over_own"].controls["theory's predictor"] == pytest.approx(
        1 / rows["excess_ratio"].measured, 1e-2
    )


def test_one_head_more_than_labels_takes_a_step_of_its_own_for_each():
    """Three heads, one of which serves both labels: no worse than two heads for each label."""
    task = MultiTaskRegression(d_input=3, n_used=2, n_context=13, noise_std=0.3)
    model, said = heads_of_steps(task, torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], dtype=torch.float64))
    rows = {row.quantity: row for row in compare_tasks(said, model, Transformer(model.config).double(), task, FAST)}
    assert rows["excess_over_own"].measured == pytest.approx(1, abs=2e-3)
    assert rows["excess_ratio"].ci.high < 0.95, "better than one shared diagonal"
    assert rows["head_purity"].measured == pytest.approx(5 / 6)
    assert rows["zero_sum"].measured == pytest.approx(0, abs=1e-9)
