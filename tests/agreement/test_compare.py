"""Planted layer sequences: what must be found is found, and what must not be found is not."""

import numpy as np
import pytest
import torch

from workbench import baselines
from workbench.agreement import AgreementConfig, fit_trend, sim_e
from workbench.agreement.compare import LayerPredictions, compare
from workbench.agreement.nulls import Nulls
from workbench.agreement.references import References, references
from workbench.agreement.sight import Sight
from workbench.agreement.verdict import weigh
from workbench.batch import RegressionBatch
from workbench.errors import InputError
from workbench.metrics import bootstrap_weights
from workbench.tasks import LinearRegression

D, N_CONTEXT = 8, 20
NOISE = 0.02


@pytest.fixture(scope="module")
def batch() -> RegressionBatch:
    drawn = LinearRegression(d_input=D, n_context=N_CONTEXT).prompts(0, "planted", 0, 192)
    assert isinstance(drawn, RegressionBatch)
    return drawn


@pytest.fixture(scope="module")
def known(batch) -> References:
    return references(batch, slice(1, N_CONTEXT), 0.0, AgreementConfig(n_verdict=96))


def reading(batch, known, layers: list[torch.Tensor], noise: float = NOISE):
    """The reading of layers that predict this, with output noise and an untrained model that says zero."""
    generator = torch.Generator().manual_seed(1)
    stacked = torch.stack(layers)[..., 1:]
    noisy = stacked + noise * torch.randn(stacked.shape, generator=generator, dtype=stacked.dtype)
    ridges = torch.zeros(len(layers), dtype=torch.float64)
    made = LayerPredictions(noisy, torch.zeros_like(noisy), ridges, batch.ys[:, 1:].double(), D)
    return compare(made, known, n_resamples=100, seed=0)


def sight(batch, known, layers: list[torch.Tensor]) -> Sight:
    """What the rules look at, without noise."""
    n = len(known.few.xs)
    shares = bootstrap_weights(n, 100, torch.Generator().manual_seed(0))
    return Sight(torch.stack(layers)[:, :n, 1:], known.paths, batch.ys[:n, 1:].double(), shares)


def iterates(name: str, batch, steps: list[int]) -> list[torch.Tensor]:
    return list(baselines.predict(name, batch.xs, batch.ys, steps=steps))


def test_planted_newton_layers_are_named_newton_with_their_steps(batch, known):
    planted = [0, 3, 6, 9, 12, 15]
    found = reading(batch, known, iterates("newton", batch, planted))
    best = [layer.families["newton"].best_step for layer in found.layers]
    assert best[1:] == planted[1:]
    assert found.trend["newton"].shape == "linear"
    assert found.trend["newton"].rate == pytest.approx(3.0, abs=0.1)
    assert found.trend["gd"].shape == "geometric"
    assert found.verdict.algorithm == "newton"
    assert not found.verdict.abstained
    low, high = found.trend["newton"].rate_ci
    assert low <= 3.0 <= high


def test_planted_gradient_descent_layers_are_not_named_newton(batch, known):
    found = reading(batch, known, iterates("gd", batch, [0, 4, 8, 12, 16, 20]))
    best = [layer.families["gd"].best_step for layer in found.layers]
    assert best == sorted(best)
    assert found.trend["gd"].shape == "linear"
    assert found.trend["gd"].rate == pytest.approx(4.0, rel=0.2)
    assert found.verdict.algorithm == "gd"


def test_planted_conjugate_gradient_is_not_named_newton(batch, known):
    found = reading(batch, known, iterates("cg", batch, [0, 1, 2, 3, 4, 5]), noise=0.01)
    assert [layer.families["cg"].best_step for layer in found.layers] == [0, 1, 2, 3, 4, 5]
    assert found.verdict.algorithm == "cg"


