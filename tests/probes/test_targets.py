"""Targets against closed forms, prompt by prompt."""

import numpy as np
import pytest
import torch

from probes.columns import check_varies, columns
from probes.examples import Examples, Seen
from probes.places import Group, Place
from probes.targets import TARGETS, find_target
from workbench.errors import InputError
from workbench.tasks import LinearRegression, RandomNoiseRegression
from workbench.tasks.multi_task_regression import MultiTaskRegression

D, CONTEXT = 3, 8
TASK = LinearRegression(d_input=D, n_context=CONTEXT, noise_std=0.2)
BATCH = TASK.prompts(0, "targets", 0, 5)


def seen(n, task=TASK, scale="sum"):
    return Seen(Examples(task.prompts(0, "targets", 0, 5), task, scale), n, 2 * n - 1)


def upper(matrix):
    return matrix[np.triu_indices(D)]


def newton_matrix(S, k):
    M = S / np.linalg.norm(S, 2) ** 2
    for _ in range(k):
        M = 2 * M - M @ S @ M
    return M


def gd(S, m, k):
    w, eta = 0 * m, 1 / np.linalg.norm(S, 2)
    for _ in range(k):
        w = w - eta * (S @ w - m)
    return w


def fixed_gd(S, m, k, eta):
    w = 0 * m
    for _ in range(k):
        w = w - eta * (S @ w - m)
    return w


