"""Every formula against exact quadrature, an explicit minimisation, or sampling with its own standard error."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from tests.theory.quadrature import gaussian, grid, prompts, uniform
from workbench.regression_law import RegressionLaw
from workbench.theory import autoregressive, curves, debiased, other_attention, polynomial, random_covariance, wishart
from workbench.theory.one_step import balanced_split, excess_risk, optimum, second_moment
from workbench.theory.shared import excess_by_length, shared_optimum

I2 = torch.eye(2, dtype=torch.float64)
TURN = torch.linalg.qr(torch.tensor([[1.0, 2.0], [-0.5, 1.0]], dtype=torch.float64)).Q
PRIOR = torch.tensor([[1.5, 0.4], [0.4, 0.6]], dtype=torch.float64)


def isotropic(d: int, n: int, noise: float = 0.0, **more) -> RegressionLaw:
    identity = torch.eye(d, dtype=torch.float64)
    return RegressionLaw(n, torch.ones(d, dtype=torch.float64), identity, identity, noise, **more)


def anisotropic(n: int, noise: float, **more) -> RegressionLaw:
    return RegressionLaw(n, torch.tensor([2.0, 0.3], dtype=torch.float64), TURN, PRIOR, noise, **more)


def all_prompts(law: RegressionLaw, n_examples: int | None = None, **more):
    assert law.basis is not None
    root = law.spectrum.sqrt()[:, None] * law.basis
    prior_root = torch.linalg.cholesky(law.prior).mT
    return prompts(n_examples or law.n_examples, root, prior_root, law.noise_variance, **more)


def population_risk(gamma, law, n_examples=None, *, centred=False, factor=1.0, **more):
    """Of f = factor q . Gamma g, by summing over every node."""
    p = all_prompts(law, n_examples, **more)
    xs = p.xs - p.xs.mean(1, keepdim=True) if centred else p.xs
    g = (p.ys[..., None] * xs).mean(1)
    f = factor * ((p.query @ gamma) * g).sum(-1)
    return p.mean((f - (p.w * p.query).sum(-1)) ** 2)


LAWS = {
    "isotropic": isotropic(2, 2),
    "noisy": isotropic(2, 2, 0.25),
    "anisotropic": anisotropic(2, 0.49),
    "one dimension": isotropic(1, 3, 0.25),
}


@pytest.mark.parametrize("name", LAWS)
def test_one_step_optimum_has_the_exact_risk_and_no_slope(name):
    law = LAWS[name]
    gamma = optimum(law).requires_grad_()
    risk = population_risk(gamma, law)
    (slope,) = torch.autograd.grad(risk, gamma)
    assert slope.abs().max() < 1e-12
    assert abs(float(risk.detach()) - excess_risk(gamma.detach(), law)) < 1e-12
    worse = gamma.detach() + 0.1 * torch.randn(gamma.shape, generator=torch.Generator().manual_seed(1)).double()
    assert population_risk(worse, law) > risk
    assert abs(float(population_risk(worse, law)) - excess_risk(worse, law)) < 1e-12


def test_uniform_inputs_have_an_optimum_of_their_own():
    law = anisotropic(2, 0.25, inputs="uniform", excess_kurtosis=-1.2)
    gamma = optimum(law).requires_grad_()
    risk = population_risk(gamma, law, coordinate=uniform)
    (slope,) = torch.autograd.grad(risk, gamma)
    assert slope.abs().max() < 1e-12
    assert abs(float(risk.detach()) - excess_risk(gamma.detach(), law)) < 1e-12
    assert (optimum(anisotropic(2, 0.25)) - gamma.detach()).norm() > 0.05


def test_von_oswalds_uniform_task_has_the_published_step_and_loss():
    d = n = 10
    law = RegressionLaw(
        n,
        torch.full((d,), 1 / 12, dtype=torch.float64),
        torch.eye(d, dtype=torch.float64),
        torch.eye(d, dtype=torch.float64),
        excess_kurtosis=-1.2,
    )
    gamma = optimum(law)
    assert float(gamma[0, 0]) / n == pytest.approx(0.606, abs=1e-3)
    assert 0.5 * excess_risk(gamma, law) == pytest.approx(0.20468888, abs=2e-3)  # theirs is one sample's


def test_no_parameter_of_linear_attention_improves_on_the_optimum():
    """The gradient of every entry that reaches the output, those that theory sends to 0 included."""
    law = isotropic(1, 2, 0.25)
    p = all_prompts(law, n_nodes=(5, 4, 4))
    tokens = torch.cat([p.xs, p.ys[..., None]], -1)
    value = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    key_query = torch.zeros(2, 1, dtype=torch.float64)
    key_query[:1] = optimum(law)
    key_query.requires_grad_()
    scores = torch.einsum("bnk,kq,bq->bn", tokens, key_query, p.query)
    f = (scores * (tokens @ value)).mean(-1)
    slopes = torch.autograd.grad(p.mean((f - (p.w * p.query).sum(-1)) ** 2), [value, key_query])
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-12


@pytest.mark.parametrize(
    ("d", "n", "noise", "eta", "excess"),
    [(5, 40, 0.5, 0.02151, 0.1398), (10, 20, 0.0, 0.03226, 0.3548), (20, 40, 0.25, 0.01633, 0.3469)],
)
def test_mahankalis_step(d, n, noise, eta, excess):
    law = isotropic(d, n, noise)
    gamma = optimum(law)
    assert torch.allclose(gamma, n / (n + d + 1 + noise) * torch.eye(d, dtype=torch.float64))
    assert float(gamma[0, 0]) / n == pytest.approx(eta, abs=1e-5)
    assert excess_risk(gamma, law) / d == pytest.approx(excess, abs=1e-4)
    assert curves.one_step_excess(n, d, noise) == pytest.approx(excess_risk(gamma, law))


def test_zhangs_limit_and_its_balanced_split():
    law = RegressionLaw(7, torch.tensor([2.0, 0.3], dtype=torch.float64), TURN, I2)
    limit = torch.linalg.inv((1 + 1 / 7) * law.covariance + 2.3 / 7 * I2)
    assert torch.allclose(optimum(law), limit)
    u, split = balanced_split(optimum(law))
    assert u == pytest.approx(float(torch.trace(limit @ limit)) ** 0.25)
    assert float(split.norm()) == pytest.approx(u)
    assert torch.allclose(u * split, limit)


def test_gradient_flow_from_a_small_balanced_start_ends_at_zhangs_limit():
    """f = u q . U g from u = s and U = s T T^T with |T T^T| = 1, integrated as an ordinary differential equation."""
    law = RegressionLaw(5, torch.tensor([2.0, 0.5], dtype=torch.float64), TURN, I2)
    cross, square = law.prior @ law.covariance, second_moment(law, 5)
    turn = torch.tensor([[0.8, 0.1], [-0.3, 0.5]], dtype=torch.float64)
    start = 0.1 * turn @ turn.mT / (turn @ turn.mT).norm()

    def flow(_time: float, state: np.ndarray) -> np.ndarray:
        u, matrix = float(state[0]), torch.tensor(state[1:]).reshape(2, 2)
        slope = law.covariance @ (u * matrix @ square - cross)
        return -np.concatenate([[float((slope * matrix).sum())], (u * slope).flatten().numpy()])

    begun = np.concatenate([[0.1], start.flatten().numpy()])
    ended = solve_ivp(flow, (0, 300), begun, method="LSODA", rtol=1e-11, atol=1e-13).y[:, -1]
    u, split = balanced_split(optimum(law))
    assert ended[0] == pytest.approx(u, abs=1e-8)
    assert torch.allclose(torch.tensor(ended[1:]).reshape(2, 2), split, atol=1e-8)


@pytest.mark.parametrize("n", [2, 3])
def test_swapped_labels_are_a_saddle_in_two_dimensions(n):
    """Labels as keys and inputs as values: no slope, a risk (d-1) n/(n+d+1) too high, and one way down."""
    law = isotropic(2, n)
    p = all_prompts(law, n_nodes=(3, 3, 2))
    tokens = torch.cat([p.xs, p.ys[..., None]], -1)
    a = float(optimum(law)[0, 0]) ** 0.5

    def risk(parameters: torch.Tensor) -> torch.Tensor:
        value, key_query = parameters[:3], parameters[3:].reshape(3, 2)
        f = (torch.einsum("bnk,kq,bq->bn", tokens, key_query, p.query) * (tokens @ value)).mean(-1)
        return p.mean((f - (p.w * p.query).sum(-1)) ** 2)

    swapped = torch.tensor([a, 0, 0, 0, 0, 0, 0, a, 0], dtype=torch.float64)
    assert torch.func.grad(risk)(swapped).abs().max() < 1e-10
    assert float(risk(swapped)) - excess_risk(optimum(law), law) == pytest.approx((2 - 1) * n / (n + 2 + 1))
    curvature, ways = torch.linalg.eigh(torch.func.hessian(risk)(swapped))
    assert curvature[0] < -0.02, "the second direction of x opens through the label's value"
    assert curvature[1] > -1e-9
    assert risk(swapped + 0.1 * ways[:, 0]) < risk(swapped)


def test_whitened_weights_give_a_preconditioned_step():
    spectrum = torch.tensor([2.0, 0.3], dtype=torch.float64)
    covariance = RegressionLaw(1, spectrum, TURN, I2).covariance
    law = RegressionLaw(20, spectrum, TURN, torch.linalg.inv(covariance), 0.5)
    assert torch.allclose(optimum(law), 20 / (20 + 2 + 1 + 0.5) * torch.linalg.inv(covariance))


def test_risk_at_another_length_scale_and_query_law():
    law = anisotropic(2, 0.25)
    gamma = optimum(law)
    assert excess_risk(gamma, law, 3) == pytest.approx(float(population_risk(gamma, law, 3)), abs=1e-12)
    summed = excess_risk(gamma, law, 3, factor=1.5)
    assert summed == pytest.approx(float(population_risk(gamma, law, 3, factor=1.5)), abs=1e-12)
    wide = anisotropic(2, 0.25, excess_kurtosis=0.0)
    asked = excess_risk(gamma, wide, query_covariance=4 * law.covariance)
    assert asked == pytest.approx(4 * excess_risk(gamma, wide))
    assert excess_risk(gamma, law, 0) == pytest.approx(law.signal_variance)


def test_zhangs_brittleness_numbers():
    law, eye = isotropic(20, 40), torch.eye(20, dtype=torch.float64)
    gamma = optimum(law)
    lengths = [excess / 20 for excess in excess_by_length(gamma, law, [20, 40, 80, 400, 10**9])]
    assert lengths == pytest.approx([0.570, 0.3443, 0.2314, 0.1411, 0.1185], abs=5e-4)
    normalised = []
    for c in (0.5, 1.0, 1.5, 2.0, 3.0):
        scaled = RegressionLaw(40, torch.full((20,), c**2, dtype=torch.float64), eye, eye)
        normalised.append(excess_risk(gamma, scaled) / scaled.signal_variance)
    assert normalised == pytest.approx([0.713, 0.344, 1.369, 6.25, 42.3], rel=2e-3)


@pytest.mark.parametrize("factors", [None, [0.5, 2 / 3, 1.0]])
def test_shared_optimum_has_no_slope_over_all_positions(factors):
    law = anisotropic(2, 0.25)
    lengths = [1, 2, 3]
    gamma = shared_optimum(law, lengths, factors).requires_grad_()
    each = [population_risk(gamma, law, k, factor=f) for k, f in zip(lengths, factors or [1.0] * 3, strict=True)]
    (slope,) = torch.autograd.grad(sum(each, torch.zeros((), dtype=torch.float64)), gamma)
    assert slope.abs().max() < 1e-12
    told = excess_by_length(gamma.detach(), law, lengths, factors)
    assert told == pytest.approx([float(risk.detach()) for risk in each], abs=1e-12)


def test_shared_optimum_is_the_published_mean_for_isotropic_inputs():
    d, n, noise = 3, 12, 0.25
    mean = np.mean([1 + (d + 1 + noise) / k for k in range(1, n + 1)])
    found = shared_optimum(isotropic(d, n, noise), list(range(1, n + 1)))
    assert torch.allclose(found, torch.eye(d, dtype=torch.float64) / mean)
    k = np.arange(1, n + 1)
    summed = shared_optimum(isotropic(d, n, noise), k.tolist(), (k / n).tolist())
    assert float(summed[0, 0]) == pytest.approx(n * k.sum() / (k * (k + d + 1 + noise)).sum())


@pytest.mark.parametrize("name", ["noisy", "anisotropic", "one dimension", "uniform"])
def test_debiased_optimum_has_the_exact_risk_and_no_slope(name):
    is_uniform = name == "uniform"
    law = anisotropic(2, 0.25, inputs="uniform", excess_kurtosis=-1.2) if is_uniform else LAWS[name]
    gamma = debiased.debiased_optimum(law).requires_grad_()
    risk = population_risk(gamma, law, centred=True, coordinate=uniform if is_uniform else gaussian)
    (slope,) = torch.autograd.grad(risk, gamma)
    assert slope.abs().max() < 1e-12
    assert abs(float(risk.detach()) - debiased.debiased_excess(gamma.detach(), law)) < 1e-12


def test_debiased_step_of_he_et_al():
    d, n, noise = 5, 40, 0.1
    eye = torch.eye(d, dtype=torch.float64)
    law = RegressionLaw(n, torch.ones(d, dtype=torch.float64), eye, eye / d, noise)
    step = debiased.debiased_optimum(law)
    assert float(step[0, 0]) == pytest.approx(0.8791, abs=1e-4)
    assert debiased.debiased_excess(step, law) + noise == pytest.approx(0.24286, abs=1e-5)
    assert excess_risk(optimum(law), law) + noise == pytest.approx(0.23978, abs=1e-5)
    assert other_attention.softmax_pair_surrogate(0.0, n, d, noise) == pytest.approx(0.2209, abs=1e-4)
    assert other_attention.softmax_pair_surrogate(1e-4, n, d, noise) == pytest.approx(0.2209, abs=1e-4)
    scale, value, loss = other_attention.softmax_head_surrogate(n, d, noise)
    assert (scale, value) == pytest.approx((0.4472, 1.628), abs=1e-3)
    assert loss == pytest.approx(1.1 - 1 / (1 + math.e * 1.1 * d / n))


def test_softmax_pair_surrogate_is_its_quadratic_form():
    """Against the authors' loss with matrices, its best value weights solved for."""
    n, d, noise, scale = 40, 5, 0.1, 0.3
    omega = torch.tensor([scale, -scale], dtype=torch.float64)
    outer = omega[:, None] * omega
    square = outer + (1 + noise) / n * (d * outer).exp()
    least = 1 + noise - float(omega @ torch.linalg.solve(square, omega))
    assert other_attention.softmax_pair_surrogate(scale, n, d, noise) == pytest.approx(least, abs=1e-12)


