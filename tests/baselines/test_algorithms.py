"""Reference algorithms against closed forms and explicit iterations, float64."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from workbench import baselines
from workbench.agreement import sim_e
from workbench.baselines import Prefixes
from workbench.errors import InputError
from workbench.tasks import LinearRegression


@pytest.fixture(scope="module")
def prompts():
    batch = LinearRegression(d_input=5, n_context=12, noise_std=0.3).prompts(0, "test", 0, 24)
    return batch.xs.double(), batch.ys.double()


def prefix_sums(prompts, i):
    xs, ys = prompts[0][:, :i], prompts[1][:, :i]
    return xs.mT @ xs, (xs * ys[..., None]).sum(1)


def times(matrix, vector):
    return (matrix @ vector[..., None])[..., 0]


PREFIXES = [1, 3, 5, 8, 11]


@pytest.mark.parametrize("i", PREFIXES)
def test_ols_is_the_minimum_norm_solution_of_lapack(prompts, i):
    xs, ys = prompts
    expected = torch.linalg.lstsq(xs[:, :i], ys[:, :i, None], driver="gelsd").solution[..., 0]
    torch.testing.assert_close(baselines.weights("ols", xs, ys)[:, i], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("ridge", [0.1, 4 / 9, 3.0])
def test_ridge_is_that_of_scikit_learn(prompts, ridge):
    xs, ys = prompts
    w = baselines.weights("ridge", xs, ys, ridge=ridge)
    for i in PREFIXES:
        for p in range(3):
            fitted = Ridge(alpha=ridge, fit_intercept=False).fit(xs[p, :i].numpy(), ys[p, :i].numpy())
            np.testing.assert_allclose(w[p, i].numpy(), fitted.coef_, rtol=1e-8, atol=1e-10)


def test_ridge_zero_is_least_squares(prompts):
    assert torch.equal(baselines.weights("ridge", *prompts, ridge=0.0), baselines.weights("ols", *prompts))


@pytest.mark.parametrize("i", PREFIXES)
@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"step_size": 0.01}, lambda s, i: s.new_full(s.shape[:1], 0.01)),
        ({"step_size": 0.2, "gradient": "mean"}, lambda s, i: s.new_full(s.shape[:1], 0.2 / i)),
        ({}, lambda s, i: 1 / torch.linalg.eigvalsh(s)[:, -1]),
        ({"relative_step_size": 1.7}, lambda s, i: 1.7 / torch.linalg.eigvalsh(s)[:, -1]),
    ],
)
def test_gradient_descent_is_the_explicit_iteration(prompts, i, options, size):
    gram, moment = prefix_sums(prompts, i)
    eta = size(gram, i).double()[:, None]
    steps = [0, 1, 2, 7, 50, 300]
    w = torch.zeros_like(moment)
    explicit = []
    for step in range(max(steps) + 1):
        if step in steps:
            explicit.append(w)
        w = w - eta * (times(gram, w) - moment)
    spectral = baselines.weights("gd", *prompts, steps=steps, **options)[:, :, i]
    torch.testing.assert_close(spectral, torch.stack(explicit), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("i", PREFIXES)
@pytest.mark.parametrize("norm", ["spectral", "frobenius"])
@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.6])
def test_newton_is_the_explicit_iteration(prompts, i, norm, alpha):
    gram, moment = prefix_sums(prompts, i)
    order = 2 if norm == "spectral" else "fro"
    inverse = alpha * gram / torch.linalg.matrix_norm(gram @ gram.mT, ord=order)[:, None, None]
    explicit = []
    for _ in range(12):
        explicit.append(times(inverse, moment))
        inverse = 2 * inverse - inverse @ gram @ inverse
    spectral = baselines.weights("newton", *prompts, steps=range(12), alpha=alpha, norm=norm)[:, :, i]
    torch.testing.assert_close(spectral, torch.stack(explicit), rtol=1e-9, atol=1e-9)


def test_newton_with_the_spectral_norm_of_the_text_never_converges(prompts):
    xs, ys = prompts
    w = baselines.weights("newton", xs, ys, steps=[40], alpha=2.0, norm="spectral")[0]
    ols = baselines.weights("ols", xs, ys)
    assert ((w - ols)[:, 8:] ** 2).sum(-1).median() > 1e-2
    converging = baselines.weights("newton", xs, ys, steps=[40], alpha=2.0, norm="frobenius")[0]
    torch.testing.assert_close(converging[:, 8:], ols[:, 8:], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("i", PREFIXES)
def test_conjugate_gradient_is_the_textbook_loop_and_ends_after_rank_steps(prompts, i):
    gram, moment = prefix_sums(prompts, i)
    spectral = baselines.weights("cg", *prompts, steps=range(7))[:, :, i]
    for p in range(4):
        w, residual = torch.zeros_like(moment[p]), moment[p]
        direction = residual
        for step in range(min(i, 5) + 1):
            torch.testing.assert_close(spectral[step, p], w, rtol=1e-8, atol=1e-8)
            curved = gram[p] @ direction
            length = residual @ residual / (direction @ curved)
            w = w + length * direction
            new = residual - length * curved
            direction = new + (new @ new) / (residual @ residual) * direction
            residual = new
    ols = baselines.weights("ols", *prompts)[:, i]
    torch.testing.assert_close(spectral[min(i, 5)], ols, rtol=1e-6, atol=1e-6)


def test_averaging_is_the_mean_of_x_y(prompts):
    xs, ys = prompts
    expected = (xs[:, :7] * ys[:, :7, None]).mean(1)
    torch.testing.assert_close(baselines.weights("averaging", xs, ys)[:, 7], expected)


def test_errors_match_the_closed_forms():
    d, n = 10, 16
    batch = LinearRegression(d_input=d, n_context=n).prompts(0, "closed form", 0, 8192)
    error = {
        name: ((baselines.predict(name, batch.xs, batch.ys) - batch.ys) ** 2).mean(0) / d
        for name in ("zero", "ols", "averaging")
    }
    t = torch.arange(n, dtype=torch.float64)
    torch.testing.assert_close(error["zero"], torch.ones(n, dtype=torch.float64), rtol=0.1, atol=0)
    torch.testing.assert_close(error["ols"], (1 - t / d).clamp(min=0), rtol=0.1, atol=1e-6)
    torch.testing.assert_close(error["averaging"][1:], (d + 1) / t[1:], rtol=0.15, atol=0)


def test_similarities_without_any_transformer_match_the_published_columns():
    """Rows of the heat maps of Fu et al. 2024 that need no model: layer 1 is the zero predictor, layer 12 OLS."""
    batch = LinearRegression(d_input=20, n_context=41).prompts(0, "rows", 0, 1280)
    prefixes = Prefixes.of(batch.xs, batch.ys)
    steps = [1, 2, 3, 5, 8, 10, 12, 15, 20]
    newton = baselines.predict("newton", prefixes, steps=steps, alpha=2.0, norm="frobenius")
    gd_steps = [1, 2, 4, 8, 16, 32, 64, 256, 1024]
    gd = baselines.predict("gd", prefixes, steps=gd_steps, step_size=0.01)
    zero, ols = (baselines.predict(name, prefixes) for name in ("zero", "ols"))
    published = [
        (zero, newton, [0.921, 0.876, 0.827, 0.732, 0.618, 0.569, 0.539, 0.519, 0.510]),
        (ols, newton, [0.614, 0.651, 0.691, 0.775, 0.884, 0.933, 0.962, 0.982, 0.994]),
        (zero, gd, [0.961, 0.918, 0.849, 0.766, 0.684, 0.616, 0.568, 0.523, 0.511]),
    ]
    for anchor, family, expected in published:
        found = [sim_e(anchor, iterate, prefixes.ys).item() for iterate in family]
        np.testing.assert_allclose(found, expected, atol=0.01)
    assert sim_e(zero, ols, prefixes.ys).item() == pytest.approx(0.506, abs=0.01)
    assert sim_e(zero[:, 1:], ols[:, 1:], prefixes.ys[:, 1:]).item() == pytest.approx(0.488, abs=0.01)


def test_least_squares_keeps_its_digits_where_the_gram_matrix_loses_them():
    generator = torch.Generator().manual_seed(0)
    xs = torch.randn(16, 12, 4, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 1e-2, 1e-3, 1e-4])
    w = torch.randn(16, 4, generator=generator, dtype=torch.float64)
    ys = torch.einsum("bcd,bd->bc", xs, w)
    torch.testing.assert_close(baselines.weights("ols", xs, ys)[:, 11], w, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: baselines.predict("newtn", *p, steps=[1]), "Unknown algorithm 'newtn'. Did you mean 'newton'"),
        (lambda p: baselines.predict("newton", *p), "steps must be numbers of steps"),
        (lambda p: baselines.predict("newton", *p, steps=[-1]), "steps must be numbers of steps"),
        (lambda p: baselines.predict("ols", *p, steps=[1]), "steps must be left out for 'ols'"),
        (lambda p: baselines.predict("gd", *p, steps=[1], stepsize=1.0), "Unknown option of 'gd' 'stepsize'"),
        (lambda p: baselines.predict("gd", *p, steps=[1], step_size=-1.0), "step_size must be greater than 0"),
        (lambda p: baselines.predict("newton", *p, steps=[1], alpha=0.0), "alpha must be greater than 0"),
        (lambda p: baselines.predict("ridge", *p, ridge=-1.0), "ridge must be at least 0"),
        (lambda p: baselines.predict("ols", p[0], p[1] * torch.nan), "xs and ys must be finite"),
        (lambda p: baselines.predict("ols", p[0]), "xs and ys must be"),
    ],
)
def test_wrong_calls_are_refused(prompts, call, message):
    with pytest.raises(InputError, match=message):
        call(prompts)
