"""Sequences of states: who sees whom, a layer written down, and what cannot be asked of them."""

from dataclasses import replace

import pytest
import torch

from workbench.asking import asked_streams
from workbench.errors import InputError
from workbench.models import Transformer, TransformerConfig
from workbench.tasks import LinearDynamics, LinearRegression, MultiTaskRegression
from workbench.training.config import RunConfig

TASK = LinearDynamics(d_input=2, n_context=5, matrix="rotations")
PLAIN = TransformerConfig(n_layers=2, d_model=8, n_heads=2)
LAYER = TransformerConfig(
    n_layers=1, d_model=6, n_heads=1, attention="linear", attention_scale=1.0, products="merged", projections=False,
    layout="augmented_states", positions="none", norm="none", mlp="none", bias=False,
)  # fmt: skip
layouts = pytest.mark.parametrize("layout", ["states", "augmented_states"])


def model_for(layout: str) -> Transformer:
    return Transformer(replace(PLAIN, layout=layout).shaped(TASK.model_shape())).double().eval()


@layouts
def test_prediction_i_uses_only_states_up_to_i(layout):
    model, batch = model_for(layout), TASK.prompts(0, "test", 0, 4).to(dtype=torch.float64)
    before = model.predict(batch)
    assert before.shape == batch.ys.shape
    for i in range(1, 5):
        changed = replace(batch, xs=torch.cat([batch.xs[:, :i], batch.xs[:, i:] + 1], 1))
        after = model.predict(changed)
        torch.testing.assert_close(after[:, :i], before[:, :i], rtol=0, atol=1e-12)
        assert (after[:, i:] - before[:, i:]).abs().amin((0, 2)).min() > 1e-9
        torch.testing.assert_close(model.predict(batch.prefix(i)), before[:, :i], rtol=0, atol=1e-12)
    losses = model.losses(model(model.encode(batch)), batch)
    torch.testing.assert_close(losses, (before - batch.ys).square().sum(-1))


def test_nobody_sees_the_first_augmented_state():
    model = model_for("augmented_states")
    batch = TASK.prompts(0, "test", 0, 4).to(dtype=torch.float64)
    _, cache = model.run_with_cache(model.encode(batch))
    assert (cache["pattern", 0][..., 0] == 0).all()
    assert (cache["pattern", 0][..., 0, :] == 0).all()


def test_one_layer_written_down_is_one_step_over_the_transitions_seen():
    """f_t = (1/(t-1)) sum_{i<t} x_{i+1} (x_i . x_t): Zheng et al. 2024, with W_KQ and W_PV of ones and zeros."""
    model = Transformer(LAYER.shaped(TASK.model_shape())).double()
    attention = model.layers[0].attn
    with torch.no_grad():
        attention.qkv.keys.zero_()
        attention.qkv.values.zero_()
        attention.qkv.keys[0:2, 2:4] = torch.eye(2)  # the key of a token is the state before its own
        attention.qkv.values[4:6, 0:2] = -torch.eye(2)  # what it gives is its own state
    batch = TASK.prompts(0, "test", 0, 3).to(dtype=torch.float64)
    said = model.predict(batch)
    assert (said[:, 0] == 0).all()
    for t in range(1, 5):
        moment = torch.einsum("bio,bij->boj", batch.ys[:, :t], batch.xs[:, :t]) / t
        expected = torch.einsum("boj,bj->bo", moment, batch.xs[:, t])
        torch.testing.assert_close(said[:, t], expected, rtol=0, atol=1e-12)


@layouts
def test_tasks_whose_labels_are_not_the_next_inputs_are_refused(layout):
    message = f"model.layout must be one of interleaved, .* for task 'multi_task_regression'.*; got '{layout}'"
    with pytest.raises(InputError, match=message):
        RunConfig(MultiTaskRegression(d_input=2, n_used=2), replace(PLAIN, layout=layout, output="vector")).resolved()
    with pytest.raises(InputError, match="whose labels are not the next inputs"):
        RunConfig(LinearRegression(), replace(PLAIN, layout=layout, output="vector")).resolved()
    RunConfig(TASK, replace(PLAIN, layout=layout, output="vector")).resolved()


@layouts
def test_other_queries_cannot_be_asked(layout):
    model, batch = model_for(layout), TASK.prompts(0, "test", 0, 2).to(dtype=torch.float64)
    with pytest.raises(InputError, match=f"layout must have questions of their own to ask others; got '{layout}'"):
        asked_streams(model, batch, batch.xs[:, :, None])