def test_a_layer_that_matches_the_converged_algorithm_takes_no_part_in_its_trend(batch, known):
    last = known.families["cg"].steps[-1]
    found = reading(batch, known, iterates("cg", batch, [2, 3, 4, last]), noise=0.05)
    assert found.trend["cg"].layers == (0, 2)


def test_a_gap_of_anchored_layers_splits_a_trend(batch, known):
    ols = baselines.predict("ols", batch.xs, batch.ys)
    planted = [*iterates("newton", batch, [3, 5]), ols, *iterates("newton", batch, [4, 7, 10])]
    found = reading(batch, known, planted, noise=0.002)
    assert [layer.at_anchor for layer in found.layers] == [None, None, "ols", None, None, None]
    assert found.trend["newton"].layers == (3, 5)


def test_a_shape_that_resamples_do_not_share_is_not_named():
    steps = [3, 6, 9, 12]
    resampled = np.array([[3, 6, 9, 12]] * 90 + [[3, 6, 12, 24]] * 10)
    assert fit_trend([1, 2, 3, 4], steps, resampled[:90]).shape == "linear"
    unsure = fit_trend([1, 2, 3, 4], steps, resampled)
    assert unsure.shape == "none"
    assert unsure.shape_share == pytest.approx(0.9)


def test_a_planted_layer_matches_its_own_step_at_one_and_others_lower(batch, known):
    found = reading(batch, known, iterates("newton", batch, [5]), noise=0.0)
    family = found.layers[0].families["newton"]
    assert family.best_step == 5
    assert family.best_sim_e == pytest.approx(1.0)
    assert sorted(family.sim_e)[-2] < 0.999
    assert family.ci == pytest.approx((1.0, 1.0))


CONTROLS = ["zero", "noise", "shuffled", "averaging", "one step"]


@pytest.mark.parametrize("control", CONTROLS)
def test_controls_get_no_verdict(batch, known, control):
    averaging = baselines.predict("averaging", batch.xs, batch.ys)
    [one_step] = iterates("gd", batch, [1])
    newton = iterates("newton", batch, [3, 12, 6, 15, 0, 9])
    zero = baselines.predict("zero", batch.xs, batch.ys)
    noise = torch.randn(6, *zero.shape, generator=torch.Generator().manual_seed(3), dtype=zero.dtype)
    layers = {
        "zero": [zero] * 6,
        "noise": list(noise),
        "shuffled": newton,
        "averaging": [averaging] * 6,
        "one step": [one_step] * 6,
    }[control]
    found = reading(batch, known, layers)
    assert found.verdict.abstained
    assert found.verdict.algorithm is None


def test_what_does_not_iterate_is_named_for_what_it_is(batch, known):
    zero, ols = (baselines.predict(name, batch.xs, batch.ys) for name in ("zero", "ols"))
    assert reading(batch, known, [zero, ols, ols, ols]).verdict.algorithm == "ols"
    ridges = [30.0, 8.0, 2.0, 0.5, 0.12]
    path = [baselines.predict("ridge", batch.xs, batch.ys, ridge=ridge) for ridge in ridges]
    assert reading(batch, known, path).verdict.algorithm == "ridge"


def test_what_the_untrained_model_says_as_well_is_not_named(batch, known):
    layers = torch.stack(iterates("newton", batch, [2, 4, 6, 8]))[..., 1:]
    ridges = torch.zeros(len(layers), dtype=torch.float64)
    made = LayerPredictions(layers, layers, ridges, batch.ys[:, 1:].double(), D)
    found = compare(made, known, n_resamples=100, seed=0).verdict
    assert found.abstained
    assert "untrained" in found.sentence


def test_layers_on_an_anchor_are_named_and_carry_no_trend(batch, known):
    zero, ols = (baselines.predict(name, batch.xs, batch.ys) for name in ("zero", "ols"))
    found = reading(batch, known, [zero, *iterates("newton", batch, [4, 7, 10]), ols], noise=0.002)
    assert [layer.at_anchor for layer in found.layers] == ["zero", None, None, None, "ols"]
    assert found.trend["newton"].layers == (1, 3)


