"""Trained probes, pooling probes, and probes for classes."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from probes.code_length import bits_saved, bits_saved_by, block_ends
from probes.config import MlpConfig, ProbeConfig
from probes.evaluate import Models, evaluate
from probes.methods import PROBES, mlp, pooled
from probes.methods.stacked import first_weights, train
from probes.record import Samples
from probes.sums import Sums
from tests.probes.test_evaluate import QUICK, TASK, small
from workbench.errors import InputError

FEW = MlpConfig(n_hidden=8, n_steps=12, n_batch=32)


def samples(n_sites=2, copies=1, tokens=None, n=120, width=3, columns=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    shape = (n_sites, n, width) if tokens is None else (n_sites, n, tokens, width)
    return Samples(torch.randn(*shape, generator=g), torch.randn(copies, n, columns, generator=g, dtype=torch.float64))


def test_networks_trained_together_are_those_trained_alone():
    both = samples(n_sites=2, copies=2)
    together = PROBES["mlp"].fit(both, both, FEW, 0)(both.activations)
    for site in (0, 1):
        for copy in (0, 1):
            alone = Samples(both.activations[site : site + 1], both.targets[copy : copy + 1])
            said = PROBES["mlp"].fit(alone, alone, FEW, 0)(alone.activations)
            torch.testing.assert_close(together[site, copy], said[0, 0], rtol=1e-4, atol=1e-4)


def test_training_is_adam_of_torch():
    both = samples(n_sites=1)
    whole = replace(FEW, n_steps=30)
    sizes = mlp.shapes(3, 8, 2)
    found = train(mlp.network, sizes, both, both, whole, 5)
    g = torch.Generator().manual_seed(5)
    weights = {name: w.requires_grad_() for name, w in first_weights(sizes, 5, 0).items()}
    optimizer = torch.optim.Adam(weights.values(), lr=whole.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, whole.n_steps)
    inputs, aims = found.scale.inputs(both.activations)[0], found.scale.aims(both.targets)[0]
    least, best = float("inf"), None
    for _ in range(whole.n_steps):
        some = torch.randint(120, (whole.n_batch,), generator=g)
        optimizer.zero_grad()
        (mlp.network(weights, inputs[some]) - aims[some]).square().mean().backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            now = (mlp.network(weights, inputs) - aims).square().mean().item()
        if now < least:
            least, best = now, {name: w.detach().clone() for name, w in weights.items()}
    for name, w in found.weights.items():
        torch.testing.assert_close(w[0, 0], best[name], rtol=1e-3, atol=1e-4)


def test_more_seeds_never_validate_worse():
    both = samples(n=200)
    errors = []
    for n_seeds in (1, 4):
        said = PROBES["mlp"].fit(both, both, replace(FEW, n_seeds=n_seeds), 0)(both.activations)
        errors.append((said[:, 0] - both.targets).square().mean((1, 2)))
    assert (errors[1] <= errors[0] + 1e-6).all()


def test_an_mlp_decodes_what_no_linear_map_does():
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(1, 1500, 4, generator=g)
    product = (rows[0, :, :1] * rows[0, :, 1:2])[None].double()
    parts = [Samples(rows[:, at], product[:, at]) for at in (slice(1000), slice(1000, 1200))]
    truth = product[0, 1200:]
    settings = MlpConfig(n_hidden=32, n_steps=400, n_batch=128, lr=1e-2)
    scores = {}
    for name in ("ridge", "mlp"):
        said = PROBES[name].fit(*parts, settings, 0)(rows[:, 1200:])[0, 0]
        scores[name] = 1 - ((said - truth).square().sum() / truth.square().sum()).item()
    assert scores["ridge"] < 0.05
    assert scores["mlp"] > 0.85


@pytest.mark.parametrize("name", ["pooled_linear", "pooled_mlp"])
def test_pooling_finds_the_tokens_that_hold_it(name):
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(1, 1300, 4, 3, generator=g)
    held = (0.5 * rows[0, :, 1] + 0.5 * rows[0, :, 3])[None].double()
    parts = [Samples(rows[:, at], held[:, at]) for at in (slice(900), slice(900, 1100))]
    fitted = PROBES[name].fit(*parts, MlpConfig(n_hidden=16, n_steps=400, n_batch=128, lr=1e-2), 0)
    [[shares]] = fitted.shares.tolist()
    assert sum(shares) == pytest.approx(1.0, abs=1e-5)
    assert shares[1] == pytest.approx(0.5, abs=0.06)
    assert shares[3] == pytest.approx(0.5, abs=0.06)
    said = fitted(rows[:, 1100:])[0, 0]
    assert 1 - ((said - held[0, 1100:]).square().sum() / held[0, 1100:].square().sum()).item() > 0.93


def test_shares_of_tokens_are_a_mean():
    activations = torch.arange(12.0).reshape(2, 3, 2)
    equal = pooled.pool(torch.zeros(3), activations)
    torch.testing.assert_close(equal, activations.mean(1))


def test_classes_agree_with_scikit_learn():
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import NearestCentroid

    g = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (600,), generator=g)
    centres = torch.randn(3, 5, generator=g)
    rows = (centres[labels] + torch.randn(600, 5, generator=g))[None]
    targets = labels.double()[None, :, None]
    parts = [Samples(rows[:, at], targets[:, at]) for at in (slice(300), slice(300, 400))]
    x, y = rows[0].double().numpy(), labels.numpy()
    nearest = PROBES["nearest_mean"].fit(*parts, FEW, 0)(rows[:, 400:])[0, 0, :, 0]
    assert (nearest.numpy() == NearestCentroid().fit(x[:300], y[:300]).predict(x[400:])).all()
    logistic = PROBES["logistic"].fit(*parts, FEW, 0)
    scaled = (x - x[:300].mean(0)) / x[:300].std(0, ddof=1)
    tried = [LogisticRegression(C=c, max_iter=300).fit(scaled[:300], y[:300]) for c in (1e-2, 1.0, 1e2)]
    best = max(tried, key=lambda each: each.score(scaled[300:400], y[300:400]))
    assert (logistic(rows[:, 400:])[0, 0, :, 0].numpy() == best.predict(scaled[400:])).all()


def test_a_study_of_classes_has_accuracies_and_their_chance():
    pool = replace(TASK, weights="pool", n_pool=3)
    config = replace(QUICK, targets=("latent:pool_index", "y_earlier"), methods=("ridge", "nearest_mean", "logistic"))
    found = evaluate(Models(small(), small()), pool, config)
    classes = [s for s in found.scores if s.target == "latent:pool_index"]
    assert {s.method for s in classes} == {"nearest_mean", "logistic"}
    assert {s.method for s in found.scores if s.target == "y_earlier"} == {"ridge"}
    for s in classes:
        assert s.measure == "accuracy"
        assert 0.2 < s.shuffled < 0.5  # three classes
        assert (s.cosine, s.mse, s.ceiling) == (None, None, None)
    from probes.results import row

    told = row(classes[0])
    assert told["r2"] is None
    assert told["r2_untrained"] is None
    assert told["accuracy"] == classes[0].score


def test_a_study_by_trained_probes_has_all_controls_and_says_what_is_read():
    config = replace(QUICK, targets=("y_earlier:2",), methods=("mlp", "pooled_linear", "pooled_mlp"), training=FEW)
    found = evaluate(Models(small(), small(), small(seed=1)), TASK, replace(config, n_contexts=(2,)))
    assert len(found.scores) == 9
    for s in found.scores:
        assert s.control is not None
        assert s.selectivity == pytest.approx(s.score - s.shuffled)
        assert s.v_information is not None
        assert s.code_length_saved is None
        assert s.strength is None
    assert {p.method for p in found.poolings} == {"pooled_linear", "pooled_mlp"}
    assert all(len(p.shares) == 4 and sum(p.shares) == pytest.approx(1.0, abs=1e-5) for p in found.poolings)


def test_the_online_code_of_a_gaussian_channel_saves_its_mutual_information():
    g = torch.Generator().manual_seed(0)
    n = 6400
    rows = torch.randn(2, n, 3, generator=g, dtype=torch.float64)
    target = rows[0] @ torch.tensor([[1.0], [2.0], [0.0]], dtype=torch.float64)
    target = target + 5.0**0.5 * torch.randn(n, 1, generator=g, dtype=torch.float64)  # as much noise as signal
    ends = [0, *block_ends(n)]
    blocks = [Sums.of(rows[:, a:b], target[a:b]) for a, b in pairwise(ends)]
    there, elsewhere = bits_saved(blocks, [slice(0, 1)])[:, 0].tolist()
    assert there == pytest.approx(0.5, abs=0.03)
    assert -0.01 < elsewhere < 0.003  # what is not there costs a little


def test_the_online_code_of_a_method_fitted_anew_is_near_that_in_closed_form():
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(2, 3200, 3, generator=g)
    target = rows[0].double() @ torch.tensor([[1.0], [2.0], [0.0]], dtype=torch.float64)
    both = Samples(rows, (target + 5.0**0.5 * torch.randn(3200, 1, generator=g, dtype=torch.float64))[None])
    ends = block_ends(3200)
    closed = bits_saved([Sums.of(rows[:, a:b], both.targets[0, a:b]) for a, b in pairwise([0, *ends])], [slice(0, 1)])
    anew = bits_saved_by(PROBES["ridge"], both, ends, FEW, 0)
    assert anew[0].item() == pytest.approx(closed[0].item(), abs=0.03)
    assert abs(anew[1].item()) < 0.01
    assert bits_saved_by(PROBES["pooled_linear"], samples(tokens=3, n=4), [2, 4], FEW, 0).tolist() == [[0.0]] * 2


def test_the_online_code_of_an_mlp_knows_what_that_of_a_linear_probe_does_not():
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(1, 1600, 3, generator=g)
    product = Samples(rows, (rows[0, :, :1] * rows[0, :, 1:2])[None].double())
    settings = MlpConfig(n_hidden=16, n_steps=150, n_batch=64, lr=1e-2)
    bits = {
        name: bits_saved_by(PROBES[name], product, [400, 800, 1600], settings, 0).item() for name in ("mlp", "ridge")
    }
    assert bits["mlp"] > 0.5
    assert abs(bits["ridge"]) < 0.02


def test_the_online_code_of_trained_probes_is_measured_where_it_is_asked_for():
    config = replace(QUICK, targets=("y_earlier",), methods=("mlp",), online_code="all")
    config = replace(config, training=replace(FEW, n_steps=150, lr=1e-2))
    found = evaluate(Models(small(), small()), TASK, config)
    assert all(s.code_length_saved is not None for s in found.scores)
    assert min(s.code_length_saved for s in found.scores) > 0.1  # that y stands at its token


def test_blocks_end_at_halves():
    assert block_ends(3072) == [48, 96, 192, 384, 768, 1536, 3072]
    assert block_ends(48) == [2, 3, 6, 12, 24, 48]


def test_wrong_settings_of_training_are_refused():
    with pytest.raises(InputError, match=r"n_hidden must be a whole number.*lr must be greater than 0"):
        MlpConfig(n_hidden=0, lr=-1.0)
    assert np.isfinite(ProbeConfig().training.lr)
