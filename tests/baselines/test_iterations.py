"""Iterative algorithms against their textbook loops, float64."""

import numpy as np
import pytest
import torch

from tests.baselines.examples import numbers, spread
from workbench import baselines
from workbench.baselines import BASELINES, Prefixes
from workbench.baselines.gd_tuned import tuned
from workbench.errors import InputError

D = 6
PREFIXES = [2, 4, 6, 9, 14]
"""Underdetermined, square, overdetermined."""
STEPS = [0, 1, 2, 3, 7, 20]


@pytest.fixture(scope="module")
def prompts():
    """Labels of a noisy linear law, with inputs whose square prefix is as ill-conditioned as it happens to be."""
    xs = numbers(12, 15, D, seed=1)
    return xs, (xs * numbers(12, 1, D, seed=2)).sum(-1) + 0.3 * numbers(12, 15, seed=3)


def sums(prompts, i):
    xs, ys = prompts[0][:, :i], prompts[1][:, :i]
    return xs.mT @ xs, (xs * ys[..., None]).sum(1)


def times(matrix, vector):
    return (matrix @ vector[..., None])[..., 0]


def extremes(gram):
    """Largest eigenvalue of each matrix and its smallest other than 0."""
    values = torch.linalg.eigvalsh(gram)
    values = torch.where(values > 1e-12 * values[:, -1:], values, torch.nan)
    return values.nan_to_num(-torch.inf).amax(-1)[:, None], values.nan_to_num(torch.inf).amin(-1)[:, None]


def check(prompts, i, name, explicit, tolerance=1e-10, steps=tuple(STEPS), **options):
    """Weights of all steps against a list of them, relative to the largest."""
    found = baselines.weights(name, *prompts, steps=list(steps), **options)[:, :, i]
    expected = torch.stack([explicit[step] for step in steps])
    assert (found - expected).abs().max() <= tolerance * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("i", PREFIXES)
def test_gradient_descent_with_a_size_for_each_step(prompts, i):
    gram, moment = sums(prompts, i)
    sizes = [0.01 + 0.002 * (k % 5) for k in range(20)]
    for gradient, divisor in (("sum", 1), ("mean", i)):
        w, explicit = torch.zeros_like(moment), []
        for size in [*sizes, 0.0]:
            explicit.append(w)
            w = w - size / divisor * (times(gram, w) - moment)
        check(prompts, i, "gd", explicit, schedule=sizes, gradient=gradient)


@pytest.mark.parametrize("i", PREFIXES)
@pytest.mark.parametrize("options", [{}, {"momentum": 0.7, "step_size": 0.01}, {"relative_step_size": 1.5}], ids=str)
def test_momentum(prompts, i, options):
    gram, moment = sums(prompts, i)
    large, small = extremes(gram)
    eta, b = (
        4 / (large.sqrt() + small.sqrt()) ** 2,
        ((large.sqrt() - small.sqrt()) / (large.sqrt() + small.sqrt())) ** 2,
    )
    eta = options.get("step_size", options["relative_step_size"] / large if "relative_step_size" in options else eta)
    b = options.get("momentum", b)
    w = previous = torch.zeros_like(moment)
    explicit = []
    for _ in range(21):
        explicit.append(w)
        w, previous = w - eta * (times(gram, w) - moment) + b * (w - previous), w
    check(prompts, i, "momentum", explicit, **options)