def test_wishart_moments_are_exact():
    n, d = 7, 3
    assert wishart.mean_moment(0, n, d) == d
    assert wishart.mean_moment(1, n, d) == d
    assert float(wishart.mean_moment(2, n, d)) == pytest.approx(d * (n + d + 1) / n)
    third = d * (n**2 + 3 * n * (d + 1) + d**2 + 3 * d + 4) / n**2
    assert float(wishart.mean_moment(3, n, d)) == pytest.approx(third)
    chi_square = np.prod([float(n + 2 * k) for k in range(8)])
    assert wishart.trace_moment(8, n, 1) == chi_square
    assert wishart.trace_moment(6, n, d) == wishart.trace_moment(6, d, n)


def test_high_wishart_moments_agree_with_samples():
    n, d = 20, 5
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, n, d, generator=generator, dtype=torch.float64)
    values = torch.linalg.eigvalsh(x.mT @ x / n)
    for power in (4, 6, 8):
        drawn = (values**power).sum(-1)
        error = float(drawn.std()) / len(drawn) ** 0.5
        assert abs(float(drawn.mean()) - float(wishart.mean_moment(power, n, d))) < 4 * error


def test_ahns_three_steps():
    found = polynomial.best_steps(3, 20, 5)
    assert found.are_real
    assert [s.real for s in found.step_sizes] == pytest.approx([0.422, 0.689, 1.713], abs=3e-3)
    assert found.excess == pytest.approx(0.1340, abs=1e-3)
    assert polynomial.best_steps(1, 20, 5).step_sizes[0] == pytest.approx(20 / 26)
    assert polynomial.best_steps(1, 20, 5).excess == pytest.approx(curves.one_step_excess(20, 5))
    least = [polynomial.best_steps(k, 20, 5, 0.25).excess for k in range(1, 6)]
    assert least == pytest.approx([1.191, 0.423, 0.208, 0.135, 0.108], abs=2e-3)
    assert not polynomial.best_steps(2, 20, 5, 5.0).are_real