def test_layers_that_change_nothing_any_more_take_no_part_in_trends(batch, known):
    planted = iterates("newton", batch, [3, 6, 9, 9, 9])
    found = reading(batch, known, planted, noise=0.001)
    assert [layer.at_anchor for layer in found.layers] == [None, None, None, "output", "output"]
    assert found.trend["newton"].shape == "linear"
    assert found.trend["newton"].layers == (0, 2)


def test_chance_is_the_algorithm_on_another_prompt_and_is_not_zero(batch, known):
    [layer] = iterates("newton", batch, [6])
    family = reading(batch, known, [layer], noise=0.0).layers[0].families["newton"]
    other = layer.roll(1, dims=0)  # what Newton says of the prompt before, against the labels here
    expected = sim_e(layer[:, 1:], other[:, 1:], batch.ys[:, 1:].double()).item()
    assert family.chance == pytest.approx(expected)
    assert 0.1 < family.chance < 0.7, "both err by what neither knows"
    assert family.best_sim_e > family.chance + 0.3


def test_the_untrained_control_is_read_at_the_same_step(batch, known):
    found = reading(batch, known, iterates("newton", batch, [6])).layers[0]
    assert found.families["newton"].untrained == pytest.approx(found.anchors["zero"], abs=0.02)


def test_bootstrap_intervals_hold_the_estimate(batch, known):
    found = reading(batch, known, iterates("newton", batch, [4, 8]), noise=0.3)
    for layer in found.layers:
        for family in layer.families.values():
            assert family.ci[0] <= family.best_sim_e <= family.ci[1]
            assert family.best_step_ci[0] <= family.best_step <= family.best_step_ci[1]


def test_the_ridge_anchor_finds_the_planted_strength(batch, known):
    ridge = baselines.predict("ridge", batch.xs, batch.ys, ridge=1.0)
    layer = reading(batch, known, [ridge], noise=0.0).layers[0]
    assert layer.best_ridge == pytest.approx(1.0)
    assert layer.anchors["ridge"] == pytest.approx(1.0)


def test_the_one_step_anchor_is_tuned_to_the_least_error(batch, known):
    errors = {}
    ys = batch.ys.double()[:, 1:]
    for size in (0.5 * known.one_step_size, known.one_step_size, 1.5 * known.one_step_size):
        one = baselines.predict("gd", batch.xs, batch.ys, steps=[1], relative_step_size=size)[0][:, 1:]
        errors[size] = ((one - ys) ** 2).mean()
    assert min(errors, key=errors.__getitem__) == known.one_step_size


def test_step_grids_end_where_the_algorithm_has_converged(known):
    for family in known.families.values():
        assert len(family.steps) == len(family.predictions)
    assert known.families["cg"].steps[-1] <= D + 4
    assert known.families["newton"].steps[-1] <= 30


def test_a_noisy_task_gets_a_bayes_anchor():
    drawn = LinearRegression(d_input=4, n_context=8, noise_std=0.5).prompts(0, "x", 0, 64)
    assert "bayes" in references(drawn, slice(1, 8), 0.25, AgreementConfig()).anchors


@pytest.mark.parametrize(
    ("steps", "shape", "rate"),
    [
        ([3, 6, 9, 11], "linear", 2.7),
        ([3, 8, 24, 48], "geometric", 2.57),
        ([3, 6, 8, 11, 15, 18, 21], "linear", 3.07),
        ([3, 8, 16, 48, 192, 512, 2048], "geometric", 2.96),
        ([7, 7, 7, 7], "none", None),
        ([9, 6, 3, 1], "none", None),
        ([5, 1, 9, 2], "none", None),
        ([3, 6], "none", None),
        ([], "none", None),
    ],
)
def test_trends_have_the_shape_that_people_would_see(steps, shape, rate):
    trend = fit_trend(list(range(2, 2 + len(steps))), steps)
    assert trend.shape == shape
    assert trend.rate == (None if rate is None else pytest.approx(rate, rel=0.03))


