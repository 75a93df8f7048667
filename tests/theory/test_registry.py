"""Which closed forms apply where, and what they say when they do not."""

from dataclasses import replace

import pytest
import torch

from workbench import baselines
from workbench.against_theory.study import setting_of
from workbench.errors import InputError
from workbench.models.config import TransformerConfig
from workbench.regression_law import AutoregressiveLaw
from workbench.tasks import (
    LinearRegression,
    MultiTaskRegression,
    NonlinearRegression,
    RandomCovarianceRegression,
    RandomNoiseRegression,
    SineRegression,
)
from workbench.theory import CLOSED_FORMS, Curve, OneStep, Scalar, Setting, Steps
from workbench.theory.autoregressive import constant_start, sparse_start
from workbench.training.config import preset_config

LSA = TransformerConfig(
    n_layers=1,
    d_model=6,
    n_heads=1,
    attention="linear",
    positions="none",
    norm="none",
    mlp="none",
    bias=False,
    layout="pairs",
    causal=False,
    query_in_keys=False,
)
TASK = LinearRegression(d_input=5, n_context=21)
CURVES = {"least_squares_curve", "averaging_curve", "one_step_curve"}


def setting(model: TransformerConfig = LSA, task: LinearRegression = TASK, **changes) -> Setting:
    task = replace(task, **{k: v for k, v in changes.items() if hasattr(task, k)})
    model = replace(model, **{k: v for k, v in changes.items() if hasattr(model, k)})
    return Setting(task.law(), model, task.name)


def of_sequence(moments, *, sign_symmetric: bool) -> Setting:
    law = AutoregressiveLaw(3, 6, "diagonal_unitary", "given", moments, sign_symmetric, 1.0)
    return Setting(law, replace(LSA, layout="augmented_states", causal=True, query_in_keys=True))


def applying(at: Setting) -> set[str]:
    return {name for name, form in CLOSED_FORMS.items() if not form.fault(at)}


def test_one_layer_of_linear_attention_has_its_closed_forms():
    linear = {"one_step", "mahankali_step", "zhang_split", "length_curve", "scale_curve", "best_steps"}
    assert applying(setting()) == CURVES | linear
    assert applying(setting(noise_std=0.5)) == CURVES | linear - {"zhang_split"} | {"bayes_limit_curve"}
    assert applying(setting(inputs="uniform")) == {"one_step", "length_curve", "scale_curve"}
    assert applying(setting(covariance="skewed", basis="fixed")) == {
        *("one_step", "zhang_split", "length_curve", "scale_curve")
    }
    assert applying(setting(covariance="skewed")) == {"random_covariance"}
    assert applying(setting(weights="sparse")) == CURVES | linear
    assert applying(setting(weights="pool", n_pool=3)) == set()


def test_other_models_have_theirs():
    assert applying(setting(causal=True)) == CURVES | {"causal_one_step", "causal_curve"}
    assert applying(setting(n_layers=3)) == CURVES | {"best_steps", "best_gd_plus_plus"}
    assert applying(setting(attention="softmax", n_heads=2)) == CURVES | {"debiased_step"}
    assert applying(setting(n_layers=3, products="labels_only", projections=False)) == CURVES | {"best_steps"}
    assert applying(setting(n_layers=2, tied_layers=True, inputs="uniform")) == {"best_gd_plus_plus"}
    assert applying(setting(attention="softmax")) == CURVES | {"one_softmax_head"}
    assert applying(setting(attention="relu")) == CURVES | {"relu_step"}
    assert applying(setting(TransformerConfig())) == CURVES


@pytest.mark.parametrize(
    ("name", "changes", "fault"),
    [
        ("one_step", {"attention": "softmax"}, "model.attention must be 'linear'; got 'softmax'"),
        ("one_step", {"n_layers": 2}, "model.n_layers must be 1; got 2"),
        ("one_step", {"mlp": "gelu"}, "model.mlp must be 'none'; got 'gelu'"),
        ("one_step", {"causal": True}, "model.causal must be False; got True"),
        ("one_step", {"covariance": "skewed"}, "covariance must be that of every prompt; got 'one per prompt'"),
        ("one_step", {"weights": "pool"}, "weights must have a law symmetric about 0; got 'pool'"),
        ("mahankali_step", {"inputs": "uniform"}, "inputs must be 'gaussian'; got 'uniform'"),
        ("zhang_split", {"noise_std": 0.5}, "noise variance must be 0; got 0.25"),
        ("random_covariance", {}, "covariance must be drawn anew for each prompt; got 'one for all'"),
        ("best_steps", {"covariance": "skewed", "basis": "fixed"}, "prior of w must be a multiple of the inverse"),
        ("debiased_step", {"attention": "softmax", "n_heads": 1}, "model.n_heads must be at least 2; got 1"),
        ("causal_one_step", {}, "model.causal must be True; got False"),
        ("bayes_limit_curve", {}, "noise variance must be above 0; got 0.0"),
        ("autoregressive_step", {}, "task must be x_{t+1} = W x_t without noise, W unitary; got 'no sequence'"),
        ("best_gd_plus_plus", {}, "model.n_layers must be at least 2; got 1"),
        ("step_behind_copying", {}, "model.n_layers must be 2; got 1"),
        ("one_softmax_head", {"attention": "softmax", "n_heads": 2}, "model.n_heads must be 1; got 2"),
        ("debiased_steps_of_tasks", {"attention": "softmax", "n_heads": 2}, "labels must be several, each linear in x"),
        ("feature_step", {}, "task 'linear_regression' must say the second moments of its functions; got 'none'"),
        ("nonlinear_step", {}, "target must be of a family that rotations and a change of sign leave alone"),
    ],
)
def test_a_closed_form_says_which_assumption_fails(name, changes, fault):
    with pytest.raises(InputError) as told:
        CLOSED_FORMS[name](setting(**changes))
    assert str(told.value).startswith(f"{name} does not describe this model: {fault}")
    assert "\n" not in str(told.value)


