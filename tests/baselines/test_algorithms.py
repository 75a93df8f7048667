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
    others = {
        ("averaging", ()): 0.397,
        ("ridge", (("ridge", 0.1),)): 0.992,
        ("ridge", (("ridge", 1.0),)): 0.948,
        ("adaptive_online_gd", ()): 0.770,
    }
    for (name, options), expected in others.items():
        found = sim_e(ols, baselines.predict(name, prefixes, **dict(options)), prefixes.ys).item()
        assert found == pytest.approx(expected, abs=0.01), name
    released = baselines.predict("newton", prefixes, steps=list(range(12)), norm="frobenius")
    online = baselines.predict("adaptive_online_gd", prefixes)
    assert max(sim_e(online, each, prefixes.ys).item() for each in released) == pytest.approx(0.933, abs=0.01)
    assert max(sim_e(online, each, prefixes.ys).item() for each in gd) == pytest.approx(0.937, abs=0.01)
    error = {
        name: ((each[:, :, 40] - prefixes.ys[:, 40]) ** 2).mean(1) / 20
        for name, each in (
            ("newton", baselines.predict("newton", prefixes, steps=[5, 8, 10], norm="frobenius")),
            ("gd", gd),
        )
    }
    np.testing.assert_allclose(error["newton"].numpy(), [0.23, 0.048, 0.0074], rtol=0.25)
    np.testing.assert_allclose(error["gd"][[4, 6]].numpy(), [0.022, 3.5e-4], rtol=0.25)
    assert sim_e(zero, ols, prefixes.ys).item() == pytest.approx(0.506, abs=0.01)
    assert sim_e(zero[:, 1:], ols[:, 1:], prefixes.ys[:, 1:]).item() == pytest.approx(0.488, abs=0.01)


def test_least_squares_keeps_its_digits_where_the_gram_matrix_loses_them():
    generator = torch.Generator().manual_seed(0)
    xs = torch.randn(16, 12, 4, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 1e-2, 1e-3, 1e-4])
    w = torch.randn(16, 4, generator=generator, dtype=torch.float64)
    ys = torch.einsum("bcd,bd->bc", xs, w)
    torch.testing.assert_close(baselines.weights("ols", xs, ys)[:, 11], w, rtol=1e-7, atol=1e-7)


def test_whole_numbers_do_for_floats(prompts):
    whole = baselines.predict("gd", *prompts, steps=[3], relative_step_size=1, schedule=None)
    assert torch.equal(whole, baselines.predict("gd", *prompts, steps=[3]))


def precondition(prompts, matrix):
    return baselines.predict("preconditioned_gd", *prompts, steps=[1], preconditioner=matrix)