@pytest.mark.parametrize("i", PREFIXES)
@pytest.mark.parametrize(
    "options",
    [{}, {"kind": "constant"}, {"kind": "constant", "momentum": 0.5, "relative_step_size": 0.8}, {"step_size": 0.02}],
    ids=str,
)
def test_nesterov(prompts, i, options):
    gram, moment = sums(prompts, i)
    large, small = extremes(gram)
    eta = options.get("step_size", options.get("relative_step_size", 1.0) / large)
    constant = options.get("momentum", (large.sqrt() - small.sqrt()) / (large.sqrt() + small.sqrt()))
    w, ahead, t = torch.zeros_like(moment), torch.zeros_like(moment), 1.0
    explicit = []
    for _ in range(21):  # Beck and Teboulle's own order: x_k from y_k, then t, then y_{k+1}
        explicit.append(w)
        new = ahead - eta * (times(gram, ahead) - moment)
        later = (1 + (1 + 4 * t * t) ** 0.5) / 2
        b = (t - 1) / later if "kind" not in options else constant
        ahead, w, t = new + b * (new - w), new, later
    check(prompts, i, "nesterov", explicit, **options)


@pytest.mark.parametrize("i", PREFIXES)
@pytest.mark.parametrize("options", [{}, {"lower": 0.5, "upper": 60.0}, {"lower": 30.0, "upper": 30.0}], ids=str)
def test_chebyshev_is_richardson_with_the_roots_of_chebyshev_polynomials(prompts, i, options):
    gram, moment = sums(prompts, i)
    large, small = extremes(gram)
    low, high = options.get("lower", small), options.get("upper", large)
    explicit = []
    for k in range(8):
        w = torch.zeros_like(moment)
        for j in range(k):
            root = (high + low) / 2 + (high - low) / 2 * np.cos(np.pi * (2 * j + 1) / (2 * k))
            w = w - (times(gram, w) - moment) / root
        explicit.append(w)
    check(prompts, i, "chebyshev", explicit, 1e-9, steps=[0, 1, 2, 3, 7], **options)


