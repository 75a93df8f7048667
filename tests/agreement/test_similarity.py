"""SimE and read-outs against loops written out and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from workbench.agreement import sim_e, sim_e_by_prompt
from workbench.agreement.read_outs import RIDGES, NormalEquations, fit, total
from workbench.metrics import bootstrap_weights, error_by_context, interval


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_sim_e_is_the_mean_cosine_of_residual_vectors():
    a, b, ys = random(5, 7), random(5, 7, seed=1), random(5, 7, seed=2)
    cosines = []
    for p in range(5):
        ra, rb = (a - ys)[p].numpy(), (b - ys)[p].numpy()
        cosines.append(ra @ rb / np.linalg.norm(ra) / np.linalg.norm(rb))
    assert sim_e(a, b, ys).item() == pytest.approx(np.mean(cosines), abs=1e-12)


def test_sim_e_knows_same_opposite_and_nothing():
    a, ys = random(4, 6), random(4, 6, seed=1)
    assert sim_e(a, a, ys).item() == pytest.approx(1.0)
    assert sim_e(a, 2 * ys - a, ys).item() == pytest.approx(-1.0)
    assert sim_e(ys, a, ys).isnan()


def test_a_prompt_without_residual_is_left_out_of_the_mean():
    a, ys = random(3, 6), random(3, 6, seed=1)
    b = random(3, 6, seed=2)
    b[1] = ys[1]
    by_prompt = sim_e_by_prompt(a[None], b[None], ys)[0, 0]
    assert by_prompt.isnan().tolist() == [False, True, False]
    assert sim_e(a, b, ys).item() == pytest.approx(by_prompt[[0, 2]].mean().item())


def test_normal_equations_add_up_over_batches():
    streams, ys = random(2, 10, 3, 4), random(10, 3, seed=1)
    whole = NormalEquations.of(streams, ys)
    parts = total(NormalEquations.of(streams[:, i : i + 5], ys[i : i + 5]) for i in (0, 5))
    torch.testing.assert_close(parts.gram, whole.gram)
    torch.testing.assert_close(parts.cross, whole.cross)
    assert parts.n == whole.n == 30


def test_a_read_out_is_scikit_learns_ridge_at_the_chosen_strength():
    streams, ys = random(2, 40, 3, 4), random(40, 3, seed=1) + 2.0
    train = NormalEquations.of(streams[:, :30], ys[:30])
    validation = NormalEquations.of(streams[:, 30:], ys[30:])
    read_outs = fit(train, validation)
    for layer in range(2):
        rows = streams[layer, :30].reshape(-1, 4)
        strength = read_outs.ridges[layer] * (rows**2).sum(0).mean()
        model = Ridge(alpha=strength.item()).fit(rows.numpy(), ys[:30].reshape(-1).numpy())
        np.testing.assert_allclose(read_outs.solutions[layer, :-1].numpy(), model.coef_, rtol=1e-6, atol=1e-9)
        assert read_outs.solutions[layer, -1].item() == pytest.approx(model.intercept_, rel=1e-6)


def test_the_strength_with_the_least_validation_error_is_chosen():
    streams, ys = random(1, 12, 1, 10), random(12, 1, seed=1)  # noise alone: more penalty is better
    train, validation = NormalEquations.of(streams[:, :8], ys[:8]), NormalEquations.of(streams[:, 8:], ys[8:])
    assert fit(train, validation).ridges[0] == RIDGES[-1]
    planted = streams[0] @ random(10, seed=3)
    train, validation = (NormalEquations.of(streams[:, s], planted[s]) for s in (slice(0, 11), slice(11, 12)))
    assert fit(train, validation).ridges[0] < 1e-3


def test_a_planted_read_out_is_recovered_and_shuffled_targets_are_not():
    streams = random(1, 400, 2, 5)
    planted = streams[0] @ random(5, seed=3) + 1.5
    shuffled = planted[torch.randperm(400, generator=torch.Generator().manual_seed(4))]
    errors = {}
    for name, ys in (("planted", planted), ("shuffled", shuffled)):
        read_outs = fit(
            NormalEquations.of(streams[:, :200], ys[:200]), NormalEquations.of(streams[:, 200:300], ys[200:300])
        )
        predicted = read_outs.predict(streams[:, 300:])[0]
        errors[name] = ((predicted - ys[300:]) ** 2).mean() / ys[300:].var()
    assert errors["planted"] < 1e-12
    assert errors["shuffled"] > 0.9


def test_a_singular_gram_matrix_still_gives_a_read_out():
    streams = torch.zeros(1, 10, 2, 3, dtype=torch.float64)
    streams[..., 0] = random(10, 2)
    ys = streams[0, ..., 0] * 2
    equations = NormalEquations.of(streams, ys)
    predicted = fit(equations, equations).predict(streams)[0]
    torch.testing.assert_close(predicted, ys, rtol=1e-6, atol=1e-6)


def test_errors_are_means_over_prompts_in_units_of_d():
    predictions, ys = random(3, 8, 4), random(8, 4, seed=1)
    by_hand = ((predictions[1] - ys) ** 2).mean(0) / 5
    torch.testing.assert_close(error_by_context(predictions, ys, 5)[1], by_hand)


def test_bootstrap_intervals_cover_the_mean_as_often_as_they_say():
    generator = torch.Generator().manual_seed(0)
    covered = 0
    for trial in range(200):
        values = random(60, seed=trial)
        found = interval(bootstrap_weights(60, 300, generator) @ values)
        covered += found.low <= 0.0 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_bootstrap_shares_sum_to_one():
    shares = bootstrap_weights(7, 5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(shares.sum(1), torch.ones(5, dtype=torch.float64))