def pool(prompts, tasks, noise_variance=1.0):
    return baselines.predict("finite_pool", *prompts, pool=tasks, noise_variance=noise_variance)


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
        (lambda p: baselines.predict("ols", p[0], p[1] * torch.nan), "ys must be finite; got .* NaN or infinite of"),
        (lambda p: baselines.Prefixes.of(p[0] / 0, p[1]), "xs must be finite; got"),
        (lambda p: baselines.predict("ols", p[0]), "xs and ys must be"),
        (lambda p: baselines.predict("ols", Prefixes.of(*p), p[1]), "ys must be left out with Prefixes"),
        (
            lambda p: baselines.predict("ols", Prefixes.of(*p), queries=p[0][None]),
            r"queries must be \[24 12 n_query 5\]",
        ),
        (
            lambda p: baselines.predict("gd", *p, steps=[1], step_size="large"),
            "step_size must be a number or None; got",
        ),
        (lambda p: baselines.predict("gd", *p, steps=[1], schedule=0.1), "schedule must be a list of numbers or None"),
        (lambda p: baselines.predict("lbfgs", *p, steps=[1], memory=1.5), "memory must be a whole number; got 1.5"),
        (lambda p: baselines.predict("finite_pool", *p, pool=3, noise_variance=1.0), "pool must be a tensor; got 3"),
        (lambda p: baselines.predict("gd_tuned", *p, steps=[1], polynomials=3), "polynomials must be a Polynomials or"),
        (lambda p: baselines.predict("ols", *p, queries=p[0][:, :, None] / 0), "queries must be finite"),
        (lambda p: baselines.gain("knn", Prefixes.of(*p)), "Unknown spectral filter 'knn'"),
        (lambda p: baselines.gain("gd", Prefixes.of(*p)), "steps must be numbers of steps"),
        (lambda p: baselines.influence("nothing", Prefixes.of(*p)), "Unknown algorithm 'nothing'"),
        (lambda p: baselines.caution("gd", stepsize=1.0), "Unknown option of 'gd' 'stepsize'"),
        (
            lambda p: baselines.predict("gd", *p, steps=[1], relative_step_size=0.0),
            "relative_step_size must be greater",
        ),
        (lambda p: baselines.predict("gd", *p, steps=[1], step_size=0.1, gradient="max"), "gradient must be 'sum'"),
        (
            lambda p: baselines.predict("gd", *p, steps=[3], schedule=[0.1]),
            "schedule must hold one for each of 3 steps",
        ),
        (lambda p: baselines.predict("gd", *p, steps=[1], schedule=[torch.nan]), "schedule must be finite numbers"),
        (
            lambda p: baselines.predict("gd_tuned", *p, steps=[1], noise_variance=-1.0),
            "noise_variance must be at least",
        ),
        (lambda p: baselines.predict("gd_plus_plus", *p, steps=[1], relative_gamma=-1.0), "relative_gamma must be at"),
        (lambda p: baselines.predict("gd_plus_plus", *p, steps=[1], relative_step_size=0.0), "relative_step_size must"),
        (lambda p: baselines.predict("gd_plus_plus", *p, steps=[2], gammas=[0.1]), "gammas must hold one for each"),
        (lambda p: baselines.predict("preconditioned_gd", *p, steps=[1]), "preconditioner must be given for"),
        (lambda p: precondition(p, torch.eye(3)), "preconditioner must be a 5 by 5 tensor"),
        (lambda p: precondition(p, torch.eye(5) / 0), "preconditioner must be finite"),
        (lambda p: precondition(p, torch.ones(5, 5).triu()), "preconditioner must be symmetric"),
        (lambda p: precondition(p, -torch.eye(5)), "preconditioner must have no negative eigenvalue"),
        (lambda p: baselines.predict("momentum", *p, steps=[1], momentum=1.0), "momentum must be at least 0 and less"),
        (lambda p: baselines.predict("momentum", *p, steps=[1], relative_step_size=-1.0), "relative_step_size must be"),
        (lambda p: baselines.predict("nesterov", *p, steps=[1], kind="other"), "kind must be 'fista' or 'constant'"),
        (lambda p: baselines.predict("nesterov", *p, steps=[1], momentum=0.5), "momentum must be left out for kind"),
        (lambda p: baselines.predict("nesterov", *p, steps=[1], kind="constant", momentum=2.0), "momentum must be at"),
        (lambda p: baselines.predict("chebyshev", *p, steps=[1], lower=0.0), "lower and upper must be greater than 0"),
        (lambda p: baselines.predict("chebyshev", *p, steps=[1], lower=2.0, upper=1.0), "lower must be at most upper"),
        (lambda p: baselines.predict("newton", *p, steps=[1], norm="nuclear"), "norm must be 'spectral'"),
        (lambda p: baselines.predict("newton", *p, steps=[1], start="zero"), "start must be 'gram' or 'identity'"),
        (lambda p: baselines.predict("lbfgs", *p, steps=[1], memory=0), "memory must be a whole number of at least 1"),
        (lambda p: baselines.predict("bfgs", *p, steps=[1], line_search="wolfe"), "line_search must be"),
        (lambda p: baselines.predict("online_gd", *p, step_size=0.0), "step_size must be greater than 0"),
        (lambda p: baselines.predict("online_gd", *p, start=torch.zeros(3)), "start must be a vector of 5 numbers"),
        (lambda p: baselines.predict("online_gd", *p, start=torch.ones(5) / 0), "start must be finite"),
        (lambda p: baselines.predict("adaptive_online_gd", *p, relative_step_size=2.0), "relative_step_size must be"),
        (lambda p: baselines.predict("rls", *p, forgetting=1.5), "forgetting must be greater than 0 and at most 1"),
        (lambda p: baselines.predict("rls", *p, delta=0.0), "delta must be greater than 0"),
        (lambda p: baselines.predict("knn", *p, n_neighbors=0), "n_neighbors must be a whole number of at least 1"),
        (lambda p: baselines.predict("knn", *p, weighting="tricube"), "weighting must be 'uniform' or 'distance'"),
        (lambda p: baselines.predict("knn", *p, weighting="distance", power=0.0), "power must be greater than 0"),
        (lambda p: baselines.predict("nadaraya_watson", *p, bandwidth=0.0), "bandwidth must be greater than 0"),
        (lambda p: baselines.predict("softmax_kernel", *p, scale=-1.0), "scale must be greater than 0"),
        (lambda p: baselines.predict("lasso", *p, alpha=0.0), "alpha must be greater than 0"),
        (lambda p: baselines.predict("sparse_bayes", *p, n_nonzero=6), "n_nonzero must be a whole number from 1 to 5"),
        (lambda p: baselines.predict("sparse_bayes", *p, noise_variance=0.0), "noise_variance must be greater than 0"),
        (lambda p: baselines.predict("sparse_bayes", *p, prior_variance=0.0), "prior_variance must be greater than 0"),
        (
            lambda p: baselines.predict("sparse_bayes", torch.zeros(1, 2, 40), torch.zeros(1, 2), n_nonzero=5),
            "the number of supports must be at most 20000; got 658008",
        ),
        (lambda p: baselines.predict("bayes", *p, ridge=-1.0), "ridge must be at least 0"),
        (lambda p: baselines.predict("bayes_prior", *p), "prior_covariance must be given for 'bayes_prior'"),
        (
            lambda p: baselines.predict("bayes_prior", *p, prior_covariance=torch.eye(5), noise_variance=-1.0),
            "noise_variance must be at least 0",
        ),
        (lambda p: pool(p, torch.ones(3, 4)), "pool must be a tensor of weight vectors"),
        (lambda p: pool(p, torch.ones(3, 5) / 0), "pool must be finite"),
        (lambda p: pool(p, torch.ones(3, 5), 0.0), "noise_variance must be greater than 0"),
        (lambda p: baselines.predict("finite_pool", *p), "pool must be given for 'finite_pool'"),
    ],
)
def test_wrong_calls_are_refused(prompts, call, message):
    with pytest.raises(InputError, match=message):
        call(prompts)