def test_a_step_size_that_diverges_is_told_and_left_out_of_averages(batch):
    found = references(batch, slice(1, N_CONTEXT), 0.0, AgreementConfig(gd_step_size=0.5))
    gd = found.families["gd"]
    assert "diverges" in gd.warning
    assert "smaller step size" in gd.warning
    assert not gd.predictions.isinf().any()
    assert gd.predictions.isnan().any()
    assert found.families["newton"].warning == ""


def test_newton_from_a_start_that_never_converges_warns(batch):
    found = references(batch, slice(1, N_CONTEXT), 0.0, AgreementConfig(newton_alpha=2.0))
    assert found.families["newton"].warning


@pytest.mark.parametrize(
    ("families", "message"),
    [
        (("ols",), "iterate"),
        (("preconditioned_gd",), "iterate"),
        (("gdd",), "known|gd"),
        (("gd", "gd"), "once"),
        ((), "once"),
    ],
)
def test_families_that_cannot_be_compared_are_refused(batch, families, message):
    with pytest.raises(InputError, match=message):
        references(batch, slice(1, 8), 0.0, AgreementConfig(families=families))


def test_more_families_are_compared_when_asked(batch):
    found = references(batch, slice(1, N_CONTEXT), 0.0, AgreementConfig(families=("gd", "chebyshev", "gd_plus_plus")))
    assert list(found.families) == ["gd", "chebyshev", "gd_plus_plus"]


def test_the_evidence_tells_regions_and_filters(batch, known):
    evidence = " ".join(reading(batch, known, iterates("newton", batch, [2, 4, 6, 8])).verdict.evidence)
    for part in ("t < d", "|t - d| <= 1", "t > d", "spectral filter", "layer 3", "having seen the prompt before"):
        assert part in evidence


@pytest.mark.parametrize("wild", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_forbids_a_verdict(batch, known, wild):
    layers = iterates("gd", batch, [2, 4, 6, 8])
    layers[1] = layers[1].clone()
    layers[1][3, 5] = wild
    found = weigh(sight(batch, known, layers))
    assert found.abstained
    assert "NaN or infinity" in found.sentence


def test_growing_shares_of_least_squares_are_not_least_squares_at_once(batch, known):
    ols = baselines.predict("ols", batch.xs, batch.ys)
    assert weigh(sight(batch, known, [ols, ols])).algorithm == "ols"
    assert weigh(sight(batch, known, [0.2 * ols, 0.5 * ols, ols])).algorithm != "ols"


def test_a_sum_of_two_is_held_to_the_same_rules_as_one(batch, known):
    neighbours = baselines.predict("knn", batch.xs, batch.ys, n_neighbors=2)
    mixed = [0.5 * each + 0.5 * neighbours for each in iterates("newton", batch, [2, 4, 6, 8])]
    forward = sight(batch, known, mixed)
    assert weigh(forward).algorithm == "mixture"
    assert weigh(forward, Nulls(untrained=forward)).abstained, "the untrained model says the same"
    assert weigh(sight(batch, known, mixed[::-1])).algorithm is None, "later layers fall back"


def test_what_a_named_algorithm_equals_depends_on_how_its_steps_grow(batch, known):
    adding = weigh(sight(batch, known, iterates("gd", batch, [2, 4, 6, 8])))
    doubling = weigh(sight(batch, known, iterates("gd", batch, [2, 4, 8, 16])))
    assert (adding.algorithm, doubling.algorithm) == ("gd", "gd")
    assert "2^k" in doubling.equals[0]
    assert "flow" in adding.equals[0]
    assert "more a layer" in adding.sentence
    assert "times as many a layer" in doubling.sentence