@pytest.mark.parametrize("noise", [0.0, 0.25])
def test_best_steps_have_the_risk_of_running_them_and_no_better_neighbour(noise):
    best = polynomial.best_steps(3, 20, 5, noise)
    steps = [s.real for s in best.step_sizes]
    exact = polynomial.excess_of_steps(steps, 20, 5, noise)
    assert exact == pytest.approx(best.excess, abs=1e-12)
    for place in range(3):
        for change in (-1e-3, 1e-3):
            moved = [s + change * (i == place) for i, s in enumerate(steps)]
            assert polynomial.excess_of_steps(moved, 20, 5, noise) > exact
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 20, 5, generator=generator, dtype=torch.float64)
    w = torch.randn(20_000, 5, 1, generator=generator, dtype=torch.float64)
    y = x @ w + noise**0.5 * torch.randn(20_000, 20, 1, generator=generator, dtype=torch.float64)
    guess = torch.zeros_like(w)
    for step in steps:
        guess = guess - step * x.mT @ (x @ guess - y) / 20
    errors = (guess - w).square().sum((1, 2))
    assert abs(float(errors.mean()) - exact) < 4 * float(errors.std()) / len(errors) ** 0.5


def test_rotated_covariance_is_the_average_over_rotations():
    spectrum = torch.tensor([2.0, 0.3], dtype=torch.float64)
    step = random_covariance.rotated_optimum(spectrum, 3, w_variance=1.5, noise_variance=0.25)
    fixed = RegressionLaw(3, spectrum, TURN, 1.5 * I2, 0.25)
    risks = {a: excess_risk(a * I2, fixed) for a in (step, step - 0.01, step + 0.01)}
    assert min(risks, key=risks.__getitem__) == step
    told = random_covariance.rotated_excess(step, spectrum, 3, w_variance=1.5, noise_variance=0.25)
    assert told == pytest.approx(risks[step], abs=1e-12)


