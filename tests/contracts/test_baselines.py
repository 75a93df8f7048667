"""What holds for every reference algorithm."""

from itertools import combinations

import pytest
import torch

from tests.baselines.examples import IN_COORDINATES, ITERATIVE, PATHS, SPECTRAL, call, data, needed, numbers
from workbench import baselines
from workbench.baselines import BASELINES, Prefixes, fit_queries

every_baseline = pytest.mark.parametrize("baseline", BASELINES.values(), ids=list(BASELINES))


def of(names):
    return pytest.mark.parametrize("baseline", [BASELINES[name] for name in names], ids=names)


@every_baseline
def test_prediction_i_ignores_y_i_and_later(baseline):
    xs, ys = data()
    before = baselines.predict(baseline.name, xs, ys, **call(baseline))
    for i in range(ys.shape[1]):
        changed = ys.clone()
        changed[:, i:] += 1.0
        after = baselines.predict(baseline.name, xs, changed, **call(baseline))
        assert torch.equal(after[..., : i + 1], before[..., : i + 1])


@every_baseline
def test_prediction_i_ignores_later_inputs(baseline):
    xs, ys = data()
    before = baselines.predict(baseline.name, xs, ys, **call(baseline))
    for i in range(ys.shape[1]):
        changed = xs.clone()
        changed[:, i + 1 :] += 1.0
        after = baselines.predict(baseline.name, changed, ys, **call(baseline))
        torch.testing.assert_close(after[..., : i + 1], before[..., : i + 1], rtol=1e-12, atol=1e-12)


@of([name for name in BASELINES if name != "finite_pool"])
def test_the_first_prediction_is_zero(baseline):
    xs, ys = data()
    predictions = baselines.predict(baseline.name, xs, ys, **call(baseline))
    assert (predictions[..., 0] == 0).all()


@every_baseline
def test_predictions_are_the_induced_weights_times_x(baseline):
    xs, ys = data()
    w = baselines.weights(baseline.name, xs, ys, **call(baseline))
    predictions = baselines.predict(baseline.name, xs, ys, **call(baseline))
    assert w.dtype == predictions.dtype == torch.float64
    assert w.shape == (*predictions.shape, 3)
    near = torch.allclose((w * xs).sum(-1), predictions, rtol=1e-9, atol=1e-9)
    assert near == baseline.linear_in_query


@of([name for name in BASELINES if not BASELINES[name].linear_in_query])
def test_the_weights_of_what_is_not_linear_in_the_query_are_a_least_squares_fit(baseline):
    xs, ys = data()
    asked = fit_queries(3)
    queries = asked.expand(*xs.shape[:2], *asked.shape)
    predictions = baselines.predict(baseline.name, xs, ys, queries=queries, **call(baseline))
    fit = torch.linalg.lstsq(queries, predictions[..., None]).solution[..., 0]
    torch.testing.assert_close(baselines.weights(baseline.name, xs, ys, **call(baseline)), fit)


@every_baseline
def test_queries_at_x_give_the_predictions_and_others_go_along(baseline):
    xs, ys = data()
    others = numbers(6, 7, 4, 3, seed=3)
    queries = torch.cat([xs[:, :, None], others], 2)
    found = baselines.predict(baseline.name, xs, ys, queries=queries, **call(baseline))
    own = baselines.predict(baseline.name, xs, ys, **call(baseline))
    assert found.shape == (*own.shape, 5)
    torch.testing.assert_close(found[..., 0], own, rtol=1e-12, atol=1e-12)
    if baseline.linear_in_query:
        w = baselines.weights(baseline.name, xs, ys, **call(baseline))
        expected = torch.einsum("...bcd,bcqd->...bcq", w, queries)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@every_baseline
def test_prompts_do_not_see_each_other(baseline):
    """But for step sizes that are tuned on all of them."""
    xs, ys = data()
    together = baselines.predict(baseline.name, xs, ys, **call(baseline))
    alone = baselines.predict(baseline.name, xs[2:3], ys[2:3], **call(baseline))
    same = torch.allclose(alone, together[..., 2:3, :], rtol=1e-12, atol=1e-12)
    assert same == (baseline.pooled is None)


