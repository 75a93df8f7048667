"""Where planted layers stand on algorithms' paths, and which of two they are nearer to."""

from dataclasses import replace

import pytest
import torch

from workbench import baselines
from workbench.agreement.blending import nearest_blend
from workbench.agreement.hypotheses import paths
from workbench.agreement.matching import lean, nearest
from workbench.agreement.path import Path
from workbench.baselines import Prefixes
from workbench.batch import RegressionBatch
from workbench.metrics import bootstrap_weights
from workbench.tasks import LinearRegression

SCORED = slice(1, 14)


@pytest.fixture(scope="module")
def prefixes() -> Prefixes:
    batch = LinearRegression(d_input=4, n_context=14).prompts(0, "matching", 0, 96)
    assert isinstance(batch, RegressionBatch)
    return Prefixes.of(batch.xs, batch.ys)


@pytest.fixture(scope="module")
def known(prefixes) -> list[Path]:
    return paths(prefixes, SCORED)


@pytest.fixture(scope="module")
def labels(prefixes) -> torch.Tensor:
    return prefixes.ys[:, SCORED]


@pytest.fixture(scope="module")
def shares() -> torch.Tensor:
    return bootstrap_weights(96, 200, torch.Generator().manual_seed(0))


def run(prefixes: Prefixes, name: str, steps: list[int] | None = None, **options) -> torch.Tensor:
    return baselines.predict(name, prefixes, steps=steps, **options)[..., SCORED]


def test_every_path_is_the_registrys_algorithm_and_finite(prefixes, known):
    assert all(path.predictions.isfinite().all() for path in known)
    assert all(len(path.values) == len(path.predictions) for path in known)
    by = {(path.algorithm, path.convention): path for path in known}
    gd = by["gd", "step size 0.95/λmax of the prefix"]
    expected = run(prefixes, "gd", [7], relative_step_size=0.95)[0]
    torch.testing.assert_close(gd.predictions[gd.values.index(7.0)], expected)
    newton = by["newton", "M_0 = 1 S/λmax²"]
    torch.testing.assert_close(newton.predictions[newton.values.index(3.0)], run(prefixes, "newton", [3])[0])
    cg = by["cg", "from zero, iterates joined by straight lines"]
    torch.testing.assert_close(cg.predictions[cg.values.index(2.0)], run(prefixes, "cg", [2])[0])
    middle = (run(prefixes, "cg", [1])[0] + run(prefixes, "cg", [2])[0]) / 2
    torch.testing.assert_close(cg.predictions[cg.values.index(1.5)], middle)


def test_paths_that_know_no_half_way_start_with_silence(known):
    for path in known:
        if not path.iterates:
            assert not path.predictions[0].any()


@pytest.mark.parametrize(
    ("name", "steps", "options"),
    [
        ("gd", [1, 2, 3, 5], {"relative_step_size": 0.873}),
        ("gd", [2, 4, 8, 16], {"step_size": 0.0137}),
        ("newton", [2, 3, 4], {"alpha": 0.61}),
        ("newton", [2, 3, 4], {"alpha": 0.004, "norm": "examples"}),
        ("cg", [1, 2, 3], {}),
        ("gd_plus_plus", [1, 2, 3, 4], {"relative_step_size": 0.83, "relative_gamma": 0.41}),
        ("momentum", [1, 3, 5, 7], {"relative_step_size": 0.66, "momentum": 0.71}),
        ("nesterov", [2, 4, 6, 8], {"relative_step_size": 0.74}),
        ("chebyshev", [1, 2, 3, 4], {"lower": 1.7, "upper": 31.0}),
    ],
)
def test_planted_iterates_are_found_with_conventions_between_those_of_the_paths(
    prefixes, known, labels, name, steps, options
):
    found = nearest(run(prefixes, name, steps, **options), known, labels)
    assert found[name].misfit < 2e-5
    others = found.keys() - {name} - ({"momentum", "nesterov"} if name == "gd" else set())  # with little momentum
    assert all(found[other].misfit > 5 * found[name].misfit for other in others)
    ratios = [value / found[name].values[0] for value in found[name].values]
    if name != "newton":  # a smaller step size is as good at as many more steps
        assert ratios == pytest.approx([step / steps[0] for step in steps], rel=0.25)


@pytest.mark.parametrize("size", [0.29, 0.518, 0.712])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_steps_that_multiply_are_found_to_the_step_though_others_at_another_size_are_nearly_as_near(
    prefixes, known, labels, size, noise
):
    layers = run(prefixes, "gd", [1, 4, 16, 64], relative_step_size=size)
    added = torch.randn(layers.shape, generator=torch.Generator().manual_seed(3), dtype=layers.dtype)
    found = nearest(layers + noise * labels.std() * added, known, labels)["gd"]
    if noise:
        planted = (noise * labels.std() * added).square().sum() / labels.square().sum() / len(layers)
        assert found.misfit <= planted
    else:
        assert found.values == (1.0, 4.0, 16.0, 64.0)
        assert found.misfit < 1e-9