def test_diagonal_covariance_of_exponential_entries():
    assert random_covariance.diagonal_optimum((1, 2, 6), 10, 4) == pytest.approx(2 / (6 * 1.1 + 1.2))
    assert random_covariance.diagonal_optimum((1, 2, 6), 10**9, 4) == pytest.approx(1 / 3)
    known = random_covariance.diagonal_optimum((1, 1, 1), 40, 5, noise_variance=0.5)
    assert known == pytest.approx(float(optimum(isotropic(5, 40, 0.5))[0, 0]))


def test_exponential_covariance_step_by_sampling():
    d, n, n_prompts = 4, 10, 100_000
    g = torch.Generator().manual_seed(0)
    scale = -torch.rand(n_prompts, d, generator=g, dtype=torch.float64).log()
    xs = torch.randn(n_prompts, n, d, generator=g, dtype=torch.float64) * scale.sqrt()[:, None]
    w = torch.randn(n_prompts, d, generator=g, dtype=torch.float64)
    query = torch.randn(n_prompts, d, generator=g, dtype=torch.float64) * scale.sqrt()
    mean = ((xs @ w[..., None]) * xs).mean(1)
    said, truth = (query * mean).sum(-1), (query * w).sum(-1)
    slope = float((said * truth).sum() / (said * said).sum())
    left = truth - slope * said
    error = float((said**2 * left**2).sum().sqrt() / (said**2).sum())
    assert abs(slope - random_covariance.diagonal_optimum((1, 2, 6), n, d)) < 4 * error