@every_baseline
def test_many_prompts_in_pieces_are_the_same_as_few(baseline, monkeypatch):
    xs, ys = data(n_batch=9)
    whole = baselines.predict(baseline.name, xs, ys, **call(baseline))
    w = baselines.weights(baseline.name, xs, ys, **call(baseline))
    monkeypatch.setattr("workbench.baselines.running._ELEMENTS", 1)
    monkeypatch.setattr("workbench.linalg._MATRICES_PER_PIECE", 5)
    prefixes = Prefixes.of(xs, ys)
    for prompts in ((xs, ys), (prefixes,)):
        found = baselines.predict(baseline.name, *prompts, **call(baseline))
        torch.testing.assert_close(found, whole, rtol=1e-10, atol=1e-10)
    found = baselines.weights(baseline.name, prefixes, **call(baseline))
    torch.testing.assert_close(found, w, rtol=1e-10, atol=1e-10)


@of([name for name in BASELINES if BASELINES[name].linear_in_query and name not in IN_COORDINATES])
def test_a_rotation_of_the_inputs_rotates_the_weights(baseline):
    xs, ys = data()
    q, _ = torch.linalg.qr(numbers(3, 3, seed=1))
    w = baselines.weights(baseline.name, xs, ys, **call(baseline))
    turned = baselines.weights(baseline.name, xs @ q, ys, **call(baseline))
    torch.testing.assert_close(turned, w @ q, rtol=1e-7, atol=1e-8)


@of([name for name in BASELINES if name not in PATHS])
def test_the_order_of_earlier_examples_does_not_matter(baseline):
    xs, ys = data()
    order = torch.tensor([2, 0, 3, 1, 4, 5, 6])
    first = baselines.predict(baseline.name, xs, ys, **call(baseline))
    shuffled = baselines.predict(baseline.name, xs[:, order], ys[:, order], **call(baseline))
    torch.testing.assert_close(shuffled[..., 4:], first[..., 4:], rtol=1e-7, atol=1e-8)


@of(PATHS)
def test_the_order_of_earlier_examples_matters_to_what_passes_once(baseline):
    xs, ys = data()
    order = torch.tensor([2, 0, 3, 1, 4, 5, 6])
    first = baselines.predict(baseline.name, xs, ys, **call(baseline))
    shuffled = baselines.predict(baseline.name, xs[:, order], ys[:, order], **call(baseline))
    assert (shuffled[:, 4] - first[:, 4]).abs().max() > 1e-3


@every_baseline
def test_labels_that_are_doubled_double_what_is_linear_in_them(baseline):
    xs, ys = data()
    other = numbers(6, 7, seed=4)
    parts = [baselines.predict(baseline.name, xs, labels, **call(baseline)) for labels in (ys, other, 2 * ys - other)]
    same = torch.allclose(2 * parts[0] - parts[1], parts[2], rtol=1e-8, atol=1e-8)
    assert same == baseline.linear_in_y


@every_baseline
def test_influence_is_the_slope_of_predictions_by_labels(baseline):
    xs, ys = data(n_batch=3, n_context=6)
    found = baselines.influence(baseline.name, Prefixes.of(xs, ys), **call(baseline))
    assert (found.triu() == 0).all()
    width = 1e-5
    for j in range(6):
        moved = [ys.clone(), ys.clone()]
        moved[0][:, j] += width
        moved[1][:, j] -= width
        up, down = (baselines.predict(baseline.name, xs, labels, **call(baseline)) for labels in moved)
        slope = (up - down) / (2 * width)
        # beyond the steps after which an iteration has converged its slopes are rounding over the width
        torch.testing.assert_close(found[..., j], slope, rtol=1e-4, atol=1e-5)


@of(SPECTRAL)
def test_a_gain_gives_the_weights_and_vanishes_with_the_eigenvalue(baseline):
    prefixes = Prefixes.of(*data())
    found = baselines.gain(baseline.name, prefixes, **call(baseline))
    steps = found if baseline.iterative else found[None]
    w = prefixes.filtered(steps)
    expected = baselines.weights(baseline.name, prefixes, **call(baseline))
    torch.testing.assert_close(w if baseline.iterative else w[0], expected, rtol=1e-9, atol=1e-9)
    assert (steps[:, prefixes.eigenvalues == 0] == 0).all()
    assert baseline.linear_in_y
    assert baseline.linear_in_query
    assert baseline.diagonal


