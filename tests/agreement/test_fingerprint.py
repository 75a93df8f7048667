"""The spectral filter that is fitted to a layer, against filters that are known."""

import math

import pytest
import torch

from workbench import baselines
from workbench.agreement.fingerprint import N_KNOTS, fingerprint
from workbench.baselines import Prefixes
from workbench.batch import RegressionBatch
from workbench.metrics import bootstrap_weights
from workbench.tasks import LinearRegression

SCORED = slice(1, 24)


@pytest.fixture(scope="module")
def prefixes() -> Prefixes:
    batch = LinearRegression(d_input=6, n_context=24).prompts(0, "fingerprint", 0, 256)
    assert isinstance(batch, RegressionBatch)
    return Prefixes.of(batch.xs, batch.ys)


@pytest.fixture(scope="module")
def shares() -> torch.Tensor:
    return bootstrap_weights(256, 200, torch.Generator().manual_seed(0))


def said(prefixes: Prefixes, name: str, steps: list[int] | None = None, **options) -> torch.Tensor:
    found = baselines.predict(name, prefixes, steps=steps, **options)[..., SCORED]
    return found if found.ndim == 3 else found[None]


@pytest.mark.parametrize(
    ("name", "options", "scale", "learnt"),
    [
        ("ols", {}, "sum", lambda x: torch.ones_like(x)),
        ("ridge", {"ridge": 3.0}, "sum", lambda x: x / (x + 3.0)),
        ("gd", {"steps": [5], "step_size": 0.02}, "sum", lambda x: 1 - (1 - 0.02 * x).clamp(min=0) ** 5),
        ("gd", {"steps": [5]}, "relative", lambda x: 1 - (1 - x.clamp(max=1)) ** 5),
        ("newton", {"steps": [2]}, "relative", lambda x: 1 - (1 - x.clamp(max=1) ** 2) ** 4),
    ],
)
def test_known_filters_are_recovered_without_a_grid_of_steps(prefixes, shares, name, options, scale, learnt):
    layers = said(prefixes, name, **options)
    found = fingerprint(layers, prefixes, SCORED, {}, shares, scale)
    [layer] = found.layers
    at = torch.tensor(found.eigenvalues, dtype=torch.float64)
    heavy = torch.tensor(found.weights) > 0.02
    wrong = (torch.tensor(layer.learnt, dtype=torch.float64) - learnt(at))[heavy].abs()
    assert wrong.max() < 0.06, "straight lines between knots, and no more"
    assert layer.explained is not None
    assert layer.explained > 0.996
    assert len(found.eigenvalues) == N_KNOTS


def test_the_scale_is_the_one_in_which_the_layer_is_a_filter(prefixes, shares):
    assert fingerprint(said(prefixes, "gd", [5]), prefixes, SCORED, {}, shares).scale == "relative"
    fixed = said(prefixes, "gd", [5], step_size=0.02)
    assert fingerprint(fixed, prefixes, SCORED, {}, shares).scale == "sum"
    mean = said(prefixes, "gd", [3], step_size=0.15, gradient="mean")
    assert fingerprint(mean, prefixes, SCORED, {}, shares).scale == "mean"


def test_what_is_no_filter_is_not_explained_as_one(prefixes, shares):
    neighbours = said(prefixes, "knn", n_neighbors=2)
    noise = torch.randn(neighbours.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = fingerprint(torch.cat([neighbours, noise, torch.zeros_like(noise)]), prefixes, SCORED, {}, shares)
    neighbour, random, silent = found.layers
    assert neighbour.explained is not None
    assert neighbour.explained < 0.8
    assert random.explained is not None
    assert random.explained < 0.02
    assert silent.explained is None
    assert set(silent.learnt) == {0.0}


def test_distances_are_zero_to_itself_and_tell_references_apart(prefixes, shares):
    layers = said(prefixes, "gd", [4])
    references = {"gd": layers, "ols": said(prefixes, "ols")}
    [layer] = fingerprint(layers, prefixes, SCORED, references, shares).layers
    assert layer.distances["gd"] == pytest.approx(0.0, abs=1e-9)
    assert layer.distances["ols"] > 0.1
    assert layer.references["gd"] == pytest.approx(layer.learnt)


def test_intervals_hold_the_filter_and_shrink_with_prompts(prefixes):
    noise = torch.randn(256, 23, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    layers = said(prefixes, "gd", [4]) + 0.3 * noise
    widths = []
    for n in (64, 256):
        weights = bootstrap_weights(n, 300, torch.Generator().manual_seed(0))
        [layer] = fingerprint(layers[:, :n], prefixes.part(0, n), SCORED, {}, weights).layers
        assert all(low <= at <= high for low, at, high in zip(layer.low, layer.learnt, layer.high, strict=True))
        widths.append(sum(high - low for low, high in zip(layer.low[4:], layer.high[4:], strict=True)))
    assert widths[1] < 0.75 * widths[0]


def test_eigenvalues_that_are_all_alike_have_a_filter_too():
    signs = torch.randint(0, 2, (64, 2, 1), generator=torch.Generator().manual_seed(0)).double() * 2 - 1
    prefixes = Prefixes.of(signs, 3.0 * signs[..., 0])  # every S_1 is 1
    layers = 0.5 * baselines.predict("ols", prefixes)[None, :, 1:]
    found = fingerprint(layers, prefixes, slice(1, 2), {}, bootstrap_weights(64, 20, torch.Generator().manual_seed(0)))
    [layer] = found.layers
    assert all(map(math.isfinite, (*layer.learnt, *layer.low, *layer.high)))
    assert layer.explained == pytest.approx(1.0)
    heaviest = max(range(N_KNOTS), key=found.weights.__getitem__)
    assert layer.learnt[heaviest] == pytest.approx(0.5, abs=0.01)