def _fitted_step(said: torch.Tensor, truth: torch.Tensor) -> tuple[float, float]:
    slope = float((said * truth).sum() / (said * said).sum())
    left = truth - slope * said
    return slope, float((said**2 * left**2).sum().sqrt() / (said**2).sum())


def _drawn(n_prompts: int, n: int, d: int) -> tuple[torch.Generator, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    xs = torch.randn(n_prompts, n + 1, d, generator=g, dtype=torch.float64)
    return g, xs[:, :n], xs[:, n]


def test_step_on_relu_networks_by_sampling():
    d, n, hidden, noise = 3, 12, 4, 0.09
    g, xs, query = _drawn(40_000, n, d)
    a = torch.randn(40_000, hidden, generator=g, dtype=torch.float64)
    v = torch.randn(40_000, d, hidden, generator=g, dtype=torch.float64)
    every = torch.cat([xs, query[:, None]], 1)
    clean = ((every @ v).relu() @ a[..., None]).squeeze(-1) / hidden**0.5
    ys = clean + noise**0.5 * torch.randn(clean.shape, generator=g, dtype=torch.float64)
    said = ((ys[:, :n, None] * xs).sum(1) * query).sum(-1)
    slope, error = _fitted_step(said, clean[:, n])
    told = other_attention.linear_fit_step(*other_attention.two_layer_relu_moments(d, noise), n)
    assert told == pytest.approx(0.0468, abs=1e-4)
    assert abs(slope - told) < 4 * error


def test_step_on_the_sphere_and_of_relu_attention_by_sampling():
    d, n, noise = 4, 10, 0.25
    g, xs, query = _drawn(40_000, n, d)
    w = torch.randn(40_000, d, generator=g, dtype=torch.float64)
    eps = noise**0.5 * torch.randn(40_000, n, generator=g, dtype=torch.float64)

    def onto(x: torch.Tensor) -> torch.Tensor:
        return x * d**0.5 / x.norm(dim=-1, keepdim=True)

    round_xs, round_query = onto(xs), onto(query)
    ys = (round_xs * w[:, None]).sum(-1) + eps
    said = ((ys[..., None] * round_xs).sum(1) * round_query).sum(-1)
    slope, error = _fitted_step(said, (w * round_query).sum(-1))
    told = other_attention.linear_fit_step(*other_attention.sphere_moments(d, noise), n)
    assert told == pytest.approx(1 / (n - 1 + d + noise))
    assert abs(slope - told) < 4 * error

    ys = (xs * w[:, None]).sum(-1) + eps
    said = ((xs @ query[..., None]).relu().squeeze(-1) * ys).mean(-1)
    truth = (w * query).sum(-1)
    slope, error = _fitted_step(said, truth)
    step = other_attention.relu_step(n, d, noise)
    assert abs(slope - step) < 4 * error
    errors = (step * said - truth) ** 2
    spread = float(errors.std()) / len(errors) ** 0.5
    assert abs(float(errors.mean()) - other_attention.relu_excess(n, d, noise)) < 4 * spread


@pytest.mark.parametrize("start", ["gaussian", "sparse", "constant"])
def test_autoregressive_step_has_no_slope(start):
    """Exact: Gauss-Hermite over the start, as many equal angles as the polynomial's degree needs."""
    d, n_states = 2, 5
    if start == "gaussian":
        first, weight = grid(gaussian(4), gaussian(4))
        moments = autoregressive.gaussian_start(d)
    elif start == "sparse":
        first = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 2.0], [0.0, -2.0]], dtype=torch.float64)
        weight, moments = torch.full((4,), 0.25, dtype=torch.float64), autoregressive.sparse_start(d, 2.0)
    else:
        first, weight = torch.ones(1, 2, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
        moments = autoregressive.constant_start(d)
    n_angles = 2 * n_states
    angles = torch.tensor([[a, b] for a in range(n_angles) for b in range(n_angles)]) * (2 * math.pi / n_angles)
    turn = torch.polar(torch.ones_like(angles, dtype=torch.float64), angles.double())
    states = torch.stack([first[:, None].to(turn.dtype) * turn**t for t in range(n_states)], 2)  # [start angle t d]
    ab = torch.tensor(autoregressive.autoregressive_step(moments, n_states), dtype=torch.float64, requires_grad=True)
    loss = torch.zeros((), dtype=torch.float64)
    for t in range(2, n_states):
        past, following, now = states[:, :, : t - 1], states[:, :, 1:t], states[:, :, t - 1]
        said = (following * (past.conj() * now[:, :, None]).sum(-1, keepdim=True)).sum(2)
        errors = (ab / (t - 1) * said - states[:, :, t]).abs().square().sum(-1).mean(1)
        loss = loss + 0.5 * (weight * errors).sum()
    (slope,) = torch.autograd.grad(loss, ab)
    assert abs(float(slope)) < 1e-12
    if start == "sparse":
        assert float(ab.detach()) == pytest.approx(0.25)
        assert float(loss.detach()) < 1e-12


def test_autoregressive_steps_as_plotted():
    steps = [autoregressive.autoregressive_step(autoregressive.gaussian_start(5, s**2), 100) for s in (0.5, 1, 2)]
    assert steps == pytest.approx([0.7676, 0.1919, 0.0480], abs=1e-4)
    assert autoregressive.autoregressive_step(autoregressive.constant_start(5), 100) == pytest.approx(0.8258, abs=1e-4)


def test_reference_curves_agree_with_samples():
    d, noise = 6, 0.25
    for n in (3, 12):
        g, xs, _ = _drawn(20_000, n, d)
        w = torch.randn(20_000, d, 1, generator=g, dtype=torch.float64)
        ys = xs @ w + noise**0.5 * torch.randn(20_000, n, 1, generator=g, dtype=torch.float64)
        fits = {
            curves.least_squares_excess(n, d, noise): torch.linalg.pinv(xs) @ ys,
            curves.averaging_excess(n, d, noise): xs.mT @ ys / n,
        }
        for told, fit in fits.items():
            errors = (fit - w).square().sum((1, 2))
            assert abs(float(errors.mean()) - told) < 4 * float(errors.std()) / len(errors) ** 0.5
    assert curves.least_squares_excess(d, d, noise) == math.inf
    assert curves.least_squares_excess(3, d) == 3
    assert curves.ridge_limit_excess(40, 20, 0.25) == pytest.approx(_ridge_excess(40, 20, 0.25), rel=0.06)


def _ridge_excess(n: int, d: int, noise: float) -> float:
    _, xs, _ = _drawn(500, n, d)
    gram = xs.mT @ xs + noise * torch.eye(d, dtype=torch.float64)
    return noise * float(torch.linalg.inv(gram).diagonal(dim1=1, dim2=2).sum(-1).mean())


def test_online_gradient_descent_contracts_and_settles_as_told():
    d, noise, step = 3, 0.25, 0.1
    g = torch.Generator().manual_seed(0)
    error = torch.randn(20_000, d, generator=g, dtype=torch.float64)
    for _ in range(120):
        x = torch.randn(20_000, d, generator=g, dtype=torch.float64)
        eps = noise**0.5 * torch.randn(20_000, 1, generator=g, dtype=torch.float64)
        error = error - step * ((error * x).sum(-1, keepdim=True) - eps) * x
    squares = error.square().sum(-1)
    left = curves.lms_factor(step, d) ** 120
    assert left < 1e-6
    spread = float(squares.std()) / len(squares) ** 0.5
    assert abs(float(squares.mean()) - curves.lms_floor(step, d, noise)) < 4 * spread
    assert curves.lms_floor(0.5, d, noise) == math.inf
