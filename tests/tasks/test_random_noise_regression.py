"""Linear regression with a noise level of its own in every prompt."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from workbench import baselines
from workbench.baselines.bayes_noise import posterior
from workbench.errors import InputError
from workbench.tasks import RandomNoiseRegression
from workbench.tasks.noise_law import mean_square

LAWS = ("uniform", "log_uniform", "two_valued")
every_law = pytest.mark.parametrize("law", LAWS)


def task_of(law, **settings):
    return RandomNoiseRegression(
        **{"d_input": 3, "n_context": 12, "noise_std": 1.5, "smallest_share": 0.2, "noise_law": law, **settings}
    )


@every_law
def test_levels_have_the_law_that_it_tells(law):
    task = task_of(law)
    batch = task.prompts(0, "test", 0, 2**15)
    share = batch.latents["sigma"].double() / 1.5
    assert share.min() >= 0.2 - 1e-6
    assert share.max() <= 1 + 1e-6
    if law == "two_valued":
        low = share < 0.5
        assert low.double().mean().item() == pytest.approx(0.5, abs=0.015)
        assert torch.where(low, share - 0.2, share - 1.0).abs().max() < 1e-6
    else:
        ranks = (share - 0.2) / 0.8 if law == "uniform" else 1 - share.log() / math.log(0.2)
        even = (torch.arange(2**15, dtype=torch.float64) + 0.5) / 2**15
        assert (ranks.sort().values - even).abs().max() < 0.012  # Kolmogorov and Smirnov, one in 10^4
    standard = batch.latents["noise"].double() / batch.latents["sigma"].double()[:, None]
    assert standard.std().item() == pytest.approx(1.0, abs=0.01)
    assert (share.square().mean() - mean_square(law, 0.2)).abs() < 0.012


@every_law
def test_the_quadrature_is_the_law(law):
    known = task_of(law).noise_levels()
    assert known.odds.sum().item() == pytest.approx(1.0)
    second = (known.odds * known.levels.square()).sum().item()
    assert second == pytest.approx(1.5**2 * mean_square(law, 0.2), rel=1e-10)
    mean = {"uniform": 0.6, "log_uniform": 0.8 / math.log(5), "two_valued": 0.6}[law]
    assert (known.odds * known.levels).sum().item() == pytest.approx(1.5 * mean, rel=1e-10)


def test_a_tensor_for_a_number_gives_the_same_mean_square():
    for law in LAWS:
        assert float(mean_square(law, torch.tensor(0.3))) == pytest.approx(mean_square(law, 0.3), rel=1e-6)


@every_law
def test_the_posterior_mean_is_that_of_the_joint_law_by_brute_force(law):
    """Independently: the density of y from its covariance, on a grid of levels, with scipy."""
    from scipy.stats import multivariate_normal

    task = task_of(law)
    batch = task.prompts(0, "brute", 0, 3).to(dtype=torch.float64)
    [reference] = task.bayes()
    found = baselines.weights(reference.name, batch.xs, batch.ys, **reference.options)
    said = posterior(baselines.Prefixes.of(batch.xs, batch.ys), **reference.options) @ task.noise_levels().levels
    ranks = (np.arange(4000) + 0.5) / 4000
    levels = {"uniform": 0.2 + 0.8 * ranks, "log_uniform": 0.2 ** (1 - ranks), "two_valued": np.array([0.2, 1.0])}[law]
    levels = 1.5 * levels
    for prompt in range(3):
        for n in (1, 2, 5, 11):
            x, y = batch.xs[prompt, :n].numpy(), batch.ys[prompt, :n].numpy()
            logs = [multivariate_normal(np.zeros(n), x @ x.T + s * s * np.eye(n)).logpdf(y) for s in levels]
            shares = np.exp(logs - np.max(logs))
            shares /= shares.sum()
            ridges = np.stack([np.linalg.solve(x.T @ x + s * s * np.eye(3), x.T @ y) for s in levels])
            np.testing.assert_allclose(said[prompt, n], shares @ levels, rtol=1e-5)
            np.testing.assert_allclose(found[prompt, n], shares @ ridges, rtol=1e-5, atol=1e-7)


def test_bayes_errs_less_than_any_ridge_and_knows_less_than_one_told_the_level():
    task = task_of("log_uniform", noise_std=3.0, smallest_share=0.05)
    batch = task.prompts(0, "loss", 0, 8192).to(dtype=torch.float64)
    [reference] = task.bayes()
    clean = batch.ys - batch.latents["noise"]

    def error(predictions):
        return (predictions - clean)[:, 4:].square().mean().item()

    own = error(baselines.predict(reference.name, batch.xs, batch.ys, **reference.options))
    best = task.least_squares_ridge()
    ridges = {
        factor: error(baselines.predict("ridge", batch.xs, batch.ys, ridge=best * factor)) for factor in (0.5, 1, 2)
    }
    assert min(ridges, key=ridges.get) == 1
    assert own < 0.9 * ridges[1]
    quiet, loud = batch.latents["sigma"] < 0.3, batch.latents["sigma"] > 2.0
    for some in (quiet, loud):
        rows = some.nonzero()[:, 0]
        part = batch.xs[rows], batch.ys[rows]
        told = float(batch.latents["sigma"][rows].square().mean())
        knowing = baselines.predict("ridge", *part, ridge=told)
        guessing = baselines.predict(reference.name, *part, **reference.options)
        assert ((knowing - clean[rows])[:, 4:].square().mean() < (guessing - clean[rows])[:, 4:].square().mean()).all()


def test_without_noise_bayes_is_least_squares():
    task = replace(task_of("uniform"), noise_std=0.0)
    assert task.bayes_ridge() == 0.0
    assert task.bayes()[0].name == "bayes"
    assert task.noise_levels() is None
    assert task_of("uniform").bayes_ridge() is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"noise_levels": torch.tensor([0.0, 1.0])}, "noise_levels must be a tensor of numbers above 0"),
        ({"odds": torch.ones(3)}, "odds must be as many as noise_levels"),
        ({"odds": [0.5, 0.5]}, "odds must be a tensor"),
        ({"w_variance": 0.0}, "w_variance must be greater than 0"),
    ],
)
def test_what_is_no_law_of_levels_is_refused(options, told):
    batch = task_of("uniform").prompts(0, "test", 0, 2)
    given = {"noise_levels": torch.tensor([0.5, 1.0]), "odds": torch.tensor([0.5, 0.5]), **options}
    with pytest.raises(InputError, match=told):
        baselines.weights("bayes_noise", batch.xs, batch.ys, **given)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"d_input": 0, "w_scale": 0.0}, "d_input must .*; w_scale must be greater than 0; got 0.0"),
        ({"noise_std": -1.0}, "noise_std must be at least 0"),
        ({"n_context": 0}, "n_context must be"),
        ({"smallest_share": 0.0}, "smallest_share must be above 0 and below 1; got 0.0"),
        ({"smallest_share": 1.0}, "below 1; got 1.0 .Task linear_regression has one noise level for all"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, message):
    with pytest.raises(InputError, match=message):
        RandomNoiseRegression(**settings)