def test_newton_from_the_examples_mean_is_told_from_other_starts(prefixes, known, labels):
    found = nearest(run(prefixes, "newton", [3, 4, 5], alpha=0.004, norm="examples"), known, labels)["newton"]
    assert "S/n²" in found.path.convention


def test_a_scale_of_each_layers_own_is_found_and_undone(prefixes, known, labels):
    layers = run(prefixes, "gd", [2, 4, 6], relative_step_size=0.95)
    stretched = torch.tensor([3.0, 2.0, 1.2], dtype=torch.float64)[:, None, None] * layers
    match = nearest(stretched, known, labels)["gd"]
    assert match.values == (2.0, 4.0, 6.0)
    assert match.scales.tolist() == pytest.approx([3.0, 2.0, 1.2])
    torch.testing.assert_close(match.predictions, stretched)


def test_progress_goes_from_nothing_to_least_squares(prefixes, known, labels):
    layers = torch.stack([*run(prefixes, "gd", [1, 4, 16]), run(prefixes, "ols")])
    progress = nearest(layers, known, labels)["gd"].progress
    assert (progress.diff() > 0).all()
    assert progress[-1] > 0.99


def test_the_lean_is_the_share_of_the_way_and_noise_does_not_move_it(prefixes, known, labels, shares):
    gd, ridge = (
        nearest(layers, known, labels)[name]
        for name, layers in (
            ("gd", run(prefixes, "gd", [2, 4], relative_step_size=0.95)),
            ("ridge", torch.stack([run(prefixes, "ridge", ridge=r) for r in (6.0, 2.0)])),
        )
    )
    between = 0.7 * gd.predictions + 0.3 * ridge.predictions
    noise = torch.randn(between.shape, generator=torch.Generator().manual_seed(0), dtype=between.dtype)
    assert lean(between, gd, ridge, labels, shares).share == pytest.approx(0.3)
    noisy = lean(between + 0.05 * noise, gd, ridge, labels, shares)
    assert noisy.ci[0] < 0.3 < noisy.ci[1]
    assert lean(between, gd, gd, labels, shares).ci == (0.0, 1.0)
    assert lean(between, gd, gd, labels, shares).same
    assert not lean(gd.predictions, gd, ridge, labels, shares).same


def test_algorithms_that_differ_by_rounding_alone_are_the_same_and_by_more_are_not(prefixes, known, labels, shares):
    """A single step of gradient descent beside itself and a little more; by float32 beside exact layers."""
    one = run(prefixes, "gd", [1], relative_step_size=0.9)
    gd = nearest(one, [path for path in known if path.algorithm == "gd"], labels)["gd"]
    noise = torch.randn(one.shape, generator=torch.Generator().manual_seed(0), dtype=one.dtype)
    far = replace(gd, misfits=torch.full_like(gd.misfits, 0.01))
    for apart, beside, same in ((1e-8, gd, True), (1e-5, gd, False), (1e-6, far, True), (1e-4, far, False)):
        other = replace(beside, scales=gd.scales * (1 + apart))
        found = lean(one + 0.1 * noise, beside, other, labels, shares)
        assert found.same == same, apart
        assert found.apart == pytest.approx(apart**2 * (one.square().sum() / labels.square().sum()).item(), rel=1e-3)


def test_a_sum_of_two_algorithms_is_taken_apart(prefixes, known, labels):
    newton, neighbours = run(prefixes, "newton", [2, 4, 6]), run(prefixes, "knn", n_neighbors=2)
    blend = nearest_blend(0.6 * newton + 0.4 * neighbours, known, labels)
    assert blend.parts == ("newton", "knn")
    assert blend.misfit < 1e-6
    torch.testing.assert_close(blend.shares, torch.tensor([[0.6, 0.4]] * 3, dtype=torch.float64), atol=1e-3, rtol=0)


def test_a_sum_goes_on_as_its_filter_does_and_falls_behind_where_that_does(prefixes, known, labels):
    newton, neighbours = run(prefixes, "newton", [2, 4, 6]), run(prefixes, "knn", n_neighbors=2)
    layers = 0.3 * newton + 0.7 * neighbours
    assert nearest_blend(layers, known, labels).behind == 0
    assert nearest_blend(layers.flip(0), known, labels).behind > 0.05


def test_both_parts_of_a_sum_are_under_one_convention_in_all_layers(prefixes, known, labels):
    near, far = (run(prefixes, "knn", n_neighbors=2, **options) for options in ({}, {"weighting": "distance"}))
    newton = run(prefixes, "newton", [2, 4, 6])
    layers = torch.stack([0.6 * newton[0] + 0.4 * near, 0.6 * newton[1] + 0.4 * far, 0.6 * newton[2] + 0.4 * near])
    alone = [nearest_blend(layer[None], known, labels).misfit for layer in layers]
    assert max(alone) < 1e-6
    assert nearest_blend(layers, known, labels).misfit > 1e-4, "the second layer's neighbours are weighted, others not"
