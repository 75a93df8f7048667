"""Codes of classes against closed forms, and against the same computed with scikit-learn alone."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from probes.class_codes import ClassCode, as_labels, bits_saved_on, frequencies, online_code
from probes.code_length import block_ends
from probes.config import MlpConfig
from probes.methods import PROBES
from probes.record import Samples
from probes.scores import mean_with_interval

SETTINGS = MlpConfig()
both_methods = pytest.mark.parametrize("name", ["logistic", "nearest_mean"])


def classes_of(n, odds, seed=0):
    return torch.multinomial(torch.tensor(odds), n, replacement=True, generator=torch.Generator().manual_seed(seed))


def samples(labels, apart, width=4, seed=1):
    """Two sites: in the first the classes stand apart, in the second they do not; the second copy is shuffled."""
    g = torch.Generator().manual_seed(seed)
    centres = torch.eye(max(int(labels.max()) + 1, width))[:, :width] * apart
    noise = torch.randn(2, len(labels), width, generator=g)
    rows = noise + torch.stack([centres[labels], torch.zeros(len(labels), width)])
    targets = labels.double()[:, None]
    return Samples(rows, torch.stack([targets, targets[torch.randperm(len(labels), generator=g)]]))


def part(all_samples, start, stop):
    return Samples(all_samples.activations[:, start:stop], all_samples.targets[:, start:stop])


def entropy(odds):
    return -sum(p * math.log2(p) for p in odds)


@both_methods
def test_what_is_not_there_saves_nothing_and_what_is_separable_saves_the_entropy(name):
    odds = [0.6, 0.3, 0.1]
    everything = samples(classes_of(2600, odds), apart=30.0)
    parts = [part(everything, *rows) for rows in ((0, 800), (800, 1000), (1000, 2600))]
    classes = torch.arange(3)
    probes = PROBES[name].fit(*parts[:2], SETTINGS, 0)
    bits = bits_saved_on(probes, classes, *parts)
    for site, copy in ((0, 1), (1, 0), (1, 1)):
        [mean], [(low, high)] = mean_with_interval(bits[site, copy][None], n_resamples=400, seed=0)
        assert low - 0.01 <= 0 <= high + 0.01  # a strength chosen on 200 samples costs 1 / 400 nats or more
        assert abs(mean.item()) < 0.02
    assert bits[0, 0].mean().item() == pytest.approx(entropy(odds), abs=0.06)
    code = online_code(PROBES[name], part(everything, 0, 1600), block_ends(1600), classes, SETTINGS, 0)
    assert code.uniform == math.log2(3)
    assert code.plain[0].item() == pytest.approx(entropy(odds), abs=0.03)
    assert code.saved[0, 0].item() == pytest.approx(entropy(odds) * (1 - 1 / 64), abs=0.12)
    assert code.saved[[0, 1, 1], [1, 0, 1]].abs().max() < 0.02


def test_two_gaussians_save_their_mutual_information():
    everything = samples(classes_of(24_000, [0.5, 0.5], seed=3), apart=1.0, width=2)
    parts = [part(everything, *rows) for rows in ((0, 10_000), (10_000, 12_000), (12_000, 24_000))]
    # between centres at distance sqrt 2: 1 - E log2(1 + exp(-L)), L ~ N(1, 2) the log-odds of the right class
    places, weights = np.polynomial.hermite_e.hermegauss(80)
    left = np.log2(1 + np.exp(-(1 + math.sqrt(2) * places))) @ weights / weights.sum()
    for name in ("logistic", "nearest_mean"):
        bits = bits_saved_on(PROBES[name].fit(*parts[:2], SETTINGS, 0), torch.arange(2), *parts)
        assert bits[0, 0].mean().item() == pytest.approx(1 - left, abs=0.02)


def direct(rows, labels, n_fit, n_held, prior, n_labels):
    """-log2 of the probabilities of a tempered logistic regression for all later samples, by scikit-learn and scipy."""
    from sklearn.linear_model import LogisticRegression

    x = (rows - rows[:n_fit].mean(0)) / rows[:n_fit].std(0, ddof=1)
    held = slice(n_fit, n_fit + n_held)
    tried = [LogisticRegression(C=c, max_iter=300).fit(x[:n_fit], labels[:n_fit]) for c in (1e-2, 1.0, 1e2)]
    best = max(tried, key=lambda each: each.score(x[held], labels[held]))
    rates = np.bincount(labels[:n_fit], minlength=n_labels) / n_fit
    evidence = best.predict_proba(x) / rates[best.classes_]

    def shares(strength):
        weighed = prior * evidence**strength
        return weighed / weighed.sum(1, keepdims=True)

    def cost(strength):
        return -np.log(shares(strength)[held][np.arange(n_held), labels[held]]).sum()

    found = minimize_scalar(cost, bounds=(0, 8), method="bounded", options={"xatol": 1e-10}).x
    doubt = 1 / (n_held + 2)
    return -np.log2((1 - doubt) * shares(found) + doubt * prior)[np.arange(len(labels)), labels]


def test_logistic_codes_are_those_computed_with_scikit_learn():
    labels = classes_of(1280, [0.5, 0.3, 0.2], seed=5)
    everything = samples(labels, apart=1.5)
    x, y = everything.activations[0].double().numpy(), labels.numpy()
    kt = lambda some: (np.bincount(some, minlength=3) + 0.5) / (len(some) + 1.5)  # noqa: E731
    parts = [part(everything, *rows) for rows in ((0, 600), (600, 800), (800, 1280))]
    found = bits_saved_on(PROBES["logistic"].fit(*parts[:2], SETTINGS, 0), torch.arange(3), *parts)[0, 0]
    prior = kt(y[:800])
    expected = -np.log2(prior[y]) - direct(x, y, 600, 200, prior, 3)
    np.testing.assert_allclose(found, expected[800:], rtol=1e-4, atol=1e-4)
    ends = [200, 400, 800]
    code = online_code(PROBES["logistic"], part(everything, 0, 800), ends, torch.arange(3), SETTINGS, 0)
    told = plain = 200 * math.log2(3)
    for start, stop in pairwise(ends):
        prior = kt(y[:start])
        own = 3 * start // 4
        told += direct(x[:stop], y[:stop], own, start - own, prior, 3)[start:].sum()
        plain += -np.log2(prior[y[start:stop]]).sum()
    assert code.probe[0, 0].item() == pytest.approx(told / 800, abs=1e-4)
    assert code.plain[0].item() == pytest.approx(plain / 800, abs=1e-9)


def test_probabilities_add_up_and_a_class_never_fitted_keeps_its_frequency():
    labels = torch.tensor([[0, 0, 1, 1, 1, 3]])
    prior = frequencies(labels, 4)
    assert prior[0].tolist() == pytest.approx([2.5 / 8, 3.5 / 8, 0.5 / 8, 1.5 / 8])
    evidence = torch.tensor([[0.0, 2.0, math.nan, -1.0]], dtype=torch.float64).expand(1, 1, 4, 4)
    code = ClassCode(prior, torch.full((1, 1), 0.7, dtype=torch.float64), 0.1)
    shares = 2 ** -code.bits(evidence, torch.arange(4)[None])[0, 0]
    assert shares.sum().item() == pytest.approx(1.0)
    assert shares[2].item() == pytest.approx(0.5 / 8)
    weighed = prior[0, [0, 1, 3]] * torch.tensor([0.0, 1.4, -0.7], dtype=torch.float64).exp()
    expected = 0.9 * weighed / weighed.sum() * (7.5 / 8) + 0.1 * prior[0, [0, 1, 3]]
    torch.testing.assert_close(shares[[0, 1, 3]], expected)
    nobody = ClassCode(prior, torch.zeros(1, 1, dtype=torch.float64), 0.1)
    everyone = torch.arange(4)[None]
    assert torch.equal(nobody.bits(evidence, everyone)[0], nobody.plain_bits(everyone))
    assert as_labels(torch.tensor([[[7.0], [2.0]]]), torch.tensor([2, 5, 7])).tolist() == [[2, 0]]


@both_methods
def test_few_samples_of_many_classes_are_told_without_failing(name):
    """Among them a prefix of 21 samples with a class each, in which scikit-learn suspects numbers."""
    labels = torch.arange(80) % 40
    few = samples(labels, apart=5.0, width=40)
    code = online_code(PROBES[name], few, [2, 3, 10, 28, 80], torch.arange(40), SETTINGS, 0)
    assert torch.isfinite(code.probe).all()
    assert code.saved[0, 0] > -0.2
