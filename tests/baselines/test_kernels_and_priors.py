"""Kernel methods, Lasso and Bayes, against scikit-learn and brute force."""

import math
import warnings
from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso
from sklearn.neighbors import KNeighborsRegressor

from tests.baselines.examples import numbers, spread
from workbench import baselines
from workbench.baselines import Prefixes, lasso
from workbench.tasks import LinearRegression

D = 5


@pytest.fixture(scope="module")
def prompts():
    xs = numbers(6, 14, D, seed=21)
    return xs, (xs * numbers(6, 1, D, seed=22)).sum(-1) + 0.3 * numbers(6, 14, seed=23)


def double(*rows):
    return torch.tensor(rows, dtype=torch.float64)


# Neighbours and kernels


@pytest.mark.parametrize("weighting", ["uniform", "distance"])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_nearest_neighbours_are_those_of_scikit_learn(prompts, weighting, k):
    xs, ys = prompts
    queries = torch.cat([numbers(6, 14, 3, D, seed=24), xs[:, None, :2].expand(-1, 14, -1, -1)], 2)  # two known points
    found = baselines.predict("knn", xs, ys, queries=queries, n_neighbors=k, weighting=weighting)
    for p in range(6):
        for i in (1, 2, 4, 9, 13):
            model = KNeighborsRegressor(min(k, i), weights=weighting, algorithm="kd_tree")
            model.fit(xs[p, :i].numpy(), ys[p, :i].numpy())
            np.testing.assert_allclose(found[p, i].numpy(), model.predict(queries[p, i].numpy()), rtol=1e-10)


def test_neighbours_can_count_by_the_square_of_their_distance():
    xs, ys = double([[0.0], [3.0], [1.0]]), double([1.0, 4.0, 0.0])
    found = baselines.predict("knn", xs, ys, weighting="distance", power=2.0)
    assert float(found[0, 2]) == pytest.approx((1 / 1 * 1.0 + 1 / 4 * 4.0) / (1 + 1 / 4))


def test_kernel_means_are_the_loop(prompts):
    xs, ys = prompts
    queries = numbers(6, 14, 4, D, seed=25)
    for name, options, score in (
        ("nadaraya_watson", {}, lambda q, x: -((q - x) ** 2).sum(-1) / (2 * D / 4)),
        ("nadaraya_watson", {"bandwidth": 0.7}, lambda q, x: -((q - x) ** 2).sum(-1) / (2 * 0.49)),
        ("softmax_kernel", {}, lambda q, x: x @ q / D**0.5),
        ("softmax_kernel", {"scale": 2.0}, lambda q, x: 2 * x @ q),
    ):
        found = baselines.predict(name, xs, ys, queries=queries, **options)
        for p in range(6):
            for i in (1, 5, 13):
                for n in range(4):
                    shares = score(queries[p, i, n], xs[p, :i]).exp()
                    expected = (shares * ys[p, :i]).sum() / shares.sum()
                    torch.testing.assert_close(found[p, i, n], expected, rtol=1e-10, atol=1e-10)


