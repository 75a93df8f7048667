"""Algorithms that see each example once, against loops."""

import pytest
import torch

from tests.baselines.examples import numbers
from workbench import baselines
from workbench.tasks import LinearRegression

D = 5
START = numbers(D, seed=11)


@pytest.fixture(scope="module")
def prompts():
    xs = numbers(8, 13, D, seed=12)
    xs[0, 3] = 0.0
    return xs, (xs * numbers(8, 1, D, seed=13)).sum(-1) + 0.2 * numbers(8, 13, seed=14)


@pytest.mark.parametrize("start", [None, START])
@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("online_gd", {}, lambda _: 1 / (D + 2)),
        ("online_gd", {"step_size": 0.02}, lambda _: 0.02),
        ("adaptive_online_gd", {}, lambda x: 1 / (x @ x) if x.any() else 0.0),
        ("adaptive_online_gd", {"relative_step_size": 0.5}, lambda x: 0.5 / (x @ x) if x.any() else 0.0),
    ],
)
def test_one_pass_of_gradient_descent_is_the_loop(prompts, name, options, size, start):
    xs, ys = prompts
    found = baselines.weights(name, xs, ys, start=start, **options)
    for p in range(8):
        w = torch.zeros(D, dtype=torch.float64) if start is None else start
        for i in range(13):
            torch.testing.assert_close(found[p, i], w, rtol=1e-11, atol=1e-11)
            w = w - size(xs[p, i]) * xs[p, i] * (xs[p, i] @ w - ys[p, i])


def test_a_start_other_than_zero_moves_no_slope(prompts):
    prefixes = baselines.Prefixes.of(*prompts)
    for name in ("online_gd", "adaptive_online_gd"):
        with_start = baselines.influence(name, prefixes, start=START)
        torch.testing.assert_close(with_start, baselines.influence(name, prefixes))


def test_the_newest_example_is_fitted_exactly_by_adaptive_steps(prompts):
    xs, ys = prompts
    w = baselines.weights("adaptive_online_gd", xs, ys)
    torch.testing.assert_close((w[1:, 1:] * xs[1:, :-1]).sum(-1), ys[1:, :-1])


@pytest.mark.parametrize(("forgetting", "delta"), [(0.95, 0.1), (0.6, 2.0), (1.0, 0.3)])
def test_recursive_least_squares_is_the_recursion(prompts, forgetting, delta):
    xs, ys = prompts
    found = baselines.weights("rls", xs, ys, forgetting=forgetting, delta=delta)
    for p in range(8):
        w, inverse = torch.zeros(D, dtype=torch.float64), torch.eye(D, dtype=torch.float64) / delta
        for i in range(13):
            torch.testing.assert_close(found[p, i], w, rtol=1e-8, atol=1e-9)
            x = xs[p, i]
            pull = inverse @ x / (forgetting + x @ inverse @ x)
            w = w + pull * (ys[p, i] - x @ w)
            inverse = (inverse - torch.outer(pull, x) @ inverse) / forgetting
    if forgetting == 1:
        torch.testing.assert_close(found, baselines.weights("ridge", xs, ys, ridge=delta), rtol=1e-8, atol=1e-9)


def test_least_mean_squares_learns_at_the_rate_of_theory():
    """E|e|^2 falls by (d + 1) / (d + 2) with every example at its fastest, by 1 - 1/d with adaptive steps."""
    d, n = 10, 30
    batch = LinearRegression(d_input=d, n_context=n).prompts(0, "rates", 0, 4096)
    for name, rate in (("online_gd", (d + 1) / (d + 2)), ("adaptive_online_gd", 1 - 1 / d)):
        w = baselines.weights(name, batch.xs, batch.ys)
        error = ((w - batch.latents["w"][:, None]) ** 2).sum(-1).mean(0)
        expected = error[0] * rate ** torch.arange(n)
        torch.testing.assert_close(error, expected.double(), rtol=0.05, atol=0)


def test_adaptive_steps_forget_as_published():
    """Error at a query that repeats the example so many places before the end, n = d = 20 (Fu et al. 2024)."""
    d = 20
    batch = LinearRegression(d_input=d, n_context=d + 1).prompts(0, "forgetting", 0, 4096)
    queries = batch.xs[:, None].expand(-1, d + 1, -1, -1)
    found = baselines.predict("adaptive_online_gd", batch.xs, batch.ys, queries=queries)[:, d]
    error = ((found - batch.ys) ** 2).mean(0) / d
    for gap, expected in {0: 0.0, 1: 0.017, 5: 0.076, 10: 0.148, 15: 0.188, 19: 0.217}.items():
        assert float(error[d - 1 - gap]) == pytest.approx(expected, abs=0.015)
    assert float(error[d]) == pytest.approx(0.357, abs=0.03)
