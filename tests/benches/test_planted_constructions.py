"""Constructed transformers as cases of the benchmark of verdicts."""

import math
from dataclasses import replace

import pytest
import torch

from workbench import baselines
from workbench.benches import planted_constructions
from workbench.benches.planted import TASKS, Prompts
from workbench.benches.planted_constructions import RIDGE_HIDDEN, WRITTEN, constructions, from_gd, turned
from workbench.benches.verdict import ABSTAINS, judge_constructed
from workbench.models.constructions import CONSTRUCTIONS
from workbench.tasks import LinearRegression

SEED = 7
"""Neither of those that are reported."""


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    return Prompts.of(LinearRegression(d_input=3, n_context=8), SEED)


def test_every_construction_over_numbers_is_written():
    assert {written.construction for written in WRITTEN} == set(CONSTRUCTIONS)
    truths = {written.truth for written in WRITTEN}
    assert {"gd", "gd_plus_plus", "newton", "softmax_kernel", "nadaraya_watson", "knn", None} == truths


def test_each_holds_what_it_is_said_to_run(prompts, monkeypatch):
    """Read out by the model's own read-out it is the algorithm with these settings, at the steps of its layers."""
    built = []
    for written in WRITTEN:
        scales = planted_constructions.Scales(prompts, prompts.prefixes, 12.0, torch.Generator().manual_seed(SEED))
        n_layers, own = planted_constructions._drawn(written, scales) or pytest.fail(written.construction)
        built.append((CONSTRUCTIONS[written.construction], n_layers, own))
    monkeypatch.setattr(planted_constructions, "WRITTEN", WRITTEN[:3])
    monkeypatch.setattr(planted_constructions, "TURNED", ())
    reads = list(constructions(prompts, SEED))
    assert [each.truth for each in reads] == ["gd", "gd_plus_plus", "newton"]
    for read in reads:
        assert read.layers.shape == (*read.held.shape,)
        assert set(read.strangers) == {"the untrained model"}
        assert read.relabelled.isfinite().all()
    for construction, n_layers, own in built:
        model = construction.build(3, 8, n_layers, **own)
        options = construction.options(n_layers, **own)
        steps = [n_layers - construction.idle_layers] if construction.iterative else None
        known = baselines.predict(construction.algorithm, prompts.batch.xs, prompts.batch.ys, steps=steps, **options)
        said = model.predict(prompts.batch.to(dtype=torch.float64))[:, -1]
        known = (known[0] if steps else known)[:, -1]
        assert (said - known).abs().max() < 1e-4 * (1 + known.abs().max()), construction.name


def test_what_is_nowhere_on_the_way_is_left_out(prompts, monkeypatch):
    never = replace(WRITTEN[0], least=100)
    monkeypatch.setattr(planted_constructions, "WRITTEN", (never, WRITTEN[7]))
    assert [read.truth for read in constructions(prompts, SEED)] == ["knn"]


def test_a_weak_ridge_is_gradient_descent_and_a_strong_one_is_not(prompts):
    assert from_gd(prompts, 6, {"step_size": 0.05, "ridge": 0.0}) == pytest.approx(0, abs=1e-12)
    weak, strong = (from_gd(prompts, 6, {"step_size": 0.05, "ridge": ridge}) for ridge in (0.05, 10.0))
    assert weak < RIDGE_HIDDEN < 10 * RIDGE_HIDDEN < strong


def test_turned_queries_are_as_long_and_45_degrees_off(prompts):
    model = CONSTRUCTIONS["gd"].build(3, 8, 2, step_size=0.1)
    other = turned(model, 3)
    before, after = (each.layers[0].attn.W_Q[0, :3, :3] for each in (model, other))
    torch.testing.assert_close(after.norm(dim=1), before.norm(dim=1))
    cosines = (before * after).sum(1) / before.norm(dim=1) ** 2
    torch.testing.assert_close(cosines, torch.tensor([math.sqrt(0.5), math.sqrt(0.5), 1.0], dtype=torch.float64))
    batch = prompts.batch.to(dtype=torch.float64)
    assert (model.predict(batch) - other.predict(batch)).abs().max() > 0.1


def test_constructed_models_are_named_and_others_not(monkeypatch):
    """One kind of each; `mesascope bench verdict` takes all."""
    few = [written for written in WRITTEN if written.construction in ("nearest_neighbor", "ridge_gd", "debiased_gd")]
    monkeypatch.setattr(planted_constructions, "WRITTEN", tuple(few[:3]))
    assert TASKS[0].d_input == 4
    found = judge_constructed(SEED, 0)
    assert [(each.truth, each.verdict) for each in found] == [("gd", "gd"), (ABSTAINS, ABSTAINS), ("knn", "knn")]
    assert "GD on the ridge loss (step size" in found[1].sentence, "no sum of two algorithms"
