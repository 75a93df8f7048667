"""Measures against numbers made by hand, closed forms, and published rows that need no transformer."""

import numpy as np
import pytest
import torch

from workbench import baselines
from workbench.agreement.forgetting import algorithm_said_of_examples, forgetting_curve
from workbench.agreement.influence_agreement import (
    influence_cosine,
    influence_distance,
    response_cosine,
    response_distance,
)
from workbench.agreement.measures import MEASURES, Scene
from workbench.agreement.prediction_difference import mspd, skill, spd
from workbench.agreement.regions import regions
from workbench.agreement.scores import PromptScores, cosines
from workbench.agreement.similarity import sim_e, sim_e_by_prompt, sim_e_scores
from workbench.agreement.weight_agreement import ilwd, sensitivity_cosine, sensitivity_distance, sim_w
from workbench.baselines import Prefixes
from workbench.batch import RegressionBatch
from workbench.errors import InputError
from workbench.tasks import LinearRegression

PUBLISHED = {"alpha": 2.0, "norm": "frobenius"}
STEPS = [1, 2, 3, 5, 8, 10, 12, 15, 20]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def numbers(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def drawn(n_prompts: int, n_context: int = 41) -> RegressionBatch:
    batch = LinearRegression(d_input=20, n_context=n_context).prompts(0, "measures", 0, n_prompts)
    assert isinstance(batch, RegressionBatch)
    return batch


def test_spd_is_the_mean_square_over_d():
    a, b = numbers([1.0, 2.0], [0.0, 0.0]), numbers([1.0, 0.0], [2.0, 4.0])
    found = spd(a, b, 2)
    assert found.by_prompt.tolist() == [1.0, 5.0]
    assert (found.mean.item(), found.median.item()) == (3.0, 3.0)
    assert spd(a, a, 2).mean == 0


def test_mspd_is_spd_where_there_are_fewer_examples_than_coordinates():
    a, b = random(5, 9), random(5, 9, seed=1)
    expected = ((a - b)[:, 1:4] ** 2 / 4).mean()
    assert mspd(a, b, 4).mean.item() == pytest.approx(expected.item())
    changed = a.clone()
    changed[:, 4:] += 1.0
    assert mspd(changed, b, 4).mean == mspd(a, b, 4).mean


def test_skill_is_one_for_the_same_zero_for_silence_and_undefined_against_silence():
    b = random(5, 7)
    assert skill(b, b).mean.item() == 1.0
    assert skill(torch.zeros_like(b), b).mean.item() == 0.0
    assert skill(-b, b).mean.item() == pytest.approx(-3.0)
    assert skill(b, torch.zeros_like(b)).mean.isnan()
    assert skill(b, torch.zeros_like(b)).undefined.tolist() == [1.0] * 5
    two = numbers([1.0], [3.0])
    one_off = skill(numbers([0.0], [3.0]), two)
    assert one_off.mean.item() == pytest.approx(1 - 1 / 10), "a ratio of means over prompts"
    assert one_off.by_prompt.tolist() == [0.0, 1.0]


def test_sim_w_is_the_mean_cosine_over_prefixes_and_counts_what_is_undefined():
    a = numbers([[1.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    b = numbers([[0.0, 2.0], [4.0, 3.0], [1.0, 0.0]])
    found = sim_w(a, b)
    assert found.mean.item() == pytest.approx((0 + 24 / 25) / 2)
    assert found.undefined.item() == pytest.approx(1 / 3)
    assert sim_w(3 * a[:, :2], a[:, :2]).mean.item() == pytest.approx(1.0)
    assert sim_w(-a[:, :2], a[:, :2]).mean.item() == pytest.approx(-1.0)


def test_a_vector_that_is_rounding_beside_the_others_has_no_direction():
    a = numbers([[1e-11, 0.0], [3.0, 4.0]])
    assert cosines(a, numbers([[1.0, 0.0], [3.0, 4.0]])).isnan().tolist() == [[True, False]]


def test_distances_of_weights_by_hand():
    a, b = numbers([[1.0, 0.0], [3.0, 4.0]]), numbers([[0.0, 0.0], [0.0, 0.0]])
    assert ilwd(a, b, 2).mean.item() == pytest.approx((0.5 + 12.5) / 2)
    assert sensitivity_distance(a, b).mean.item() == pytest.approx((1 + 5) / 2)
    assert sensitivity_cosine(a, 2 * a).mean.item() == pytest.approx(1.0)
    assert sensitivity_cosine(a, b).mean.isnan()


def test_distances_of_influence_by_hand():
    a, b = numbers([[0.0, 0.0], [2.0, 0.0]]), numbers([[0.0, 0.0], [1.0, 1.0]])
    assert influence_cosine(a, b).mean.item() == pytest.approx(2**-0.5)
    assert influence_distance(a, b).mean.item() == pytest.approx(1.0)
    assert influence_distance(0 * a, b).mean.item() == pytest.approx(1.0)
    assert influence_distance(a, b).undefined.item() == pytest.approx(0.5), "the first has no examples to be moved by"


def test_the_response_to_w_leaves_out_what_no_w_gives():
    xs = numbers([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    a, b = numbers([[1.0, 0.0, 2.0]]), numbers([[0.5, 0.5, 2.0]])
    assert influence_cosine(a[None], b[None]).mean < 0.98
    assert response_cosine(a[None], b[None], xs).mean.item() == pytest.approx(1.0)
    assert response_distance(a[None], b[None], xs).mean.item() == pytest.approx(0.0)
    assert response_distance(2 * a[None], b[None], xs).mean.item() == pytest.approx(1.0)
    batch = LinearRegression(d_input=3, n_context=7).prompts(0, "measures", 0, 2)
    hat = baselines.influence("ols", Prefixes.of(batch.xs, batch.ys))
    response = torch.einsum("bij,bjd->bid", hat, batch.xs.double())
    torch.testing.assert_close(response[:, 3:], batch.xs[:, 3:].double(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", MEASURES)
def test_equal_predictors_get_the_best_value_and_unlike_ones_a_worse_one(name):
    measure = MEASURES[name]
    shape = (6, 8) if measure.needs == "predictions" else (6, 8, 5)
    a, b, scene = random(*shape), random(*shape, seed=1), Scene(random(6, 8, seed=2), random(6, 5, 5, seed=3))
    assert measure.score(a, a, scene).mean.item() == pytest.approx(measure.best)
    worse = measure.best - measure.score(a, b, scene).mean.item()
    assert (worse if measure.higher_is_better else -worse) > 0.3
    near = abs(measure.best - measure.score(a + 1e-3 * b, a, scene).mean.item())
    assert near < 0.01
    many = measure.score(a, torch.stack([a, b]), scene)
    assert many.total.shape == (2, 6)
    torch.testing.assert_close(many.mean[1], measure.score(a, b, scene).mean)
    assert all((measure.label, measure.unit, measure.source))


def test_sim_e_by_prompt_and_its_scores_are_the_same_numbers():
    a, b, ys = random(5, 7), random(5, 7, seed=1), random(5, 7, seed=2)
    b[2] = ys[2]
    scores = sim_e_scores(a, b, ys)
    torch.testing.assert_close(scores.by_prompt, sim_e_by_prompt(a[None], b[None], ys)[0, 0], equal_nan=True)
    assert scores.undefined.tolist() == [0, 0, 1, 0, 0]
    assert sim_e(a, b, ys).item() == pytest.approx(scores.mean.item())


def test_the_first_position_of_sim_e_is_a_choice():
    a, b, ys = random(5, 7), random(5, 7, seed=1), random(5, 7, seed=2)
    assert sim_e(a, b, ys, first_position=1) == sim_e(a[:, 1:], b[:, 1:], ys[:, 1:])
    assert sim_e(a, b, ys, first_position=1) != sim_e(a, b, ys)


def test_published_rows_of_fu_et_al_come_out_without_a_transformer():
    batch = drawn(384)
    prefixes, ys = Prefixes.of(batch.xs, batch.ys), batch.ys.double()
    newton = baselines.predict("newton", prefixes, steps=STEPS, **PUBLISHED)
    zero, ols = (baselines.predict(name, prefixes) for name in ("zero", "ols"))
    found = [[sim_e(reference, step, ys).item() for step in newton] for reference in (zero, ols)]
    np.testing.assert_allclose(found[0], [0.921, 0.876, 0.827, 0.732, 0.618, 0.569, 0.539, 0.519, 0.510], atol=0.01)
    np.testing.assert_allclose(found[1], [0.614, 0.651, 0.691, 0.775, 0.884, 0.933, 0.962, 0.982, 0.994], atol=0.01)
    assert sim_e(zero, ols, ys).item() == pytest.approx(0.506, abs=0.01)
    assert sim_e(zero, ols, ys, first_position=1).item() == pytest.approx(0.488, abs=0.01)


def test_published_sim_w_of_fu_et_al_counts_silence_as_zero():
    batch = drawn(160)
    prefixes = Prefixes.of(batch.xs, batch.ys)
    newton = baselines.weights("newton", prefixes, steps=STEPS, **PUBLISHED)[:, :, 1:]
    found = sim_w(newton, baselines.weights("ols", prefixes)[:, 1:])
    undefined = found.undefined.mean(-1)
    published = [0.712, 0.761, 0.807, 0.877, 0.937, 0.956, 0.966, 0.972, 0.976]
    np.testing.assert_allclose((found.mean * (1 - undefined)).numpy(), published, atol=0.01)
    np.testing.assert_allclose(undefined.numpy(), 1 / 40, atol=1e-9)
    assert found.mean[-1] > 0.99, "where both say something they agree"


def test_the_forgetting_curve_of_newton_is_flat_and_has_the_known_height():
    batch = drawn(400, 21)
    said = algorithm_said_of_examples("newton", batch, 20, steps=[5, 12, 20], **PUBLISHED)
    curves = forgetting_curve(said, batch.ys[:, :20], 20)
    assert curves.shape == (3, 20)
    apart = (curves.mean(-1) - numbers(0.040, 0.0011, 0.0)).abs()
    assert (apart < numbers(0.004, 0.0003, 0.0001)).all(), curves.mean(-1)
    assert curves[0].std() < 0.25 * curves[0].mean()
    fresh = baselines.predict("newton", batch.xs, batch.ys, steps=[5], **PUBLISHED)[0, :, 20]
    assert ((fresh - batch.ys[:, 20]) ** 2 / 20).mean().item() == pytest.approx(0.347, abs=0.05)


def test_the_forgetting_curve_of_adaptive_online_descent_rises_from_zero():
    batch = drawn(1500, 21)
    said = algorithm_said_of_examples("adaptive_online_gd", batch, 20)
    curve = forgetting_curve(said, batch.ys[:, :20], 20)
    assert curve[0] < 1e-12, "it makes the newest example exact"
    apart = (curve[[1, 5, 10, 15, 19]] - numbers(0.017, 0.076, 0.148, 0.188, 0.217)).abs()
    assert (apart < numbers(0.004, 0.01, 0.015, 0.02, 0.02)).all(), curve


def test_a_gap_of_zero_is_the_newest_example():
    said, ys = numbers([0.0, 0.0, 1.0], [0.0, 0.0, 1.0]), numbers([3.0, 2.0, 1.0], [1.0, 2.0, 1.0])
    assert forgetting_curve(said, ys, 2).tolist() == [0.0, 2.0, 2.5]


def test_ilwd_of_linear_algorithms_is_the_distance_of_their_own_weights():
    batch = LinearRegression(d_input=4, n_context=9).prompts(0, "measures", 0, 6)
    a, b = (baselines.weights(name, batch.xs, batch.ys) for name in ("ols", "averaging"))
    expected = [((a[p] - b[p]) ** 2).sum(-1).mean().item() / 4 for p in range(6)]
    assert ilwd(a, b, 4).by_prompt.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["ols", "gd"])
def test_influence_of_known_algorithms_is_their_row_of_the_hat_matrix(name):
    batch = LinearRegression(d_input=3, n_context=7).prompts(0, "measures", 0, 2)
    prefixes = Prefixes.of(batch.xs, batch.ys)
    steps = {"steps": [2], "step_size": 0.05} if name == "gd" else {}
    found = baselines.influence(name, prefixes, **steps).reshape(2, 7, 7)
    for p in range(2):
        for i in range(1, 7):
            x, query = prefixes.xs[p, :i], prefixes.xs[p, i]
            filtered = (
                torch.linalg.pinv(x.T @ x) if name == "ols" else 0.05 * (2 * torch.eye(3).double() - 0.05 * x.T @ x)
            )
            torch.testing.assert_close(found[p, i, :i], query @ filtered @ x.T, rtol=0, atol=1e-9)
    assert influence_cosine(found, found).mean.item() == pytest.approx(1.0)


def test_regions_split_the_positions_at_d_and_overlap_near_it():
    found = {region.name: (region.first, region.last) for region in regions(41, 20)}
    assert found == {"all": (1, 40), "below_d": (1, 19), "near_d": (19, 21), "above_d": (21, 40)}
    wider = {region.name: (region.first, region.last) for region in regions(41, 20, first=0, last=22, near=3)}
    assert wider == {"all": (0, 22), "below_d": (0, 19), "near_d": (17, 22), "above_d": (21, 22)}
    assert [region.name for region in regions(10, 20)] == ["all", "below_d"]
    assert torch.arange(41)[regions(41, 20)[2].positions].tolist() == [19, 20, 21]


def test_positions_outside_the_prompt_are_refused():
    with pytest.raises(InputError, match=r"scored positions must lie in 0..9; got 3..10"):
        regions(10, 4, first=3, last=10)


def test_a_median_ignores_what_the_mean_cannot():
    values = torch.ones(101, 3, dtype=torch.float64)
    values[7] = 1e6
    summary = PromptScores.of(values).summary(200, 0)
    assert summary.mean > 1e3
    assert (summary.median, summary.median_low, summary.median_high) == (1.0, 1.0, 1.0)
    assert summary.low <= summary.mean <= summary.high


def test_intervals_cover_mean_and_median_about_as_often_as_they_say():
    covered = torch.zeros(2)
    for trial in range(200):
        summary = PromptScores.of(random(60, 1, seed=trial)).summary(200, trial)
        covered += torch.tensor([summary.low <= 0 <= summary.high, summary.median_low <= 0 <= summary.median_high])
    assert ((covered / 200 > 0.88) & (covered / 200 <= 0.995)).all()


def test_undefined_values_are_left_out_and_told():
    values = numbers([1.0, torch.nan], [torch.nan, torch.nan], [3.0, 5.0])
    scores = PromptScores.of(values)
    assert scores.mean.item() == pytest.approx(3.0)
    assert scores.median.item() == pytest.approx(2.5)
    summary = scores.summary(50, 0)
    assert summary.undefined.item() == pytest.approx(0.5)
    assert summary.median_low <= summary.median <= summary.median_high
    nothing = PromptScores.of(values[1:2]).summary(50, 0)
    assert nothing.mean.isnan()
    assert nothing.median_low.isnan()


def test_an_infinite_value_stays_infinite():
    assert PromptScores.of(numbers([1.0, torch.inf])).mean.isinf()
