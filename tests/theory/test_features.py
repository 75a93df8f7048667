"""The best step on features: the linear optimum where features are linear, and sampled prompts elsewhere."""

import math

import pytest
import torch

from workbench.batch import RegressionBatch
from workbench.regression_law import FunctionLaw
from workbench.tasks import LinearRegression, SineRegression
from workbench.theory.features import best_feature_step
from workbench.theory.one_step import excess_risk, optimum

SINE = SineRegression(noise_std=0.5)


def test_on_linear_functions_it_is_the_linear_optimum():
    law = LinearRegression(d_input=1, n_context=8, inputs="uniform", noise_std=0.3).law()
    places, weights = torch.linspace(-1, 1, 3, dtype=torch.float64), torch.tensor([1, 4, 1], dtype=torch.float64) / 6
    scale = torch.tensor([1.0], dtype=torch.float64)
    # Simpson's nodes do not give the fourth moment of a uniform law: take the nodes' own in the law.
    spectrum = (weights @ places.square()) * scale
    kurtosis = float(weights @ places.pow(4)) / float(spectrum[0]) ** 2 - 3
    of_nodes = type(law)(7, spectrum, torch.eye(1).double(), law.prior, law.noise_variance, "nodes", kurtosis)
    moment = float(law.prior[0, 0]) * places[:, None] * places
    functions = FunctionLaw(7, places[:, None], weights, moment, 0 * places, law.noise_variance)
    found = best_feature_step(places[:, None], functions)
    best = optimum(of_nodes)
    assert found.gamma[0, 0] == pytest.approx(best[0, 0])
    assert found.excess == pytest.approx(excess_risk(best, of_nodes))


def test_no_features_do_better_than_those_that_tell_the_functions_apart():
    law = SINE.function_law()
    x = law.nodes[:, 0]
    least = best_feature_step(torch.eye(len(x), dtype=torch.float64), law).excess
    waves = torch.stack([x.sin(), x.cos()], 1)
    assert best_feature_step(waves, law).excess == pytest.approx(least)
    generator = torch.Generator().manual_seed(0)
    for features in (law.nodes, torch.stack([x, x**2, x**3], 1), torch.randn(len(x), 5, generator=generator).double()):
        assert best_feature_step(features, law).excess > least + 0.01
    more = torch.cat([waves, law.nodes, waves], 1)
    assert best_feature_step(more, law).excess == pytest.approx(least, rel=1e-6), "what repeats or adds nothing is idle"


def test_its_risk_is_that_of_sampled_prompts():
    law = SINE.function_law()

    def features(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x, x.sin(), (x / 2).cos()], -1)

    best = best_feature_step(features(law.nodes[:, 0]), law)
    batch = SINE.prompts(0, "features", 0, 40_000)
    assert isinstance(batch, RegressionBatch)
    xs, ys = batch.xs[..., 0].double(), batch.ys.double()
    phi = features(xs)
    told = ((phi[:, -1] @ best.gamma) * (ys[:, :-1, None] * phi[:, :-1]).mean(1)).sum(-1)
    error = (told - batch.latents["clean"][:, -1].double()).square()
    assert abs(float(error.mean()) - best.excess) < 5 * float(error.std()) / len(error) ** 0.5
    zero = float(law.shares @ law.second_moment.diagonal())
    assert best.excess < 0.5 * zero


def test_the_mean_of_all_waves_is_known_without_an_example_and_is_no_step():
    law = SINE.function_law()
    batch = SINE.prompts(0, "mean", 0, 40_000)
    assert isinstance(batch, RegressionBatch)
    query, wave = batch.xs[:, -1, 0].double(), batch.latents["clean"][:, -1].double()
    told = (SINE.smallest_amplitude + SINE.largest_amplitude) / math.pi * query.cos()
    assert torch.allclose(law.mean, law.mean.max() / law.nodes[:, 0].cos().max() * law.nodes[:, 0].cos())
    error = (wave - told).square()
    assert abs(float(error.mean()) - law.variance) < 5 * float(error.std()) / len(error) ** 0.5
    assert law.variance < 0.75 * float(law.shares @ law.second_moment.diagonal())