EXPECTED = {
    "w": lambda X, y, S, m: None,
    "w_ols": lambda X, y, S, m: np.linalg.lstsq(X, y)[0],
    "w_ridge": lambda X, y, S, m: np.linalg.solve(S + 0.04 * np.eye(D), m),
    "w_ridge:0.5": lambda X, y, S, m: np.linalg.solve(S + 0.5 * np.eye(D), m),
    "w_bayes": lambda X, y, S, m: np.linalg.solve(S + 0.04 * np.eye(D), m),
    "moment_vector": lambda X, y, S, m: m,
    "moment_matrix": lambda X, y, S, m: upper(S),
    "inverse_moment_matrix": lambda X, y, S, m: upper(np.linalg.pinv(S)),
    "newton_matrix:3": lambda X, y, S, m: upper(newton_matrix(S, 3)),
    "w_gd:4": lambda X, y, S, m: gd(S, m, 4),
    "w_gd:3:0.1": lambda X, y, S, m: fixed_gd(S / len(y), m / len(y), 3, 0.1),
    "w_newton:2": lambda X, y, S, m: newton_matrix(S, 2) @ m,
    "w_cg:3": lambda X, y, S, m: np.linalg.lstsq(X, y)[0],
    "residuals_gd:4": lambda X, y, S, m: y - X @ gd(S, m, 4),
    "residuals_gd:3:0.1": lambda X, y, S, m: y - X @ fixed_gd(S / len(y), m / len(y), 3, 0.1),
    "residuals_newton:2": lambda X, y, S, m: y - X @ newton_matrix(S, 2) @ m,
    "x_earlier": lambda X, y, S, m: X[-1],
    "x_earlier:2": lambda X, y, S, m: X[-2],
    "y_earlier:2": lambda X, y, S, m: y[-2:-1],
    "condition_number": lambda X, y, S, m: np.log10([np.linalg.cond(S)]),
}


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("n", [3, 6])
def test_a_target_is_its_closed_form(name, n):
    value = find_target(name).compute(seen(n))
    if name == "w":
        torch.testing.assert_close(value, BATCH.latents["w"].double())
        return
    for prompt in range(5):
        X, y = BATCH.xs[prompt, :n].double().numpy(), BATCH.ys[prompt, :n].double().numpy()
        expected = EXPECTED[name](X, y, X.T @ X, X.T @ y)
        np.testing.assert_allclose(value[prompt].numpy(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", [name for name in EXPECTED if name != "w"])
def test_a_target_of_the_prompt_ignores_what_was_not_seen(name):
    n, changed = 4, TASK.prompts(0, "targets", 0, 5)
    xs, ys = changed.xs.clone(), changed.ys.clone()
    xs[:, n:], ys[:, n:] = 7.0, -3.0
    other = Seen(Examples(type(changed)(xs, ys, changed.latents), TASK), n, 2 * n - 1)
    target = find_target(name)
    torch.testing.assert_close(target.compute(other), target.compute(seen(n)), rtol=0, atol=1e-12)


def test_every_target_is_tested_or_a_latent():
    assert {name.partition(":")[0] for name in EXPECTED} == set(TARGETS) - {"sigma", "latent", "position"}


def test_means_are_sums_over_n():
    for name, power in (("moment_vector", 1), ("moment_matrix", 1), ("inverse_moment_matrix", -1), ("w_ols", 0)):
        target = find_target(name)
        ratio = target.compute(seen(5)) / target.compute(seen(5, scale="mean"))
        torch.testing.assert_close(ratio, torch.full_like(ratio, 5.0**power))


def test_the_whole_prompt_can_have_been_seen():
    X, y = BATCH.xs[0].double().numpy(), BATCH.ys[0].double().numpy()
    np.testing.assert_allclose(find_target("w_ols").compute(seen(CONTEXT))[0], np.linalg.lstsq(X, y)[0], rtol=1e-6)


def test_latents_are_found_by_name_and_whole_numbers_are_classes():
    pool = LinearRegression(d_input=D, n_context=CONTEXT, weights="pool", n_pool=4)
    value = find_target("latent:pool_index").compute(seen(2, pool))
    assert value.dtype == torch.int64
    assert value.shape == (5,)
    covariance = find_target("latent:covariance").compute(seen(2))
    assert covariance.shape == (5, D * D)


@pytest.mark.parametrize("weights", ["gaussian", "pool", "sparse"])
def test_the_best_guess_of_w_errs_less_than_least_squares_and_is_not_shrunk_too_far(weights):
    task = LinearRegression(d_input=D, n_context=CONTEXT, noise_std=0.5, weights=weights, n_pool=4, n_nonzero=1)
    much = Seen(Examples(task.prompts(0, "targets", 0, 800), task), 4, 7)
    w, best = much.batch.latents["w"].double(), TARGETS["w"].best(much)
    error = (best - w).square().sum()
    assert error < 0.9 * (find_target("w_ols").compute(much) - w).square().sum()
    slope = (best * w).sum() / best.square().sum()  # 1 for a posterior mean: E[w | prompt] = best
    assert slope.item() == pytest.approx(1.0, abs=0.06)


def test_the_best_guess_of_sigma_is_calibrated_and_better_than_the_plain_estimate():
    """E[sigma | guess] is the guess; the independent check of the integral stands with the task."""
    task = RandomNoiseRegression(d_input=2, n_context=CONTEXT + 1, noise_std=2.0, noise_law="uniform")
    n, much = CONTEXT, Examples(task.prompts(0, "sigma", 0, 6000), task)
    at = Seen(much, n, 2 * n - 1)
    sigma, best = find_target("sigma").compute(at), TARGETS["sigma"].best(at)
    assert sigma.shape == best.shape == (6000, 1)
    for part in best[:, 0].sort().indices.chunk(5):
        error = (best - sigma)[part]
        assert error.mean().abs() < 4 * error.std() / len(part) ** 0.5
    left = (at.ys - torch.einsum("bnd,bd->bn", at.xs, at.weights("ols"))).square().sum(1) / (n - 2)
    assert (best - sigma).square().mean() < 0.8 * (left.sqrt()[:, None] - sigma).square().mean()
    before = TARGETS["sigma"].best(Seen(much, 0, 0))
    torch.testing.assert_close(before, torch.full_like(before, 2.0 * 0.55))


def test_without_a_known_posterior_mean_there_is_no_best_guess():
    sparse = LinearRegression(d_input=D, n_context=CONTEXT, weights="sparse", n_nonzero=1)
    assert TARGETS["w"].best(seen(6, sparse)) is None
    with pytest.raises(InputError, match=r"target 'w_bayes' needs a task whose posterior mean is known.*w_ridge"):
        find_target("w_bayes").compute(seen(6, sparse))
    many = MultiTaskRegression(d_input=D, n_context=CONTEXT, n_used=2)
    assert TARGETS["w"].best(seen(6, many)) is None
    with pytest.raises(InputError, match="need labels that are numbers; these are vectors"):
        find_target("w_ols").compute(seen(6, many))
    assert find_target("y_earlier").compute(seen(6, many)).shape == seen(6, many).ys[:, 0].shape


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("w_olss", "Unknown probe target 'w_olss'. Did you mean 'w_ols'"),
        ("w_gd", "'w_gd' must be given as w_gd:ARGUMENT, a number of steps"),
        ("w_gd:-1", "w_gd:ARGUMENT, a number of steps of at least 0.*got 'w_gd:-1'"),
        ("w_gd:1.5", "number of steps"),
        ("w_gd:2:0", "with :SIZE behind for one step size on the mean loss; got 'w_gd:2:0'"),
        ("w_gd:2:fast", "with :SIZE behind"),
        ("w_ridge:inf", "a ridge strength of at least 0"),
        ("x_earlier:0", "how many examples back"),
        ("latent:", "the name of a latent"),
        ("w_ols:3", "'w_ols' must be given without an argument"),
    ],
)
def test_names_that_are_none_are_refused(name, told):
    with pytest.raises(InputError, match=told):
        find_target(name)


