"""Constructed and untrained transformers that the verdict is tried on."""

import pytest
import torch

from workbench import baselines
from workbench.baselines import Prefixes
from workbench.benches import planted_transformers
from workbench.benches.planted_transformers import constructed, untrained
from workbench.models.constructions import CONSTRUCTIONS
from workbench.tasks import LinearRegression

TASK = LinearRegression(d_input=3, n_context=9)


@pytest.fixture(scope="module")
def batch():
    return TASK.prompts(7, "planted transformers", 0, 96)


def done(layers, batch):
    """How far each layer is from nothing, 0, to least squares, 1."""
    ends = baselines.predict("ols", Prefixes.of(batch.xs, batch.ys))
    return 1 - (layers - ends).square().sum((1, 2)) / ends.square().sum()


def test_constructions_say_what_they_run_and_stay_on_the_way(batch):
    cases = [constructed(TASK, batch, seed) for seed in range(6)]
    assert {case.truth for case in cases} == {"gd", "gd_plus_plus"}
    for case in cases:
        assert case.layers.dtype == torch.float64
        assert case.layers.shape[1:] == batch.ys.shape
        assert 4 <= len(case.layers) <= 7
        way = done(case.layers, batch)
        assert way[0].abs() < 0.05
        assert ((way[1:] > 0.05) & (way[1:] < 0.97)).sum() >= 3


def test_read_outs_scale_what_the_layers_of_a_construction_hold_and_add_little(batch):
    for seed in range(6):
        case = constructed(TASK, batch, seed)
        assert (case.held[0] == 0).all()
        held, read = case.held[1:].flatten(1), case.layers[1:].flatten(1)
        assert (torch.cosine_similarity(held, read) > 0.98).all()
        assert read[0].norm() > 1.2 * held[0].norm()


def test_a_construction_holds_steps_of_the_algorithm_that_it_is_said_to_run(batch, monkeypatch):
    drawn = {}
    monkeypatch.setattr(planted_transformers, "_on_the_way", lambda *asked: drawn.update(asked=asked) or 3)
    for seed in range(4):
        case = constructed(TASK, batch, seed)
        name, prefixes, n_layers, own = drawn["asked"]
        options = CONSTRUCTIONS[name].options(n_layers, **own)
        steps = baselines.predict(case.truth, prefixes, steps=range(n_layers + 1), **options)
        torch.testing.assert_close(case.held, steps, rtol=1e-10, atol=1e-10)


def test_untrained_transformers_differ_in_kind_and_say_next_to_nothing(batch):
    cases = [untrained(TASK, batch, seed) for seed in range(16)]
    assert len({case.kind for case in cases}) > 14
    for word in ("softmax", "linear", "relu", "swiglu", "layer_norm", "pairs", "interleaved", "final norm"):
        assert any(word in case.kind for case in cases), word
    for case in cases:
        assert case.truth is None
        assert torch.isfinite(case.layers).all()
        assert case.layers.shape[1:] == batch.ys.shape
        assert case.held.shape == case.layers.shape
        assert done(case.layers, batch).max() < 0.4


@pytest.mark.parametrize("make", [constructed, untrained])
def test_a_seed_gives_the_same_again_and_another_seed_something_else(make, batch):
    one, same, other = (make(TASK, batch, seed) for seed in (3, 3, 4))
    assert one.kind == same.kind
    assert torch.equal(one.layers, same.layers)
    assert one.kind != other.kind


def test_a_task_on_which_no_layer_is_on_the_way_is_refused(batch, monkeypatch):
    monkeypatch.setattr(planted_transformers, "_on_the_way", lambda *_: 2)
    with pytest.raises(ValueError, match="step sizes must be stable, with 3 layers on the way"):
        constructed(TASK, batch, 0)


@pytest.mark.parametrize("name", ["gd", "gd_plus_plus"])
def test_a_step_too_long_for_some_prompts_of_the_read_outs_is_seen(batch, name):
    prefixes = Prefixes.of(batch.xs, batch.ys)
    own = {"step_size": [0.02] * 4} | ({"gamma": [0.01] * 4} if name == "gd_plus_plus" else {})
    assert planted_transformers.is_stable(name, prefixes, 4, own)
    assert not planted_transformers.is_stable(name, prefixes, 4, {key: [0.9] * 4 for key in own})
