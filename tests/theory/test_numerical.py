"""Optima that are found numerically, against published values, other implementations and their own neighbours."""

import numpy as np
import pytest
import scipy.stats
import torch

from workbench.tasks import MultiTaskRegression
from workbench.theory.gd_plus_plus import best_gd_plus_plus, residuals, risk, spectra
from workbench.theory.other_attention import softmax_head_surrogate
from workbench.theory.polynomial import best_steps, excess_of_steps
from workbench.theory.softmax_heads import best_head, excesses, own_steps, shared_steps


def test_ahns_three_layers_of_gd_plus_plus():
    found = best_gd_plus_plus(3, 20, 5, "gaussian")
    assert found.step_sizes == pytest.approx((0.379, 2.413, 9.635), rel=0.01)
    assert found.gammas == pytest.approx((0.343, 1.364, 0.0), rel=0.01)
    assert found.excess == pytest.approx(6.66e-4, rel=0.05)
    b = [gamma / eta for gamma, eta in zip(found.gammas, found.step_sizes, strict=True)]
    assert b[:2] == pytest.approx((0.905, 0.565), abs=0.01)  # figure 4 of Ahn et al.


def test_von_oswalds_two_tied_layers():
    found = best_gd_plus_plus(2, 10, 10, "uniform", tied=True)
    variance = 1 / 12
    assert found.step_sizes[0] == found.step_sizes[1]
    assert found.step_sizes[0] / variance / 10 == pytest.approx(1.37, rel=0.03)
    assert found.gammas[0] / variance / 10 == pytest.approx(0.179, rel=0.03)
    assert found.excess * variance / 2 == pytest.approx(0.110, rel=0.02)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_the_sizes_found_have_no_better_neighbour(noise):
    found = best_gd_plus_plus(2, 8, 3, "gaussian", noise)
    sample, sizes = spectra(8, 3, "gaussian"), np.array([*found.step_sizes, found.gammas[0]])

    def at(values: np.ndarray) -> float:
        return risk(residuals(values[:2], np.array([values[2], 0.0]), sample, 8, noise))

    assert at(sizes) == pytest.approx(found.excess)
    for place in range(3):
        for factor in (0.98, 1.02):
            assert at(np.where(np.arange(3) == place, factor * sizes, sizes)) > found.excess


def test_without_shrinking_the_risk_is_that_of_plain_steps():
    steps = [0.4, 0.9]
    sample = spectra(12, 4, "gaussian")
    found = risk(residuals(np.array(steps), np.zeros(2), sample, 12, 0.5))
    assert found == pytest.approx(excess_of_steps(steps, 12, 4, 0.5), rel=0.02)
    plain = best_steps(2, 12, 4, 0.5).excess
    assert best_gd_plus_plus(2, 12, 4, "gaussian", 0.5).excess < 0.9 * plain


def test_one_softmax_head_is_best_where_training_ends():
    sharpness, value, excess = best_head(40, 5, 0.5)
    assert sharpness == pytest.approx(0.516, rel=0.02)  # trained: -.516 and -1.498
    assert value == pytest.approx(1.498, rel=0.02)
    assert excess / 5 + 0.1 == pytest.approx(0.4055, abs=0.003)
    first_guess = softmax_head_surrogate(40, 5, 0.1)[0]
    assert abs(sharpness - first_guess) > 0.05


def test_the_best_softmax_head_on_uniform_inputs_is_found_by_gradient_descent_on_other_prompts_too():
    d, n = 3, 6
    generator = torch.Generator().manual_seed(5)
    xs, query = ((torch.rand(40_000, k, d, generator=generator) - 0.5).double() * 12**0.5 for k in (n, 1))
    w = torch.randn(40_000, d, 1, generator=generator).double()
    omega_mu = torch.tensor([0.3, 1.0], dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([omega_mu], max_iter=60, line_search_fn="strong_wolfe")

    def risk() -> torch.Tensor:
        search.zero_grad()
        weights = (omega_mu[0] * xs @ query.mT).squeeze(-1).softmax(-1)
        error = ((omega_mu[1] * weights[..., None] * (xs @ w)).sum((1, 2)) - (query @ w).flatten()).square().mean()
        error.backward()
        return error

    search.step(risk)
    sharpness, value, excess = best_head(n, d, 0.0, "uniform")
    assert [sharpness, value] == pytest.approx(omega_mu.tolist(), rel=0.03)
    assert excess == pytest.approx(risk().item(), rel=0.02)
    assert sharpness != pytest.approx(best_head(n, d)[0], rel=0.02)


def test_steps_of_several_labels():
    laws = MultiTaskRegression(noise_std=0.1**0.5, w_scale=0.5).laws()
    own, shared = own_steps(laws), shared_steps(laws)
    assert own[0].diagonal().tolist() == pytest.approx([48 / 52.4] * 4 + [0, 0])
    assert own[1].diagonal().tolist() == pytest.approx([0, 0] + [48 / 52.4] * 4)
    assert shared[0].diagonal().tolist() == pytest.approx([48 / 56.8] * 2 + [48 / 52.4] * 2 + [48 / 56.8] * 2)
    assert excesses(own, laws) == pytest.approx([0.1031] * 2, abs=1e-4)
    best = sum(excesses(shared, laws))
    assert best / 2 == pytest.approx(0.1378, abs=1e-4)
    for place in range(6):
        for factor in (0.95, 1.05):
            other = shared[0].clone()
            other[place, place] *= factor
            assert sum(excesses((other, other), laws)) > best
    assert torch.equal(shared[0], shared[1])


def risk_of_heads(sharpness: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Risk of sum_h mu_h softmax(omega_h x.q) y at d = 5, 40 examples, w ~ N(0, I/5), noise .1, on fixed inputs."""
    generator = torch.Generator().manual_seed(0)
    along = torch.randn(10_000, 40, generator=generator, dtype=torch.float64)
    places = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    length = torch.as_tensor(scipy.stats.chi2.ppf(places.numpy(), 5) ** 0.5)[
        torch.randperm(10_000, generator=generator)
    ]
    scores = length[:, None] * along
    weights = sum(mu * (omega * scores).softmax(-1) for omega, mu in zip(sharpness, values, strict=True))
    missed = (length - (weights * along).sum(-1)).square() + (4 + 0.5) * weights.square().sum(-1)
    return missed.mean() / 5


@pytest.mark.parametrize(("share", "lowest"), [(0.5, 0.0), (0.1, 0.0), (-0.5, -0.09)])
def test_two_equal_heads_are_a_valley_unless_their_values_differ_in_sign(share: float, lowest: float):
    """Where training of two heads can end as one: no slope, and curvature that is negative only for opposite signs."""

    def risk(point: torch.Tensor) -> torch.Tensor:
        return risk_of_heads(point[:2], point[2:])

    best = torch.tensor([0.516, 1.497], dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([best], max_iter=30, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

    def closure() -> torch.Tensor:
        search.zero_grad()
        found = risk_of_heads(best[:1], best[1:])
        found.backward()
        return found

    search.step(closure)
    omega, mu = best.detach()
    heads = torch.stack([omega, omega, share * mu, (1 - share) * mu])
    assert torch.autograd.functional.jacobian(risk, heads).abs().max() < 1e-4
    curvature = torch.linalg.eigvalsh(torch.autograd.functional.hessian(risk, heads))
    assert curvature[0] == pytest.approx(lowest, abs=0.015)
    assert curvature[0] > -1e-4 or share < 0