def test_what_a_task_does_not_have_is_refused_with_what_it_has():
    with pytest.raises(InputError, match=r"'sigma' needs a task that draws .*random_noise_regression; 'linear_reg"):
        find_target("sigma").compute(seen(2))
    with pytest.raises(InputError, match="an example 3 back must have been seen; got n_context 2"):
        find_target("x_earlier:3").compute(seen(2))
    with pytest.raises(InputError, match="'condition_number' must have seen an example"):
        find_target("condition_number").compute(seen(0))


def test_a_target_that_is_the_same_for_all_prompts_is_refused():
    group = Group((Place(7),))
    [found] = columns(BATCH, TASK, [find_target("position")], [group], "sum")
    with pytest.raises(InputError, match="'position' must differ between prompts; at position 7 it is the same"):
        check_varies(found, group)
    both = Group((Place(7), Place(9)))
    [found] = columns(BATCH, TASK, [find_target("position"), find_target("w")], [both], "sum")
    check_varies(found, both)
    assert found.part("position")[0, :, 0].tolist() == [7.0, 9.0]
    assert found.part("w").shape == (5, 2, D)


def test_shuffled_copies_belong_to_other_prompts_and_keep_their_places_together():
    both = Group((Place(7), Place(9)))
    [found] = columns(BATCH, TASK, [find_target("moment_vector"), find_target("y_earlier")], [both], "sum")
    wide = found.shuffled(2, torch.Generator().manual_seed(0))
    assert torch.equal(wide[..., :4], found.values)
    for copy in (1, 2):
        own = wide[..., 4 * copy : 4 * copy + 4]
        order = [int((found.values == own[p]).all((1, 2)).nonzero()) for p in range(5)]
        assert sorted(order) == list(range(5))
    assert [(part.start, part.stop) for part in found.copies(1)] == [(0, 3), (3, 4), (4, 7), (7, 8)]


def test_targets_of_unlike_sizes_cannot_share_a_probe():
    with pytest.raises(InputError, match="one size wherever one probe reads"):
        columns(BATCH, TASK, [find_target("residuals_gd:1")], [Group((Place(5), Place(7)))], "sum")