def test_a_faint_softmax_kernel_is_the_mean_label_and_one_centred_step(prompts):
    xs, ys = prompts
    found = baselines.predict("softmax_kernel", xs, ys, scale=1e-5)[:, 13]
    inner, outer = xs[:, :13], ys[:, :13]
    step = ((inner - inner.mean(1, keepdim=True)) * outer[..., None]).mean(1)
    expected = outer.mean(1) + 1e-5 * (step * xs[:, 13]).sum(-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


# Lasso


@pytest.mark.parametrize("alpha", [1.0, 0.1, 0.01, 0.001, 1e-4])
def test_lasso_is_that_of_scikit_learn(prompts, alpha):
    xs, ys = prompts
    found = baselines.weights("lasso", xs, ys, alpha=alpha)
    for p in range(3):
        for i in (1, 3, 5, 8, 13):
            model = Lasso(alpha=alpha, fit_intercept=False, tol=1e-12, max_iter=1_000_000)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fitted = model.fit(xs[p, :i].numpy(), ys[p, :i].numpy())
            np.testing.assert_allclose(found[p, i].numpy(), fitted.coef_, atol=1e-6)


def test_lasso_meets_its_optimality_conditions_at_every_prefix(prompts):
    batch = LinearRegression(d_input=12, n_context=25, weights="sparse", noise_std=0.2).prompts(0, "lasso", 0, 64)
    prefixes = Prefixes.of(batch.xs, batch.ys)
    w = baselines.weights("lasso", prefixes, alpha=0.01)
    pull = prefixes.moment - (prefixes.gram @ w[..., None])[..., 0]
    penalty = 0.01 * prefixes.counts[:, None]
    assert (pull.abs() <= penalty * (1 + 1e-6) + 1e-12).all()
    torch.testing.assert_close(torch.where(w != 0, pull - penalty * w.sign(), 0.0), torch.zeros_like(w))


def test_lasso_with_coordinates_that_tie_is_still_optimal(monkeypatch, prompts):
    xs, ys = prompts
    twice = torch.cat([xs, xs], -1)
    called = []
    real = lasso._descended
    monkeypatch.setattr(lasso, "_descended", lambda *given: called.append(1) or real(*given))
    w = baselines.weights("lasso", twice, ys, alpha=0.01)
    assert called
    alone = baselines.weights("lasso", xs, ys, alpha=0.01)
    torch.testing.assert_close((w * twice).sum(-1), (alone * xs).sum(-1), rtol=1e-6, atol=1e-6)


# Bayes


def test_bayes_is_ridge_with_the_strength_of_the_law(prompts):
    task = LinearRegression(d_input=D, n_context=14, noise_std=0.5, w_scale=2.0)
    found = baselines.predict("bayes", *prompts, ridge=task.bayes_ridge())
    assert torch.equal(found, baselines.predict("ridge", *prompts, ridge=0.0625))
    assert torch.equal(baselines.weights("bayes", *prompts, ridge=0.0), baselines.weights("ols", *prompts))


def test_any_gaussian_prior_is_the_textbook_posterior(prompts):
    xs, ys = prompts
    prior = spread(D)
    found = baselines.weights("bayes_prior", xs, ys, prior_covariance=prior, noise_variance=0.3)
    for i in (1, 5, 13):
        x, y = xs[:, :i], ys[:, :i]
        cover = x @ prior @ x.mT + 0.3 * torch.eye(i, dtype=torch.float64)
        expected = (prior @ x.mT @ torch.linalg.solve(cover, y[..., None]))[..., 0]
        torch.testing.assert_close(found[:, i], expected, rtol=1e-9, atol=1e-9)
    isotropic = baselines.weights("bayes_prior", xs, ys, prior_covariance=torch.eye(D), noise_variance=0.3)
    torch.testing.assert_close(isotropic, baselines.weights("ridge", xs, ys, ridge=0.3), rtol=1e-9, atol=1e-9)


def test_a_finite_pool_is_the_sum_over_its_tasks(prompts):
    xs, ys = prompts
    pool = numbers(7, D, seed=26)
    found = baselines.weights("finite_pool", xs, ys, pool=pool, noise_variance=0.4)
    for p in range(6):
        for i in (0, 1, 4, 13):
            likelihood = [
                math.prod(math.exp(-(float(ys[p, j] - xs[p, j] @ w) ** 2) / 0.8) for j in range(i)) for w in pool
            ]
            expected = sum(share * w for share, w in zip(likelihood, pool)) / sum(likelihood)
            torch.testing.assert_close(found[p, i], expected, rtol=1e-9, atol=1e-9)


def test_a_finite_pool_finds_the_task_where_likelihoods_underflow():
    task = LinearRegression(d_input=8, n_context=16, weights="pool", n_pool=32)
    batch = task.prompts(0, "pool", 0, 16)
    w = baselines.weights("finite_pool", batch.xs, batch.ys, pool=task.pool(), noise_variance=1e-8)
    assert torch.isfinite(w).all()
    torch.testing.assert_close(w[:, -1], batch.latents["w"].double(), rtol=1e-6, atol=1e-6)


def test_a_pool_errs_like_the_reference_values():
    """D = 8, 16 positions, noise variance 1/4, 2^5 tasks; noisy target, over D; several pools."""
    errors: dict[str, list[float]] = {"own": [], "new": [], "ridge": []}
    for seed in range(6):
        law = {"d_input": 8, "n_context": 16, "noise_std": 0.5, "fixed_seed": seed}
        task = LinearRegression(weights="pool", n_pool=32, **law)
        for kind, source in (("own", task), ("new", LinearRegression(**law))):
            batch = source.prompts(seed, kind, 0, 512)
            found = baselines.predict("finite_pool", batch.xs, batch.ys, pool=task.pool(), noise_variance=0.25)
            errors[kind].append(float(((found - batch.ys) ** 2).mean()) / 8)
        found = baselines.predict("bayes", batch.xs, batch.ys)
        errors["ridge"].append(float(((found - batch.ys) ** 2).mean()) / 8)
    assert np.mean(errors["own"]) == pytest.approx(0.16, abs=0.02)
    assert np.mean(errors["new"]) == pytest.approx(0.99, abs=0.08)
    assert np.mean(errors["ridge"]) == pytest.approx(0.376, abs=0.02)


@pytest.mark.parametrize("n_nonzero", [1, 2, 4])
def test_sparse_bayes_is_the_sum_over_supports(prompts, n_nonzero):
    xs, ys = prompts
    noise, prior = 0.3, 1.7
    options = {"n_nonzero": n_nonzero, "noise_variance": noise, "prior_variance": prior}
    found = baselines.weights("sparse_bayes", xs, ys, **options)
    for p in range(3):
        for i in (1, 3, 8, 13):
            total, w = [], []
            for support in combinations(range(D), n_nonzero):
                x = xs[p, :i, list(support)].numpy()
                cover = noise * np.eye(i) + prior * x @ x.T
                solved = np.linalg.solve(cover, ys[p, :i].numpy())
                total.append(-0.5 * ys[p, :i].numpy() @ solved - 0.5 * np.linalg.slogdet(cover)[1])
                w.append(np.zeros(D))
                w[-1][list(support)] = prior * x.T @ solved
            shares = np.exp(np.array(total) - max(total))
            expected = (shares[:, None] * np.array(w)).sum(0) / shares.sum()
            np.testing.assert_allclose(found[p, i].numpy(), expected, rtol=1e-9, atol=1e-9)


def test_sparse_bayes_in_pieces_and_better_than_lasso(monkeypatch):
    batch = LinearRegression(d_input=10, n_context=12, weights="sparse").prompts(0, "sparse", 0, 128)
    prefixes = Prefixes.of(batch.xs, batch.ys)
    found = baselines.predict("sparse_bayes", prefixes)
    monkeypatch.setattr("workbench.baselines.sparse_bayes._ELEMENTS", 5000)
    torch.testing.assert_close(baselines.predict("sparse_bayes", prefixes), found, rtol=1e-12, atol=1e-12)
    error = {name: ((baselines.predict(name, prefixes) - prefixes.ys) ** 2).mean(0) for name in ("lasso", "ols")} | {
        "sparse_bayes": ((found - prefixes.ys) ** 2).mean(0)
    }
    assert error["sparse_bayes"][6] < error["lasso"][6] < error["ols"][6]


def test_risk_curves_of_ols_and_ridge_under_noise():
    """On the clean target: OLS (d - n) + s2 n / (d - n - 1) below d, s2 d / (n - d - 1) above; Bayes less."""
    d, variance = 20, 0.25
    batch = LinearRegression(d_input=d, n_context=41, noise_std=0.5).prompts(0, "risk", 0, 4096)
    clean = batch.ys - batch.latents["noise"]
    prefixes = Prefixes.of(batch.xs, batch.ys)
    ols, bayes = (((baselines.predict(name, prefixes) - clean) ** 2).mean(0) for name in ("ols", "bayes"))
    for n, expected in {10: 10.28, 15: 5.94, 25: 1.25, 30: 0.556, 40: 0.263}.items():
        assert float(ols[n]) == pytest.approx(expected, rel=0.15)
        theory = (d - n) + variance * n / (d - n - 1) if n < d else variance * d / (n - d - 1)
        assert theory == pytest.approx(expected, abs=0.01)
        assert bayes[n] < ols[n]
    assert float(bayes[22]) == pytest.approx(1.54, rel=0.1)
