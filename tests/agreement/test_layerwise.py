"""The whole study on real models."""

from dataclasses import replace

import pytest
import torch

from tests.helpers import tiny_config
from workbench import baselines
from workbench.agreement import AgreementConfig, study
from workbench.agreement.layerwise import fit_read_outs
from workbench.batch import RegressionBatch
from workbench.configs import canonical_json, no_nan, to_data
from workbench.errors import InputError
from workbench.models import Transformer, TransformerConfig
from workbench.tasks import LinearRegression
from workbench.training.building import build_model, load_weights
from workbench.training.program import Program

SMALL = AgreementConfig(n_fit=512, n_prompts=128, n_resamples=20)


@pytest.fixture(scope="module")
def trained():
    config = tiny_config(n_steps=400, lr=1e-2, n_batch=64, warmup_steps=20, clip_norm=1.0)
    config = replace(config, model=replace(config.model, d_model=16))
    model, untrained = build_model(config), build_model(config)
    program = Program([config])
    for _ in range(config.train.n_steps):
        program.update()
    load_weights(model, program.weights_of(0))
    return model.eval(), untrained.eval(), config.task


@pytest.fixture(scope="module")
def found(trained):
    model, untrained, task = trained
    return study(model, untrained, task, SMALL)


def test_the_study_reports_the_models_own_error_and_the_references(trained, found):
    model, _, task = trained
    batch = task.prompts(SMALL.seed, "agreement", 0, SMALL.n_prompts)
    own = ((model.predict(batch) - batch.ys) ** 2).mean(0) / task.d_input
    torch.testing.assert_close(torch.tensor(found.model_error), own, rtol=1e-5, atol=1e-6)
    ols = ((baselines.predict("ols", batch.xs, batch.ys) - batch.ys) ** 2).mean(0) / task.d_input
    torch.testing.assert_close(torch.tensor(found.reference_error["ols"], dtype=torch.float64), ols)
    assert found.scored_positions == (1, 3)
    assert [layer.layer for layer in found.raw.layers] == [0, 1, 2]


def test_the_last_layer_through_the_final_norm_is_read_at_least_as_well_as_the_model_reads_it(trained):
    model, untrained, task = trained
    found = study(model, untrained, task, replace(SMALL, n_fit=2048))
    own = sum(found.model_error[1:]) / len(found.model_error[1:])
    assert found.final_norm is not None
    assert found.final_norm.layers[-1].error <= own * 1.05
    assert found.final_norm.layers[-1].error < found.final_norm.layers[0].error


def test_training_shows_against_the_untrained_control(trained, found):
    _, untrained, task = trained
    nothing = study(untrained, untrained, task, SMALL)
    assert found.raw.layers[-1].error < 0.9 * nothing.raw.layers[-1].error
    assert nothing.raw.verdict.abstained
    for layer in nothing.raw.layers:
        for family in layer.families.values():
            assert family.untrained == pytest.approx(family.best_sim_e)


def test_the_same_settings_give_the_same_study_and_another_seed_gives_another(trained, found):
    model, untrained, task = trained
    same = study(model, untrained, task, SMALL)
    assert canonical_json(no_nan(to_data(found))) == canonical_json(no_nan(to_data(same)))
    assert study(model, untrained, task, replace(SMALL, seed=1)).model_error != found.model_error


def test_read_outs_do_not_see_the_scored_prompts(trained):
    model, _, task = trained
    fewer = fit_read_outs(model, task, SMALL)["raw"].solutions
    more = fit_read_outs(model, task, replace(SMALL, n_prompts=999))["raw"].solutions
    assert torch.equal(fewer, more)


def test_a_model_without_norm_has_one_reading():
    task = LinearRegression(d_input=2, n_context=3)
    config = TransformerConfig(n_layers=1, d_model=8, n_heads=2, norm="none").shaped(task.model_shape())
    model = Transformer(config)
    found = study(model, model, task, SMALL)
    assert found.final_norm is None
    assert found.conventions["newton"] == {"alpha": 1.0, "norm": "spectral"}


@pytest.mark.parametrize("layout", ["interleaved", "pairs"])
def test_a_model_without_causal_mask_is_studied_prefix_by_prefix(layout):
    task, told = LinearRegression(d_input=2, n_context=3), []
    config = TransformerConfig(n_layers=1, d_model=8, n_heads=2, causal=False, layout=layout, norm="none")
    model = Transformer(config.shaped(task.model_shape()))
    found = study(model, model, task, SMALL, told.append)
    batch = task.prompts(SMALL.seed, "agreement", 0, SMALL.n_prompts)
    alone = torch.stack([model.predict(batch.prefix(n + 1))[:, -1] for n in range(3)], 1)
    own = (alone - batch.ys).square().mean(0) / task.d_input
    torch.testing.assert_close(torch.tensor(found.model_error), own, rtol=1e-5, atol=1e-6)
    assert found.raw.layers[-1].error <= 1.05 * own[1:].mean()
    assert any("every prefix alone" in stage for stage in told)


def test_labels_that_are_vectors_are_refused(monkeypatch):
    task = LinearRegression(d_input=2, n_context=3)
    model = Transformer(TransformerConfig(n_layers=1, d_model=8, n_heads=2).shaped(task.model_shape()))
    vectors = RegressionBatch(torch.ones(4, 3, 2), torch.ones(4, 3, 2))
    monkeypatch.setattr(LinearRegression, "prompts", lambda *_, **__: vectors)
    with pytest.raises(InputError, match="labels that are numbers; those of task 'linear_regression' are vectors"):
        study(model, model, task, SMALL)


def test_a_noisy_task_has_a_bayes_anchor_and_a_pool_has_none(trained):
    model, untrained, task = trained
    noisy = study(model, untrained, replace(task, noise_std=0.5), SMALL)
    pool = study(model, untrained, replace(task, noise_std=0.5, weights="pool"), SMALL)
    assert "bayes" in noisy.raw.layers[0].anchors
    assert "bayes" not in pool.raw.layers[0].anchors
    assert "ridge" in pool.reference_error


@pytest.mark.parametrize("positions", [{"first_position": 4}, {"last_position": 4}])
def test_positions_outside_the_prompt_are_refused(trained, positions):
    model, untrained, task = trained
    with pytest.raises(InputError, match=r"scored positions must lie in 0\.\.3"):
        study(model, untrained, task, replace(SMALL, **positions))


def test_the_position_without_examples_is_not_scored_alone(trained):
    model, untrained, task = trained
    with pytest.raises(InputError, match="last_position must be at least 1"):
        study(model, untrained, task, replace(SMALL, first_position=0, last_position=0))