def test_a_task_without_a_law_is_told_so():
    silent = Setting(None, LSA, "riddles")
    assert applying(silent) == set()
    with pytest.raises(InputError, match="task 'riddles' must say the law of its prompts; it says none"):
        CLOSED_FORMS["one_step"](silent)


def test_every_closed_form_says_something_where_it_applies():
    places = [
        *(setting(noise_std=0.5), setting(), setting(covariance="skewed"), setting(causal=True)),
        *(setting(attention="softmax", n_heads=2), setting(attention="relu"), setting(n_layers=2)),
        *(setting(n_layers=2, products="merged"), setting(attention="softmax")),
        setting(preset_config("linear_regression", "von_oswald_copying").resolved().model),
        of_sequence(sparse_start(3), sign_symmetric=True),
        of_sequence(constant_start(3), sign_symmetric=False),
        setting_of(MultiTaskRegression(), replace(LSA, attention="softmax", n_heads=4, d_head=6)),
        setting_of(NonlinearRegression(), LSA),
        setting_of(SineRegression(), replace(LSA, d_model=8, mlp="gelu", mlp_first=True)),
    ]
    said = {name: form(at) for at in places for name, form in CLOSED_FORMS.items() if not form.fault(at)}
    assert set(said) == set(CLOSED_FORMS)
    assert isinstance(said["one_step"], OneStep)
    assert isinstance(said["best_steps"], Steps)
    assert isinstance(said["zhang_split"], Scalar)
    assert said["zhang_split"].value == pytest.approx(1)
    assert said["autoregressive_step"].step == pytest.approx(1)
    for form in said.values():
        if isinstance(form, Curve):
            assert len(form.at) == len(form.excess)
            assert all(value >= 0 for value in form.excess)


def test_the_autoregressive_form_refuses_a_start_whose_odd_moments_stay():
    fault = CLOSED_FORMS["autoregressive_step"].fault(of_sequence(constant_start(3), sign_symmetric=False))
    assert fault == "odd mixed moments of the start must vanish; those of 'given' do not"


def test_where_prompts_differ_in_noise_no_ridge_is_called_bayes():
    """What is linear in the labels errs as at the mean noise variance."""
    at = Setting(RandomNoiseRegression().law(), LSA, "random_noise_regression")
    assert applying(at) == applying(setting(noise_std=0.5)) - {"bayes_limit_curve"}
    assert "noise level must be that of every prompt; got 'one per prompt'" in CLOSED_FORMS["bayes_limit_curve"].fault(
        at
    )
    task = RandomNoiseRegression(d_input=3, n_context=13)
    batch = task.prompts(0, "test", 0, 20_000).to(dtype=torch.float64)
    said = baselines.predict("ols", batch.xs, batch.ys)[:, -1]
    missed = (said - (batch.ys - batch.latents["noise"])[:, -1]).square()
    curve = CLOSED_FORMS["least_squares_curve"](Setting(task.law(), replace(LSA, d_model=4), task.name))
    assert isinstance(curve, Curve)
    assert curve.at[-1] == 12
    assert abs(missed.mean() - curve.excess[-1]) < 5 * missed.std() / 20_000**0.5


def test_covariances_with_drawn_eigenvalues_have_a_step_of_their_own():
    task = RandomCovarianceRegression(d_input=4, n_context=11, noise_std=0.5, w_scale=2.0)
    said = CLOSED_FORMS["random_covariance"](Setting(task.law(), replace(LSA, d_model=5), task.name))
    batch = task.prompts(0, "test", 0, 60_000).to(dtype=torch.float64)
    g = (batch.ys[:, :-1, None] * batch.xs[:, :-1]).mean(1)
    query, truth = batch.xs[:, -1], batch.ys[:, -1] - batch.latents["noise"][:, -1]
    one = (query * g).sum(-1)
    slope = float((one * truth).sum() / (one * one).sum())
    left = truth - slope * one
    error = float((one**2 * left**2).sum().sqrt() / (one**2).sum())
    assert abs(slope - float(said.gamma[0, 0])) < 4 * error
    errors = (float(said.gamma[0, 0]) * one - truth).square()
    assert abs(float(errors.mean()) - said.excess) < 4 * float(errors.std()) / len(errors) ** 0.5


def test_a_query_among_the_keys_changes_lengths_and_not_the_optimum():
    apart, among = setting(), setting(query_in_keys=True)
    gamma = CLOSED_FORMS["one_step"](apart).gamma
    assert torch.equal(gamma, CLOSED_FORMS["one_step"](among).gamma)
    here, there = (CLOSED_FORMS["length_curve"](at) for at in (apart, among))
    assert here.at == there.at == (10, 20, 40, 80, 200)
    assert here.excess[1] == pytest.approx(there.excess[1])
    assert abs(here.excess[0] - there.excess[0]) > 1e-3


def test_scaled_w_and_x_only_change_units():
    plain, scaled = setting(n_layers=3), setting(n_layers=3, w_scale=2.0, input_scale=0.5, noise_std=0.0)
    steps = [CLOSED_FORMS["best_steps"](at) for at in (plain, scaled)]
    assert steps[0].step_sizes == pytest.approx(steps[1].step_sizes)
    assert steps[1].excess == pytest.approx(steps[0].excess)
    ends = [CLOSED_FORMS["one_step"](at) for at in (setting(), setting(w_scale=2.0, input_scale=0.5))]
    assert torch.allclose(ends[1].gamma, 4 * ends[0].gamma)
