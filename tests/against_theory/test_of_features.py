"""A layer behind an MLP: one that takes the best step on its features, and one that has not been trained."""

import re
from typing import Any

import pytest
import torch

from workbench.against_theory.config import TheoryConfig
from workbench.against_theory.observed import drawn, observe
from workbench.against_theory.of_features import mlp_features, ridge_risk, step_share
from workbench.against_theory.study import setting_of, study
from workbench.models.transformer import Transformer
from workbench.tasks import SineRegression
from workbench.theory import CLOSED_FORMS
from workbench.theory.features import best_feature_step
from workbench.training.building import build_model
from workbench.training.config import preset_config

CONFIG = preset_config("sine_regression", "von_oswald").resolved()
TASK = SineRegression()
LAW = TASK.function_law()
FAST = TheoryConfig(n_prompts=2000, n_curve=400, n_resamples=20)


def untrained() -> Transformer:
    return build_model(CONFIG).double().eval()


@torch.no_grad()
def constructed() -> Transformer:
    """Labels pass the MLP by in the last coordinate; attention takes the best step on all others."""
    model = untrained()
    attention, block, d = model.layers[0].attn, model.layers[0], model.config.d_model
    assert isinstance(model.embed.weight, torch.Tensor)
    model.embed.weight[-1] = 0
    model.embed.weight[:, -1] = 0
    model.embed.weight[-1, -1] = 1
    block.mlp.W_in[-1] = 0
    block.mlp.W_out[:, -1] = 0
    model.unembed.weight.zero_()
    model.unembed.weight[0, -1] = 1
    assert model.unembed.bias is not None
    model.unembed.bias.zero_()
    for name in ("W_Q", "W_K", "W_V", "W_O"):
        getattr(attention, name).zero_()
    found = best_feature_step(mlp_features(model)(LAW.nodes), LAW)
    attention.W_Q[0] = found.gamma / attention.scale
    attention.W_K[0] = torch.eye(d, dtype=torch.float64)
    attention.W_K[0, -1] = 0
    attention.W_V[0, -1, 0] = 1
    attention.W_O[0, 0, -1] = 1
    return model


def test_too_few_prompts_for_a_gamma_tell_no_share_of_steps():
    model = constructed()
    found = [step_share(mlp_features(model), observe(model, drawn(TASK, n, 0)), FAST) for n in (120, 1000)]
    assert found[0].measured is None
    told = re.search(r"n_prompts must be at least (\d+) for the (\d+) numbers of a Gamma; got 120$", found[0].note)
    assert told is not None
    assert int(told[1]) == 4 * int(told[2]) > 120
    assert found[1].measured > 0.95


def test_a_layer_that_takes_the_best_step_on_its_features_is_found_to():
    found = study(constructed(), untrained(), TASK, FAST)
    (form,) = [each for each in found.compared if each.name == "feature_step"]
    assert not form.fault
    rows: dict[str, Any] = {row.quantity: row for row in form.rows}
    assert rows["nmse"].measured == pytest.approx(0, abs=1e-9)
    assert rows["excess_gap"].measured == pytest.approx(0, abs=1e-9)
    assert rows["gradient_cosine"].measured == pytest.approx(1)
    assert rows["step_share"].measured > 0.99
    risk, best = rows["excess"], rows["feature_excess"]
    assert risk.ci is not None
    assert risk.ci.low < risk.theory < risk.ci.high
    assert risk.theory == best.measured
    assert best.theory <= best.measured < best.controls["x itself"] < best.controls["zero predictor"] + 0.2
    assert rows["nmse"].controls["untrained"] > 0.3
    assert rows["nmse"].controls["from the step on the untrained MLP's"] > 1e-7, (
        "its MLP is the untrained one but for labels"
    )


def test_features_are_what_attention_reads_of_a_query():
    model = untrained()
    batch = drawn(TASK, 3, 0)
    kept = {}
    with model.hooks(fwd_hooks=[("blocks.0.hook_resid_mid", lambda value, hook: kept.update({hook.name: value}))]):
        model(model.encode(batch))
    torch.testing.assert_close(mlp_features(model)(batch.xs)[:, -1], kept["blocks.0.hook_resid_mid"][:, -1])


def test_ridge_on_features_that_hold_the_wave_solves_it():
    seen = observe(untrained(), drawn(TASK, 400, 0))

    def waves(xs: torch.Tensor) -> torch.Tensor:
        return torch.cat([xs.sin(), xs.cos()], -1)

    zero = float(seen.truth.square().mean())
    assert ridge_risk(waves, seen) < 1e-3 * zero
    assert ridge_risk(lambda xs: xs, seen) > 0.5 * zero


def test_other_models_are_told_why_not():
    linear = preset_config("linear_regression", "von_oswald").resolved()
    fault = CLOSED_FORMS["feature_step"].fault(setting_of(linear.task, linear.model))
    assert fault.startswith("task 'linear_regression' must say the second moments of its functions")
    small = preset_config("sine_regression", "small").resolved()
    fault = CLOSED_FORMS["feature_step"].fault(setting_of(small.task, small.model))
    assert fault == "model.n_layers must be 1; got 4"