@pytest.mark.parametrize("i", PREFIXES)
@pytest.mark.parametrize("given", [False, True])
def test_gd_plus_plus_is_the_simulation_of_tokens_with_the_query_among_them(prompts, i, given):
    xs, ys = prompts
    etas, gammas = [0.02, 0.05, 0.03, 0.1], [0.005, 0.01, 0.0, 0.02]
    options = (
        {"schedule": [i * e for e in etas], "gammas": [i * g for g in gammas], "gradient": "mean"} if given else {}
    )
    queries = numbers(12, 15, 5, D, seed=4)
    found = baselines.predict("gd_plus_plus", *prompts, steps=[0, 1, 2, 4], queries=queries, **options)[:, :, i]
    x, q, residual, predicted = xs[:, :i], queries[:, i], ys[:, :i], torch.zeros(12, 5, dtype=torch.float64)
    explicit = []
    for k in range(5):
        explicit.append(predicted)
        gram = x.mT @ x
        large = extremes(gram)[0][..., None]
        eta, gamma = (etas[k], gammas[k]) if given and k < 4 else (1 / large, 0.5 / large)
        step = eta * (x.mT @ residual[..., None])
        predicted, residual = predicted + (q @ step)[..., 0], residual - (x @ step)[..., 0]
        x, q = x - gamma * x @ gram, q - gamma * q @ gram
    torch.testing.assert_close(found, torch.stack([explicit[k] for k in (0, 1, 2, 4)]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("i", PREFIXES)
def test_preconditioned_gradient_descent(prompts, i):
    gram, moment = sums(prompts, i)
    p = spread(D)
    values = torch.linalg.eigvals(p @ gram).real.amax(-1)[:, None]
    for options, eta in (({"step_size": 0.01}, 0.01), ({}, 1 / values)):
        w, explicit = torch.zeros_like(moment), []
        for _ in range(21):
            explicit.append(w)
            w = w - eta * times(p, times(gram, w) - moment)
        check(prompts, i, "preconditioned_gd", explicit, preconditioner=p, **options)


@pytest.mark.parametrize("i", PREFIXES)
@pytest.mark.parametrize(
    "options", [{"alpha": 1.3}, {"alpha": 0.7, "norm": "frobenius"}, {"alpha": 0.01, "norm": "none"}]
)
def test_newton_from_the_identity(prompts, i, options):
    gram, moment = sums(prompts, i)
    size = {"frobenius": torch.linalg.matrix_norm(gram), "none": torch.ones(12).double()}.get(
        options.get("norm"), torch.linalg.matrix_norm(gram, ord=2)
    )
    inverse = (options["alpha"] / size)[:, None, None] * torch.eye(D, dtype=torch.float64)
    explicit = []
    for _ in range(13):
        explicit.append(times(inverse, moment))
        inverse = 2 * inverse - inverse @ gram @ inverse
    check(prompts, i, "newton", explicit, steps=[0, 1, 2, 5, 12], start="identity", **options)


def test_k_newton_steps_from_the_identity_are_two_to_the_k_steps_of_gradient_descent(prompts):
    steps = list(range(13))
    newton = baselines.weights("newton", *prompts, steps=steps, alpha=0.02, norm="none", start="identity")
    gd = baselines.weights("gd", *prompts, steps=[2**k for k in steps], step_size=0.02)
    assert torch.equal(newton, gd)
    newton = baselines.weights("newton", *prompts, steps=steps, start="identity", alpha=1.4)
    gd = baselines.weights("gd", *prompts, steps=[2**k for k in steps], relative_step_size=1.4)
    torch.testing.assert_close(newton, gd, rtol=1e-12, atol=1e-12)


def test_newton_beyond_any_float_of_steps_has_converged(prompts):
    w = baselines.weights("newton", *prompts, steps=[60, 1100, 5000])
    torch.testing.assert_close(w[1], w[0], rtol=1e-12, atol=1e-12)
    assert torch.equal(w[1], w[2])


@pytest.mark.parametrize("i", PREFIXES)
@pytest.mark.parametrize("memory", [1, 3, 10])
def test_lbfgs_is_the_textbook_loop_and_conjugate_gradient(prompts, i, memory):
    gram, moment = sums(prompts, i)
    n = min(i, 5)
    found = baselines.weights("lbfgs", *prompts, steps=range(n + 1), memory=memory)[:, :, i]
    cg = baselines.weights("cg", *prompts, steps=range(n + 1))[:, :, i]
    for p in range(4):
        w, gradient, pairs = torch.zeros(D, dtype=torch.float64), -moment[p], []
        for k in range(n + 1):
            torch.testing.assert_close(found[k, p], w, rtol=1e-7, atol=1e-7)
            inverse = torch.eye(D, dtype=torch.float64)
            if pairs:  # the same matrix written out: BFGS updates of a scaled identity by the pairs that are kept
                s, y = pairs[-1]
                inverse = inverse * (s @ y) / (y @ y)
            for s, y in pairs[-memory:]:
                v = torch.eye(D, dtype=torch.float64) - torch.outer(y, s) / (s @ y)
                inverse = v.mT @ inverse @ v + torch.outer(s, s) / (s @ y)
            direction = -inverse @ gradient
            length = -(gradient @ direction) / (direction @ gram[p] @ direction)
            s = length * direction
            pairs.append((s, gram[p] @ s))
            w, gradient = w + s, gradient + gram[p] @ s
    torch.testing.assert_close(found, cg, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("i", PREFIXES)
@pytest.mark.parametrize("line_search", ["backtracking", "exact"])
def test_bfgs_is_the_textbook_loop(prompts, i, line_search):
    gram, moment = sums(prompts, i)
    found = baselines.weights("bfgs", *prompts, steps=range(7), line_search=line_search)[:, :, i]
    for p in range(4):
        w, inverse = torch.zeros(D, dtype=torch.float64), torch.eye(D, dtype=torch.float64)

        def loss(w, p=p):
            return (w @ gram[p] @ w / 2 - moment[p] @ w).item()

        for k in range(min(i, 6) + 1):
            torch.testing.assert_close(found[k, p], w, rtol=1e-6, atol=1e-6)
            gradient = gram[p] @ w - moment[p]
            direction = -inverse @ gradient
            if line_search == "exact":
                length = (-(gradient @ direction) / (direction @ gram[p] @ direction)).item()
            else:
                length, slope = 1.0, (gradient @ direction).item()
                while loss(w + length * direction) > loss(w) + 1e-4 * length * slope:
                    length /= 2
            s = length * direction
            y = gram[p] @ s
            v = torch.eye(D, dtype=torch.float64) - torch.outer(y, s) / (s @ y)
            inverse = v.mT @ inverse @ v + torch.outer(s, s) / (s @ y)
            w = w + s
    if line_search == "exact":
        cg = baselines.weights("cg", *prompts, steps=range(7))[:, :, i]
        torch.testing.assert_close(found[: min(i, 4)], cg[: min(i, 4)], rtol=1e-6, atol=1e-6)


def of_length(n, d, n_prompts, seed):
    """Prefixes whose position 1 has the eigenvalues of n standard-normal examples."""
    xs = numbers(n_prompts, n, d, seed=seed)
    values, basis = torch.linalg.eigh(xs.mT @ xs)
    both = [torch.stack([torch.zeros_like(each), each], 1) for each in (values, basis)]
    prefixes = Prefixes.of(xs[:, :2], xs[:, :2, 0])
    prefixes.__dict__["_eigen"] = tuple(both)
    return prefixes


@pytest.mark.parametrize(
    ("n", "d", "step", "sizes", "loss"),
    [
        (20, 5, 1, [0.7692], 1.1538),
        (20, 5, 2, [0.515, 1.250], 0.3615),
        (20, 5, 3, [0.422, 0.689, 1.713], 0.1340),
        (20, 5, 4, [0.361, 0.519, 0.887, 2.135], 0.0555),
    ],
)
def test_tuned_steps_are_those_of_the_best_polynomial(n, d, step, sizes, loss):
    """Closed forms for Wishart moments; sizes for the mean loss."""
    prefixes = of_length(n, d, 8000, seed=5)
    found = tuned(prefixes, torch.tensor([step]))
    rounding = 0.02 if step < 3 else 0.06  # high moments of few prompts are too small
    np.testing.assert_allclose(found.step_sizes(0, 1).real * n, sizes, rtol=rounding)
    assert np.abs(found.step_sizes(0, 1).imag).max() < 1e-9
    values = prefixes.eigenvalues
    excess = ((1 - values * found(values)[0]) ** 2).sum(-1)[:, 1].mean()
    assert float(excess) == pytest.approx(loss, rel=2 * rounding)
    powers = [(values[:, 1] ** k).sum(-1).mean() for k in range(2 * step + 1)]
    system = torch.stack([torch.stack([powers[j + k] for k in range(1, step + 1)]) for j in range(1, step + 1)])
    aims = torch.stack(powers[1 : step + 1])
    assert float(excess) == pytest.approx(d - float(aims @ torch.linalg.solve(system, aims)), rel=1e-6)


def test_no_real_steps_reach_the_best_polynomial_under_much_noise():
    prefixes = of_length(20, 5, 4000, seed=6)
    assert np.abs(tuned(prefixes, torch.tensor([2]), 5.0).step_sizes(0, 1).imag).max() > 1e-4
    assert np.abs(tuned(prefixes, torch.tensor([2]), 0.25).step_sizes(0, 1).imag).max() < 1e-9


def test_tuned_steps_err_less_than_any_fixed_size_and_can_be_kept_for_other_prompts(prompts):
    xs = numbers(512, 10, 4, seed=9)
    ys = (xs * numbers(512, 1, 4, seed=10)).sum(-1)
    steps = [1, 2, 3]

    def error(found):
        return ((found - ys) ** 2).mean((1, 2))

    best = error(baselines.predict("gd_tuned", xs, ys, steps=steps))
    for size in (0.1, 0.2, 0.3, 0.5):
        assert (best < error(baselines.predict("gd", xs, ys, steps=steps, step_size=size, gradient="mean"))).all()
    kept = tuned(Prefixes.of(xs[:256], ys[:256]), torch.tensor(steps))
    other = baselines.predict("gd_tuned", xs[256:], ys[256:], steps=steps, polynomials=kept)
    assert torch.equal(other, baselines.predict("gd_tuned", xs[256:], ys[256:], steps=steps, polynomials=kept))
    # a third step overfits: beyond the largest eigenvalue that was seen its polynomial leaves the ground
    assert (((other - ys[256:]) ** 2).mean((1, 2))[:2] < 1.5 * best[:2]).all()


def test_rates_are_the_published_ones():
    """Two eigenvalues, 1 and 100: kappa = 100."""
    xs = torch.tensor([[[10.0, 0.0], [0.0, 1.0], [0.0, 0.0]]], dtype=torch.float64)
    ys = torch.tensor([[10.0, 1.0, 0.0]], dtype=torch.float64)

    def residual(name, k, **options):
        w = baselines.weights(name, xs, ys, steps=[k, k + 20], **options)[:, 0, 2]
        left = (1 - w).norm(dim=-1)
        return float((left[1] / left[0]) ** (1 / 20))

    assert residual("gd", 200) == pytest.approx(1 - 1 / 100, abs=1e-6)
    assert residual("gd", 200, step_size=2 / 101) == pytest.approx(99 / 101, abs=1e-6)
    assert residual("momentum", 60) == pytest.approx(9 / 11, abs=0.015)
    assert residual("nesterov", 60, kind="constant") == pytest.approx(0.9, abs=0.015)
    assert residual("chebyshev", 40) == pytest.approx(9 / 11, abs=0.005)


def test_steps_that_diverge_are_found_and_not_hidden(prompts):
    xs, ys = prompts
    steps = [1, 10, 100, 5000]
    found = baselines.predict("gd", xs, ys, steps=steps, step_size=0.2)
    wild = baselines.diverged(found, ys)
    assert not wild[0].any()
    assert wild[2:, :, 8:].all()
    assert not torch.isfinite(found[3, :, 8:]).any()
    assert not baselines.diverged(baselines.predict("gd", xs, ys, steps=steps), ys).any()
    assert baselines.diverged(torch.full((2, 3), 11.0), torch.ones(2, 3), times=10.0).all()


def test_options_that_never_converge_are_told(prompts):
    assert "top direction never converges" in baselines.caution("newton", alpha=2.0, norm="spectral")
    assert "top direction never converges" in baselines.caution("newton", alpha=2.0, start="identity")
    for fine in ({}, {"alpha": 2.0, "norm": "frobenius"}, {"alpha": 1.0, "norm": "frobenius"}):
        assert baselines.caution("newton", **fine) == ""
    assert "never converges" in baselines.caution("gd", relative_step_size=2.0)
    assert "never converges" in baselines.caution("nesterov", relative_step_size=3.0, kind="constant")
    assert baselines.caution("gd", relative_step_size=1.9) == baselines.caution("gd", step_size=5.0) == ""
    assert baselines.caution("gd", schedule=[1.0]) == baselines.caution("ols") == baselines.caution("momentum") == ""
    assert "never converges" in baselines.caution("momentum", relative_step_size=3.5, momentum=0.5)
    assert baselines.caution("momentum", relative_step_size=2.5, momentum=0.5) == ""


@pytest.mark.parametrize(
    "options", [{"alpha": 1.0}, {"alpha": 1.0, "norm": "frobenius"}, {"alpha": 2.0, "norm": "frobenius"}]
)
def test_the_three_published_starts_of_newton_converge(prompts, options):
    ols = baselines.weights("ols", *prompts)[:, 8:]
    w = baselines.weights("newton", *prompts, steps=[45], **options)[0, :, 8:]
    torch.testing.assert_close(w, ols, rtol=1e-8, atol=1e-8)


def test_layers_are_compared_with_three_families_by_default():
    assert [name for name, baseline in BASELINES.items() if baseline.compared] == ["gd", "newton", "cg"]


@pytest.mark.parametrize("i", PREFIXES)
@pytest.mark.parametrize("start", ["gram", "identity"])
def test_newton_from_a_fixed_start_on_the_mean_loss(prompts, i, start):
    gram, moment = (total / i for total in sums(prompts, i))
    inverse = 0.01 * (gram if start == "gram" else torch.eye(D, dtype=torch.float64))
    explicit = []
    for _ in range(13):
        explicit.append(times(inverse, moment) if start == "gram" else inverse @ moment[..., None])
        inverse = 2 * inverse - inverse @ gram @ inverse
    explicit = [w.reshape(12, D) for w in explicit]
    check(prompts, i, "newton", explicit, steps=[0, 1, 2, 5, 12], start=start, alpha=0.01, norm="examples")


@pytest.mark.parametrize("i", PREFIXES)
@pytest.mark.parametrize("gradient", ["sum", "mean"])
def test_gradient_descent_on_the_ridge_loss(prompts, i, gradient):
    gram, moment = sums(prompts, i)
    eta = 0.01 / (i if gradient == "mean" else 1)
    w, explicit = torch.zeros_like(moment), []
    for _ in range(21):
        explicit.append(w)
        w = w - eta * (times(gram, w) + 0.7 * w - moment)
    check(prompts, i, "ridge_gd", explicit, ridge=0.7, step_size=0.01, gradient=gradient)


def test_gradient_descent_on_the_ridge_loss_ends_at_ridge_and_is_plain_without_it(prompts):
    options = {"steps": [0, 3, 9], "relative_step_size": 0.8}
    plain = baselines.weights("ridge_gd", *prompts, ridge=0.0, **options)
    torch.testing.assert_close(plain, baselines.weights("gd", *prompts, **options), rtol=1e-12, atol=1e-12)
    (last,) = baselines.weights("ridge_gd", *prompts, ridge=0.5, steps=[20_000])
    ridge = baselines.weights("ridge", *prompts, ridge=0.5)
    torch.testing.assert_close(last, ridge, rtol=1e-10, atol=1e-10)
    assert (last - baselines.weights("ols", *prompts))[:, 2:].abs().max() > 0.01
    assert "never converges" in baselines.caution("ridge_gd", relative_step_size=2.0)
    for wrong in ({"ridge": -0.1}, {"step_size": 0.0}, {"relative_step_size": -1.0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            baselines.weights("ridge_gd", *prompts, steps=[1], **wrong)


@pytest.mark.parametrize("i", [1, *PREFIXES])
@pytest.mark.parametrize("gradient", ["sum", "mean"])
def test_debiased_gradient_descent_is_that_of_inputs_less_their_mean(prompts, i, gradient):
    xs, ys = (part[:, :i] for part in prompts)
    off = xs - xs.mean(1, keepdim=True)
    sizes = [0.01 + 0.002 * (k % 5) for k in range(20)]
    w, explicit = torch.zeros(12, D, dtype=torch.float64), []
    for size in [*sizes, 0.0]:
        explicit.append(w)
        residuals = (xs @ w[..., None])[..., 0] - ys
        w = w - size / (i if gradient == "mean" else 1) * (off * residuals[..., None]).sum(1)
    check(prompts, i, "debiased_gd", explicit, schedule=sizes, gradient=gradient)


def test_debiased_gradient_descent_ends_at_the_slope_of_least_squares_with_intercept(prompts):
    xs, ys = prompts
    (w,) = baselines.weights("debiased_gd", xs, ys, steps=[100_000])
    ones = torch.ones(12, 14, 1, dtype=torch.float64)
    with_intercept = torch.linalg.lstsq(torch.cat([xs[:, :14], ones], -1), ys[:, :14, None]).solution[:, :D, 0]
    torch.testing.assert_close(w[:, 14], with_intercept, rtol=1e-9, atol=1e-9)
