"""What training minimises, against the same numbers worked out differently."""

import pytest
import torch

from tests.helpers import tiny_config
from workbench import baselines
from workbench.batch import TokenBatch
from workbench.models import Transformer, TransformerConfig
from workbench.tasks import LinearRegression
from workbench.training.building import build_model
from workbench.training.loss import least_squares_loss, loss_weights, mean_loss

TASK = LinearRegression(d_input=2, n_context=4)


def errors(model: Transformer, batch: object) -> torch.Tensor:
    return (model.predict(batch) - batch.ys) ** 2


def test_the_loss_is_the_mean_squared_error_of_all_examples(generator: torch.Generator):
    model, batch = build_model(tiny_config()), TASK.sample(6, generator)
    expected = errors(model, batch).mean()
    for n in (None, 4, 99):
        torch.testing.assert_close(mean_loss(model, batch, n), expected)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_shorter_prompt_is_a_mask_with_the_same_loss_and_gradient(generator: torch.Generator, n: int):
    model, batch = build_model(tiny_config()), TASK.sample(6, generator)
    shapes = []
    model.embed.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(inputs[0].shape)))
    masked = mean_loss(model, batch, n)
    masked.backward()
    gradient = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    cut = mean_loss(model, batch.prefix(n))
    cut.backward()
    torch.testing.assert_close(masked, cut)
    torch.testing.assert_close(masked.detach(), errors(model, batch)[:, :n].mean())
    for name, p in model.named_parameters():
        torch.testing.assert_close(gradient[name], p.grad)
    assert shapes[:2] == [(6, 8, 3), (6, 2 * n, 3)], "under the mask the model sees whole prompts"


def test_only_scored_tokens_count(generator: torch.Generator):
    config = TransformerConfig(n_layers=1, d_model=8, n_heads=2, input="tokens", output="logits", d_vocab=5, n_ctx=3)
    model = Transformer(config, generator)
    tokens = torch.tensor([[0, 1, 2], [3, 4, 0]])
    targets = torch.tensor([[1, 2, 3], [4, 0, 1]])
    mask = torch.tensor([[True, False, True], [False, False, True]])
    found = mean_loss(model, TokenBatch(tokens, targets, mask))
    logs = model(tokens).log_softmax(-1)
    torch.testing.assert_close(found, -(logs[0, 0, 1] + logs[0, 2, 3] + logs[1, 2, 1]) / 3)


@pytest.mark.parametrize("n", [None, 2])
def test_the_yardstick_is_ridge_regression_on_the_same_examples(generator: torch.Generator, n: int | None):
    task = LinearRegression(d_input=2, n_context=4, noise_std=0.5, w_scale=2.0)
    batch = task.sample(6, generator)
    predictions = baselines.predict("ridge", batch.xs, batch.ys, ridge=0.0625)  # (0.5 / 2)^2
    expected = ((predictions - batch.ys) ** 2)[:, :n].mean().item()
    found = least_squares_loss(task, batch, loss_weights(batch, 4, n))
    assert found.item() == pytest.approx(expected, rel=1e-6)  # the weights are of the batch's type


def test_there_is_no_yardstick_for_tokens():
    tokens = torch.zeros(1, 2, dtype=torch.int64)
    batch = TokenBatch(tokens, tokens, torch.ones(1, 2, dtype=torch.bool))
    assert least_squares_loss(TASK, batch, loss_weights(batch, 2)) is None


@pytest.mark.parametrize("noise_std", [0.0, 0.3])
@pytest.mark.parametrize("d_active", [2, 5])
def test_recursive_least_squares_is_least_squares_at_every_length(noise_std: float, d_active: int):
    task = LinearRegression(d_input=5, n_context=9, noise_std=noise_std, covariance="skewed")
    batch = task.prompts(0, "test", 0, 16, d_active=d_active).to(dtype=torch.float64)
    name, options = ("ridge", {"ridge": task.least_squares_ridge()}) if noise_std else ("ols", {})
    predictions = baselines.predict(name, batch.xs, batch.ys, **options)
    for n in range(1, 10):
        expected = ((predictions - batch.ys) ** 2)[:, n - 1].mean().item()
        found = least_squares_loss(task, batch.prefix(n), loss_weights(batch.prefix(n), 1))
        assert found.item() == pytest.approx(expected, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("n", [None, 3])
def test_what_a_loss_counts_is_as_exact_as_the_prompts(generator: torch.Generator, n: int | None):
    batch = TASK.sample(7, generator).to(dtype=torch.float64)
    weights = loss_weights(batch, 4, n)
    assert weights.unique().tolist() in ([1 / 28], [0.0, 1 / 21])
