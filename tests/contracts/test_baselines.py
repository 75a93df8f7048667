"""What holds for every reference algorithm."""

import pytest
import torch

from workbench import baselines
from workbench.baselines import BASELINES

every_baseline = pytest.mark.parametrize("baseline", BASELINES.values(), ids=list(BASELINES))
STEPS = [0, 1, 2, 5]


def data(n_batch: int = 6, n_context: int = 7, d: int = 3, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    xs = torch.randn(n_batch, n_context, d, generator=generator, dtype=torch.float64)
    return xs, torch.randn(n_batch, n_context, generator=generator, dtype=torch.float64)


def arguments(baseline) -> dict:
    return {"steps": STEPS} if baseline.iterative else {}


@every_baseline
def test_prediction_i_ignores_y_i_and_later(baseline):
    xs, ys = data()
    before = baselines.predict(baseline.name, xs, ys, **arguments(baseline))
    for i in range(ys.shape[1]):
        changed = ys.clone()
        changed[:, i:] += 1.0
        after = baselines.predict(baseline.name, xs, changed, **arguments(baseline))
        assert torch.equal(after[..., : i + 1], before[..., : i + 1])


@every_baseline
def test_the_first_prediction_is_zero(baseline):
    xs, ys = data()
    predictions = baselines.predict(baseline.name, xs, ys, **arguments(baseline))
    assert (predictions[..., 0] == 0).all()


@every_baseline
def test_predictions_are_the_induced_weights_times_x(baseline):
    xs, ys = data()
    w = baselines.weights(baseline.name, xs, ys, **arguments(baseline))
    predictions = baselines.predict(baseline.name, xs, ys, **arguments(baseline))
    torch.testing.assert_close((w * xs).sum(-1), predictions)
    assert w.dtype == predictions.dtype == torch.float64


@every_baseline
def test_a_rotation_of_the_inputs_rotates_the_weights(baseline):
    xs, ys = data()
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    w = baselines.weights(baseline.name, xs, ys, **arguments(baseline))
    turned = baselines.weights(baseline.name, xs @ q, ys, **arguments(baseline))
    torch.testing.assert_close(turned, w @ q, rtol=1e-7, atol=1e-8)


@every_baseline
def test_the_order_of_earlier_examples_does_not_matter(baseline):
    xs, ys = data()
    order = torch.tensor([2, 0, 3, 1, 4, 5, 6])
    w = baselines.weights(baseline.name, xs, ys, **arguments(baseline))
    shuffled = baselines.weights(baseline.name, xs[:, order], ys[:, order], **arguments(baseline))
    torch.testing.assert_close(shuffled[..., 4:, :], w[..., 4:, :], rtol=1e-7, atol=1e-8)


@every_baseline
def test_float32_inputs_are_taken_in_float64(baseline):
    xs, ys = data()
    predictions = baselines.predict(baseline.name, xs.float(), ys.float(), **arguments(baseline))
    assert predictions.dtype == torch.float64
    as_given = baselines.predict(baseline.name, xs.float().double(), ys.float().double(), **arguments(baseline))
    assert torch.equal(predictions, as_given)


@every_baseline
def test_rank_deficient_prefixes_give_finite_weights_in_their_span(baseline):
    xs, ys = data(d=3)
    xs[:, :, 2] = 0.0
    w = baselines.weights(baseline.name, xs, ys, **arguments(baseline))
    assert torch.isfinite(w).all()
    assert w[..., 2].abs().max() < 1e-9


ITERATIVE = [baseline for baseline in BASELINES.values() if baseline.iterative]


@pytest.mark.parametrize("baseline", ITERATIVE, ids=lambda b: b.name)
def test_the_step_grid_starts_at_zero_and_ends_in_least_squares_on_easy_prompts(baseline):
    xs, ys = data(n_context=12)
    w = baselines.weights(baseline.name, xs, ys, steps=list(baseline.steps))
    ols = baselines.weights("ols", xs, ys)
    assert baseline.steps[0] == 0
    assert (w[0] == 0).all() or baseline.name == "newton"
    errors = ((w[:, :, 8:] - ols[:, 8:]) ** 2).mean((1, 2, 3))
    assert errors[-1] < 1e-6 * errors[0]
