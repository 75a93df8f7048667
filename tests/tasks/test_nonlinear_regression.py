"""Nonlinear targets: what they are made of, and the best step on linear least squares that follows from their facts."""

import pytest
import torch

from tests.contracts.test_tasks import is_mean
from workbench.errors import InputError
from workbench.tasks import NonlinearRegression

EVERY = [(function, inputs) for function in ("relu_network", "cube", "tanh") for inputs in ("gaussian", "sphere")]


@pytest.mark.parametrize(("function", "inputs"), EVERY)
def test_facts_hold_for_every_function_and_law_of_inputs(function, inputs):
    task = NonlinearRegression(d_input=3, function=function, inputs=inputs, noise_std=0.3, y_scale=0.7)
    batch = task.prompts(0, "facts", 0, 2**13).to(dtype=torch.float64)
    (facts,) = task.facts()
    fit, square = batch.latents["linear_fit"], batch.xs.square().sum(-1)
    assert is_mean(fit[:, :, None] * fit[:, None], facts.fit_covariance)
    assert is_mean(batch.ys.square().mean(1), facts.label_variance)
    assert is_mean((batch.ys.square() * square).mean(1), facts.label_times_square)
    rest = batch.ys - (batch.xs * fit[:, None]).sum(-1)
    assert is_mean(rest.square().mean(1), facts.linear_floor)
    assert is_mean((rest[..., None] * batch.xs).mean(1), 0.0)
    if inputs == "sphere":
        torch.testing.assert_close(square, torch.full_like(square, 3.0), rtol=1e-5, atol=0)


def test_facts_by_hand():
    """Gaussian coordinates: E t^4 = 3, E t^6 = 15, E t^8 = 105."""
    (cube,) = NonlinearRegression(d_input=4, function="cube").facts()
    assert cube.fit_covariance.trace().item() == pytest.approx(9)
    assert cube.label_variance == pytest.approx(15)
    assert cube.label_times_square == pytest.approx(105 + 3 * 15)
    (relu,) = NonlinearRegression(d_input=4, noise_std=0.5).facts()
    assert (relu.label_variance, relu.label_times_square) == pytest.approx((2.25, 13.0))
    (sphere,) = NonlinearRegression(d_input=2, function="cube", inputs="sphere").facts()
    assert sphere.label_variance == pytest.approx(8 * 5 / 16), "sqrt(2)^6 times the mean of cos^6"


def test_one_step_of_the_size_that_the_facts_give_errs_least():
    """Mahankali et al. 2023: eta = E|w|^2 / (E[y^2 |x|^2] + (n - 1) E|w|^2)."""
    task = NonlinearRegression(d_input=3, n_context=13, noise_std=0.3)
    (facts,) = task.facts()
    fit, n = facts.fit_covariance.trace().item(), 12
    eta = fit / (facts.label_times_square + (n - 1) * fit)
    assert eta == pytest.approx(0.0468, abs=1e-4)
    batch = task.prompts(0, "step", 0, 2**15).to(dtype=torch.float64)
    moment = (batch.xs[:, :-1] * batch.ys[:, :-1, None]).sum(1)
    said = (moment * batch.xs[:, -1]).sum(-1)
    best = (said * batch.ys[:, -1]).mean() / said.square().mean()
    assert best.item() == pytest.approx(eta, rel=0.03)


def test_labels_are_what_the_latents_make_of_the_inputs():
    batch = NonlinearRegression(noise_std=0.2, n_hidden=7).prompts(0, "test", 0, 5)
    told = batch.latents
    hidden = torch.relu(torch.einsum("bcd,bhd->bch", batch.xs, told["hidden_weights"]))
    clean = torch.einsum("bch,bh->bc", hidden, told["output_weights"])
    torch.testing.assert_close(batch.ys, clean + told["noise"], rtol=1e-5, atol=1e-5)
    assert told["hidden_weights"].shape == (5, 7, 5)
    cube = NonlinearRegression(function="cube", y_scale=2.0).prompts(0, "test", 0, 5)
    along = torch.einsum("bcd,bd->bc", cube.xs, cube.latents["direction"])
    torch.testing.assert_close(cube.ys, 2 * along**3, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"d_input": 1}, "d_input must be a whole number of at least 2; got 1"),
        ({"n_hidden": 0, "y_scale": 0.0}, "n_hidden must .*; y_scale must"),
        ({"n_context": 0}, "n_context must"),
        ({"noise_std": -1.0}, "noise_std must"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, message):
    with pytest.raises(InputError, match=message):
        NonlinearRegression(**settings)