@of([name for name in BASELINES if BASELINES[name].linear_in_query])
def test_what_is_said_to_be_diagonal_in_the_eigenbasis_is(baseline):
    xs, ys = data()
    prefixes = Prefixes.of(xs, ys)
    flipped = prefixes.basis * torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    w = baselines.weights(baseline.name, prefixes, **call(baseline))
    # a prompt whose last prefix has the same S and a reflected moment
    i = 6
    turn = prefixes.basis[:, i] @ flipped[:, i].mT
    mirrored = xs @ turn
    other = baselines.weights(baseline.name, mirrored, ys, **call(baseline))
    same = torch.allclose(other[..., i, :], (w[..., i, :, None] * turn).sum(-2), rtol=1e-7, atol=1e-8)
    assert same or not baseline.diagonal


@every_baseline
def test_float32_inputs_are_taken_in_float64(baseline):
    xs, ys = data()
    predictions = baselines.predict(baseline.name, xs.float(), ys.float(), **call(baseline))
    assert predictions.dtype == torch.float64
    as_given = baselines.predict(baseline.name, xs.float().double(), ys.float().double(), **call(baseline))
    assert torch.equal(predictions, as_given)


@of([name for name in BASELINES if name not in {"preconditioned_gd", "bayes_prior", "finite_pool"}])
def test_rank_deficient_prefixes_give_finite_weights_in_their_span(baseline):
    xs, ys = data(d=3)
    xs[:, :, 2] = 0.0
    w = baselines.weights(baseline.name, xs, ys, **call(baseline))
    assert torch.isfinite(w).all()
    if baseline.linear_in_query:
        assert w[..., 2].abs().max() < 1e-9


@every_baseline
def test_prompts_of_nothing_but_zeros_are_answered(baseline):
    xs, ys = torch.zeros(2, 4, 3), torch.zeros(2, 4)
    arguments = call(baseline)
    assert torch.isfinite(baselines.predict(baseline.name, xs, ys, **arguments)).all()
    assert torch.isfinite(baselines.influence(baseline.name, Prefixes.of(xs, ys), **arguments)).all()


@of(ITERATIVE)
def test_the_step_grid_starts_at_zero_and_ends_in_its_limit_on_easy_prompts(baseline):
    xs, ys = data(n_context=12)
    w = baselines.weights(baseline.name, xs, ys, steps=list(baseline.steps), **needed(baseline))
    limit = baselines.weights(baseline.limit, xs, ys) if baseline.limit else w[-1]
    assert baseline.steps[0] == 0
    assert (w[0] == 0).all() or baseline.name == "newton"
    errors = ((w[:, :, 8:] - limit[:, 8:]) ** 2).mean((1, 2, 3))
    assert (w[-1] - w[-2])[:, 8:].abs().max() < 1e-4 * w[-1].abs().max() or baseline.name == "gd_tuned"
    assert errors[-1] < (1e-2 if baseline.name == "gd_tuned" else 1e-6) * errors[0]


@of(ITERATIVE)
def test_steps_may_be_asked_for_in_any_order(baseline):
    xs, ys = data()
    options = needed(baseline)
    forward = baselines.predict(baseline.name, xs, ys, steps=[1, 3, 4], **options)
    backward = baselines.predict(baseline.name, xs, ys, steps=[4, 1, 3, 1], **options)
    torch.testing.assert_close(backward, forward[[2, 0, 1, 0]], rtol=1e-12, atol=1e-12)


def test_every_algorithm_can_be_told_by_its_colour():
    for one, other in combinations(BASELINES.values(), 2):
        assert (_lab(one.color) - _lab(other.color)).norm() > 18, (one.name, other.name)
    for baseline in BASELINES.values():
        assert (1.05 / (_linear(baseline.color)[1] + 0.05)) > 2.5, f"{baseline.name} is too pale on white"


_TO_XYZ = torch.tensor([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def _linear(color: str) -> torch.Tensor:
    """CIE XYZ of an sRGB colour."""
    parts = torch.tensor([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return _TO_XYZ @ torch.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def _lab(color: str) -> torch.Tensor:
    """CIE Lab, in which distances are differences that people see."""
    share = _linear(color) / torch.tensor([0.9505, 1.0, 1.089])
    f = torch.where(share > 0.008856, share ** (1 / 3), 7.787 * share + 16 / 116)
    return torch.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])
