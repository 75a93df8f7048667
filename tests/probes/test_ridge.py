"""Closed-form probes against scikit-learn and against what was planted."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from probes.config import MlpConfig
from probes.methods.ridge import RIDGES, Spectrum, choose, fit, spread
from probes.record import Samples
from probes.scores import bits_saved, r2, score_classes, score_numbers
from probes.sums import Sums
from workbench.errors import InputError

SITES, N, WIDTH, COLUMNS = 3, 400, 12, 5


def data(n=N, seed=0, offset=3.0):
    """Activations away from zero, of unlike scale and nearly dependent, and targets from them with noise."""
    g = torch.Generator().manual_seed(seed)
    scales = torch.logspace(-2, 1, WIDTH, dtype=torch.float64)
    rows = torch.randn(SITES, n, WIDTH, generator=g, dtype=torch.float64) * scales + offset
    rows[..., 1] = rows[..., 0] + 1e-4 * torch.randn(SITES, n, generator=g, dtype=torch.float64)
    maps = torch.randn(WIDTH, COLUMNS, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    noise = torch.randn(n, COLUMNS, generator=g, dtype=torch.float64)
    return rows, rows[0] @ maps + 0.5 * noise - 7.0


@pytest.mark.parametrize("ridge", [1e-6, 1e-2, 1.0, 100.0])
def test_coefficients_and_intercepts_are_those_of_scikit_learn(ridge):
    rows, targets = data()
    found = Spectrum.of(Sums.of(rows, targets))
    probes = found.solution(torch.full((SITES, COLUMNS), ridge, dtype=torch.float64))
    for site in range(SITES):
        theirs = Ridge(alpha=ridge * found.unit[site].item(), solver="svd").fit(rows[site].numpy(), targets.numpy())
        np.testing.assert_allclose(probes.weights[site].T, theirs.coef_, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(probes.intercepts[site], theirs.intercept_, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(probes(rows)[site], theirs.predict(rows[site].numpy()), rtol=1e-6, atol=1e-8)


def test_sums_of_parts_add_up_and_errors_on_others_are_those_of_the_predictions():
    rows, targets = data()
    other, others = data(seed=1)
    whole = Sums.of(rows, targets)
    parts = Sums.of(rows[:, :100], targets[:100]) + Sums.of(rows[:, 100:], targets[100:])
    found = Spectrum.of(parts)
    torch.testing.assert_close(found.cross, Spectrum.of(whole).cross, rtol=1e-8, atol=1e-6)
    validation = Sums.of(other, others)
    errors = found.validation_errors(validation, RIDGES)
    for index, ridge in enumerate(RIDGES):
        probes = found.solution(torch.full((SITES, COLUMNS), ridge, dtype=torch.float64))
        plain = (probes(other) - others).square().mean(1)
        torch.testing.assert_close(errors[index], plain, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(validation.errors(probes.weights, probes.intercepts), plain, rtol=1e-6, atol=1e-8)


def test_strengths_are_chosen_for_each_site_and_target_by_its_validation_error():
    errors = torch.tensor([[[1.0, 5.0, 0.0]], [[2.0, 1.0, 3.0]]], dtype=torch.float64)  # [ridge site column]
    parts = [slice(0, 2), slice(2, 3)]
    chosen = choose(errors, parts, [0.1, 10.0])
    assert chosen.tolist() == [[10.0, 0.1]]
    assert spread(chosen, parts).tolist() == [[10.0, 10.0, 0.1]]


def test_a_probe_recovers_a_planted_map_and_finds_nothing_in_shuffled_targets():
    g = torch.Generator().manual_seed(3)
    rows, targets = data(n=900, seed=4)
    targets = rows[0] @ torch.randn(WIDTH, COLUMNS, generator=g, dtype=torch.float64)
    order = torch.randperm(900, generator=g)
    both = torch.stack([targets, targets[order]])
    parts = [Samples(rows[:, at], both[:, at]) for at in (slice(500), slice(500, 700))]
    said = fit(*parts, MlpConfig(), 0)(rows[:, 700:])
    truth = both[:, 700:, None]
    assert r2(said[:1, 0][:, :, None], truth[0]).item() == pytest.approx(1.0, abs=1e-9)
    assert abs(r2(said[:1, 1][:, :, None], truth[1]).item()) < 0.1
    assert (r2(said[1:, 0][:, :, None], truth[0]) < 0.1).all()  # sites that the targets were not made from


def test_a_site_that_never_changes_predicts_the_mean():
    rows, targets = data()
    constant = torch.ones_like(rows)
    said = Spectrum.of(Sums.of(constant, targets)).solution(torch.zeros(SITES, COLUMNS, dtype=torch.float64) + 1e-6)
    torch.testing.assert_close(said(constant), targets.mean(0).expand(SITES, N, COLUMNS), rtol=1e-9, atol=1e-9)


def test_no_more_samples_than_features_are_refused_with_the_number_that_would_do():
    rows, targets = data(n=WIDTH)
    samples = Samples(rows, targets[None])
    with pytest.raises(InputError, match=r"n_fit must leave more training samples than the 12 features.*at least 18"):
        fit(samples, samples, MlpConfig(), 0)


def test_r2_is_that_of_scikit_learn_and_its_interval_holds_it():
    g = torch.Generator().manual_seed(0)
    truth = torch.randn(300, 2, 4, generator=g, dtype=torch.float64) * torch.tensor([1.0, 5.0, 0.1, 1.0])
    said = (truth + torch.randn(300, 2, 4, generator=g, dtype=torch.float64))[None]
    found = score_numbers(said, truth, n_resamples=400, n_permutations=99, seed=0)
    flat = [each.reshape(-1, 4).numpy() for each in (truth, said[0])]
    assert found.score.item() == pytest.approx(r2_score(*flat, multioutput="variance_weighted"), abs=1e-12)
    (low, high) = found.ci[0]
    assert low < found.score.item() < high
    assert 0.01 < high - low < 0.2
    assert found.p_value.item() == pytest.approx(0.01)
    cosine = (torch.nn.functional.cosine_similarity(said[0], truth, dim=-1)).mean()
    assert found.cosine.item() == pytest.approx(cosine.item())


def test_p_values_of_predictions_that_know_nothing_are_spread_evenly():
    g = torch.Generator().manual_seed(0)
    truth = torch.randn(60, 1, 2, generator=g, dtype=torch.float64)
    said = torch.randn(300, 60, 1, 2, generator=g, dtype=torch.float64)
    p = score_numbers(said, truth, n_resamples=2, n_permutations=199, seed=0).p_value
    assert 0.02 < (p <= 0.05).double().mean() < 0.09  # 5% of 300, four standard errors
    assert 0.42 < p.mean() < 0.58


def test_the_bootstrap_interval_covers_as_often_as_it_says():
    g = torch.Generator().manual_seed(1)
    truth = torch.randn(80, 1, 1, generator=g, dtype=torch.float64)
    hits = 0
    for seed in range(100):
        g = torch.Generator().manual_seed(seed)
        truth = torch.randn(120, 1, 1, generator=g, dtype=torch.float64)
        said = (0.8 * truth + 0.4 * torch.randn(120, 1, 1, generator=g, dtype=torch.float64))[None]
        (low, high) = score_numbers(said, truth, n_resamples=200, n_permutations=1, seed=seed).ci[0]
        hits += low <= 1 - (0.04 + 0.16) <= high
    assert hits >= 85  # nominally 95 of 100; percentile intervals of R^2 fall a little short


def test_accuracy_has_its_chance():
    truth = torch.arange(200)[:, None] % 4
    guess = torch.zeros(1, 200, 1, dtype=torch.long)
    found = score_classes(torch.cat([guess, truth[None]]), truth, n_resamples=50, n_permutations=99, seed=0)
    assert found.score.tolist() == [0.25, 1.0]
    assert found.p_value.tolist() == [1.0, 0.01]


def test_v_information_of_a_gaussian_channel_is_its_mutual_information():
    g = torch.Generator().manual_seed(0)
    truth = torch.randn(20_000, 1, 1, generator=g, dtype=torch.float64)
    noisy = truth + torch.randn(20_000, 1, 1, generator=g, dtype=torch.float64)
    said = (noisy / 2)[None]  # the posterior mean; half of the variance is left
    one = torch.ones(1, dtype=torch.float64)
    found = bits_saved(said, truth, noise=0.5 * one[None], mean=0 * one, variance=one).mean((1, 2))
    assert found.item() == pytest.approx(0.5, abs=0.02)  # half a bit
    nothing = bits_saved(0 * said, truth, noise=one[None], mean=0 * one, variance=one).mean((1, 2))
    assert nothing.item() == pytest.approx(0.0, abs=1e-12)
