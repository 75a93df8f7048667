"""Every construction is the algorithm that it says it is, at every prefix and after every layer."""

import pytest
import torch

from workbench import baselines
from workbench.activations import query_streams
from workbench.baselines import BASELINES
from workbench.errors import InputError
from workbench.models.constructions import CONSTRUCTIONS
from workbench.models.constructions.debiased_gd import central_difference
from workbench.tasks import LinearRegression

SHAPES = [(1, 2), (3, 7), (5, 16), (8, 5)]
TOLERANCE = 1e-10  # measured are some 1e-15, of two debiased heads, which are no limit of rounding, 3e-11


def matrix(d):
    half = torch.randn(d, d, generator=torch.Generator().manual_seed(d), dtype=torch.float64)
    return half @ half.mT / d


def settings(d):
    """For each construction, settings to build it with: several of most."""
    return {
        "gd": [
            {"n_layers": 4, "step_size": 0.3 / d},
            {"n_layers": 3, "step_size": [0.7 / d, 0.05, 0.2 / d]},
            {"n_layers": 1, "step_size": 2.0},
        ],
        "gd_plus_plus": [
            {"n_layers": 4, "step_size": 0.3 / d, "gamma": 0.1 / d},
            {"n_layers": 3, "step_size": [0.2 / d, 0.5 / d, 1.0 / d], "gamma": [0.0, 0.15 / d, 0.4 / d]},
        ],
        "preconditioned_gd": [
            {"n_layers": 4, "preconditioner": matrix(d), "step_size": 0.2 / d},
            {"n_layers": 1, "preconditioner": matrix(d), "step_size": 1.0},
        ],
        "softmax_kernel": [{"n_layers": 1, "scale": 0.1}, {"n_layers": 1, "scale": 2.0}],
        "newton": [
            {"n_layers": 7, "alpha": 1 / (9 * d * d)},
            {"n_layers": 5, "alpha": 1 / (16 * d * d), "attention": "relu"},
        ],
        "ridge_gd": [
            {"n_layers": 6, "step_size": 0.3 / d, "ridge": 0.5},
            {"n_layers": 3, "step_size": 0.1 / d, "ridge": 3.0},
        ],
        "debiased_gd": [
            {"n_layers": 4, "step_size": 0.3 / d, "scale": 2e-6},
            {"n_layers": 3, "step_size": [0.2 / d, 0.1, 0.3 / d], "scale": 3e-4, "n_heads": 4},
            {"n_layers": 4, "step_size": 0.3 / d, "scale": 1 / (64 * d), "n_heads": 12},
        ],
        "gaussian_kernel": [{"n_layers": 2, "bandwidth": 0.7}, {"n_layers": 2, "bandwidth": 3.0}],
        "nearest_neighbor": [{"n_layers": 2, "bandwidth": 1e-4}],
        "gd_from_copies": [{"n_layers": 2, "step_size": 0.3 / d}, {"n_layers": 2, "step_size": 1.5}],
    }


ALL = [(name, which, *shape) for shape in SHAPES for name, of in settings(1).items() for which in range(len(of))]
each = pytest.mark.parametrize(("name", "which", "d", "n"), ALL)


def prompts(d, n, n_batch=16):
    batch = LinearRegression(d_input=d, n_context=n, noise_std=0.1).prompts(0, "constructions", 0, n_batch)
    return batch.to(dtype=torch.float64)


def built(name, which, d, n):
    own = settings(d)[name][which]
    return CONSTRUCTIONS[name].build(d, n, **own), own


def expected(construction, own, batch):
    """What the reference algorithm says after every layer, the embedding first."""
    options = construction.options(own["n_layers"], **{k: own[k] for k in own if k != "n_layers"})
    if not construction.iterative:
        said = baselines.predict(construction.algorithm, batch.xs, batch.ys, **options)
        return torch.stack([*[torch.zeros_like(said)] * own["n_layers"], said])
    steps = [construction.steps(layer) for layer in range(own["n_layers"] + 1)]
    said = baselines.predict(construction.algorithm, batch.xs, batch.ys, steps=[step or 0 for step in steps], **options)
    said[[layer for layer, step in enumerate(steps) if step is None]] = 0.0
    return said


def held(model, batch):
    """What the model's own read-out predicts after every layer."""
    return model.unembed(query_streams(model, batch))[..., 0]


def test_every_construction_is_tested_and_names_a_reference_algorithm():
    assert settings(1).keys() == CONSTRUCTIONS.keys()
    for construction in CONSTRUCTIONS.values():
        assert construction.algorithm in BASELINES
        assert construction.iterative == BASELINES[construction.algorithm].iterative


@each
def test_predictions_are_those_of_the_algorithm_at_every_prefix(name, which, d, n):
    (model, own), batch = built(name, which, d, n), prompts(d, n)
    last = expected(CONSTRUCTIONS[name], own, batch)[-1]
    assert (model.predict(batch) - last).abs().max() < TOLERANCE * (1 + last.abs().max())


@each
def test_layer_l_holds_l_steps_exactly(name, which, d, n):
    (model, own), batch = built(name, which, d, n), prompts(d, n)
    found, steps = held(model, batch), expected(CONSTRUCTIONS[name], own, batch)
    assert found.shape == steps.shape
    assert (found - steps).abs().max() < TOLERANCE * (1 + steps.abs().max())
    taken = (steps[1:] - steps[:-1]).flatten(1).norm(dim=1)
    never = n == 2 and name == "debiased_gd"  # one example less its mean is nothing
    busy = taken[CONSTRUCTIONS[name].idle_layers :] if CONSTRUCTIONS[name].iterative else taken[-1:]
    assert (busy > 0.01).all() or never


@pytest.mark.parametrize("name", [name for name in CONSTRUCTIONS if name != "debiased_gd"])
def test_in_float32_a_construction_errs_by_rounding(name):
    (model, _), batch = built(name, 0, 3, 7), prompts(3, 7)
    exact = model.predict(batch)
    rounded = model.float().predict(batch.to(dtype=torch.float32))
    torch.testing.assert_close(rounded.double(), exact, rtol=1e-6, atol=1e-6)


def test_in_float32_debiased_gd_errs_by_rounding_over_scale_and_least_with_six_pairs():
    batch = prompts(3, 7, 64)
    step = baselines.predict("debiased_gd", batch.xs, batch.ys, steps=[4], step_size=0.1, gradient="mean")[0]
    errors = {}
    for n_heads, scale in ((2, 3e-3), (12, 1 / 256), (12, 1 / 32)):
        model = CONSTRUCTIONS["debiased_gd"].build(3, 7, 4, step_size=0.1, scale=scale, n_heads=n_heads).float()
        found = model.predict(batch.to(dtype=torch.float32)).double()[:, -1]
        errors[n_heads, scale] = float((found - step[:, -1]).abs().max() / (1 + step.abs().max()))
    assert errors[12, 1 / 32] < 2e-6
    assert 3 * errors[12, 1 / 32] < errors[12, 1 / 256] < 3e-5
    assert errors[2, 3e-3] > 3 * errors[12, 1 / 32], "two heads at their best"


@pytest.mark.parametrize("n_pairs", range(1, 9))
def test_central_differences_are_exact_on_polynomials_of_their_degree(n_pairs: int):
    weights = central_difference(n_pairs)
    for power in range(1, 2 * n_pairs, 2):
        slope = sum(w * k ** (power - 1) for k, w in enumerate(weights, 1))  # of s^power at 0, with s = 1
        assert slope == pytest.approx(float(power == 1), abs=1e-12 * n_pairs ** (power - 1))


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_hooks_fire_and_change_what_is_said(name):
    (model, _), batch = built(name, 0, 3, 7), prompts(3, 7)
    said = model(model.encode(batch))
    output, cache = model.run_with_cache(model.encode(batch))
    torch.testing.assert_close(output, said, rtol=1e-12, atol=1e-12)
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.config.n_layers)]
    assert all(cache[each].abs().max() > 0 for each in names)
    without = model.run_with_hooks(model.encode(batch), fwd_hooks=[(names[-1], lambda pattern, hook: 0 * pattern)])
    assert not torch.allclose(without, said)


def test_a_layer_of_gd_knocked_out_is_a_step_of_size_0():
    etas = [0.3, 0.1, 0.2]
    model, batch = CONSTRUCTIONS["gd"].build(2, 6, 3, step_size=etas), prompts(2, 6)
    hook = ("blocks.1.attn.hook_pattern", lambda pattern, hook: torch.zeros_like(pattern))
    with model.hooks(fwd_hooks=[hook]):
        knocked_out = model.predict(batch)
    options = {"schedule": [0.3, 0.0, 0.2], "gradient": "mean"}
    (said,) = baselines.predict("gd", batch.xs, batch.ys, steps=[3], **options)
    torch.testing.assert_close(knocked_out, said, rtol=1e-12, atol=1e-12)


def test_the_pattern_of_gd_is_the_gram_matrix_over_the_examples_and_their_tokens_hold_residuals():
    eta, batch = 0.2, prompts(3, 6)
    model = CONSTRUCTIONS["gd"].build(3, 6, 2, step_size=eta)
    _, cache = model.run_with_cache(model.encode(batch))
    examples, labels = batch.xs[:, :5], batch.ys[:, :5]
    gram = batch.xs @ examples.mT / 5
    pattern = cache["blocks.1.attn.hook_pattern"][:, 0]
    torch.testing.assert_close(pattern[..., :5], gram, rtol=1e-12, atol=1e-12)
    assert (pattern[..., 5] == 0).all()
    w = eta * (examples * labels[..., None]).mean(1)
    residuals = labels - (examples * w[:, None]).sum(-1)
    torch.testing.assert_close(cache["blocks.0.hook_resid_post"][:, :5, 3], residuals, rtol=1e-12, atol=1e-12)


def test_inputs_shrink_under_gd_plus_plus_and_stay_under_gd():
    batch = prompts(3, 6)
    shrinking = CONSTRUCTIONS["gd_plus_plus"].build(3, 6, 1, step_size=0.1, gamma=0.05)
    staying = CONSTRUCTIONS["gd"].build(3, 6, 1, step_size=0.1)
    examples = batch.xs[:, :5]
    moment = examples.mT @ examples / 5
    smaller = query_streams(shrinking, batch)[1, :, -1, :3]
    torch.testing.assert_close(smaller, batch.xs[:, -1] - 0.05 * (moment @ batch.xs[:, -1, :, None])[..., 0])
    assert torch.equal(query_streams(staying, batch)[1, :, -1, :3], batch.xs[:, -1])


def test_the_copying_head_attends_to_the_token_before_alone():
    model, batch = CONSTRUCTIONS["gd_from_copies"].build(2, 4, step_size=0.1), prompts(2, 4)
    _, cache = model.run_with_cache(model.encode(batch))
    copying = cache["blocks.0.attn.hook_pattern"][:, 0]
    to_previous = torch.diag(torch.ones(7, dtype=torch.float64), -1)
    assert torch.equal(copying, to_previous.expand_as(copying))
    holds_examples = cache["blocks.0.hook_resid_post"][:, 1::2, 2 + 1 + 8 : 2 + 1 + 8 + 2]
    torch.testing.assert_close(holds_examples, batch.xs)


def test_two_softmax_heads_near_debiased_gd_by_the_fourth_cumulant_that_is_stated():
    d, n, eta = 3, 9, 0.6
    batch = prompts(d, n, 32)
    examples, labels, query = batch.xs[:, :-1], batch.ys[:, :-1], batch.xs[:, -1]
    s = (examples * query[:, None]).sum(-1)
    s, y = s - s.mean(1, keepdim=True), labels - labels.mean(1, keepdim=True)
    step = eta * (y * s).mean(1)
    cumulant = (y * s**3).mean(1) - 3 * (y * s).mean(1) * s.square().mean(1)
    errors = {}
    for scale in (0.02, 0.01):
        model = CONSTRUCTIONS["debiased_gd"].build(d, n, step_size=eta, scale=scale)
        errors[scale] = model.predict(batch)[:, -1] - step
    stated = eta * 0.01**2 / 6 * cumulant
    torch.testing.assert_close(errors[0.01], stated, rtol=0.02, atol=float(stated.abs().max()) * 0.01)
    assert 3.9 < errors[0.02].norm() / errors[0.01].norm() < 4.1
    assert errors[0.01].abs().max() < 1e-3 * step.abs().max()


def test_four_heads_err_by_the_fourth_power_of_their_scale():
    batch = prompts(3, 9, 32)
    step = baselines.predict("debiased_gd", batch.xs, batch.ys, steps=[1], schedule=[0.6], gradient="mean")[0]
    errors = {}
    for scale in (0.04, 0.02):
        model = CONSTRUCTIONS["debiased_gd"].build(3, 9, step_size=0.6, scale=scale, n_heads=4)
        errors[scale] = model.predict(batch)[:, -1] - step[:, -1]
    assert 14 < errors[0.04].norm() / errors[0.02].norm() < 18
    assert errors[0.02].abs().max() < 1e-3 * step.abs().max()


def test_newton_holds_the_inverse_applied_to_every_token_and_converges_to_least_squares():
    d, n, alpha = 3, 8, 1 / 81
    model, batch = CONSTRUCTIONS["newton"].build(d, n, 5, alpha=alpha), prompts(d, n)
    _, cache = model.run_with_cache(model.encode(batch))
    examples = batch.xs[:, :-1]
    gram = examples.mT @ examples / (n - 1)
    inverse = alpha * gram
    for layer in range(5):
        tokens = cache[f"blocks.{layer}.hook_resid_post"][..., d + 1 : 2 * d + 1]
        torch.testing.assert_close(tokens, batch.xs @ inverse, rtol=1e-12, atol=1e-12)
        inverse = 2 * inverse - inverse @ gram @ inverse
    assert torch.equal(cache["blocks.4.hook_resid_post"][:, :-1, d], batch.ys[:, :-1])
    deep = CONSTRUCTIONS["newton"].build(d, n, 26, alpha=alpha)
    ols = baselines.predict("ols", batch.xs, batch.ys)[:, -1]
    torch.testing.assert_close(
        deep(deep.encode(batch))[:, -1, 0], ols, rtol=1e-7, atol=1e-7
    )  # rounding doubles with every step


def test_the_looped_block_ends_at_ridge_at_every_prefix_and_is_one_block():
    d, n, ridge = 2, 6, 1.5
    batch = prompts(d, n, 8)
    model = CONSTRUCTIONS["ridge_gd"].build(d, n, 300, step_size=0.25, ridge=ridge)
    expected_ridge = baselines.predict("ridge", batch.xs, batch.ys, ridge=ridge)
    torch.testing.assert_close(model.predict(batch), expected_ridge, rtol=1e-10, atol=1e-10)
    assert (expected_ridge - baselines.predict("ols", batch.xs, batch.ys)).abs().max() > 0.1
    assert sum(p.numel() for p in model.blocks.parameters()) == sum(p.numel() for p in model.layers[0].parameters())


def test_the_nearest_neighbor_head_attends_to_the_nearest_example_alone_and_copies_its_label():
    batch = prompts(3, 12, 64)
    model = CONSTRUCTIONS["nearest_neighbor"].build(3, 12, bandwidth=1e-4)
    output, cache = model.run_with_cache(model.encode(batch))
    nearest = torch.cdist(batch.xs[:, -1:], batch.xs[:, :-1])[:, 0].argmin(-1)
    pattern = cache["blocks.1.attn.hook_pattern"][:, 0, -1]
    one_hot = torch.nn.functional.one_hot(nearest, 12).to(pattern.dtype)
    torch.testing.assert_close(pattern, one_hot, rtol=1e-12, atol=1e-12)
    labels = batch.ys[torch.arange(64), nearest]
    torch.testing.assert_close(output[:, -1, 0], labels, rtol=1e-12, atol=1e-12)
    squares = cache["blocks.0.hook_resid_post"][..., 4]
    torch.testing.assert_close(squares, batch.xs.square().sum(-1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "own", "message"),
    [
        ("gd", {"n_layers": 2, "step_size": [0.1]}, "step_size must hold one for each of 2 layers"),
        ("gd", {"n_layers": 1, "step_size": float("nan")}, "step_size must be a finite number or a list of them"),
        ("gd", {"n_layers": 0, "step_size": 0.1}, "n_layers must be a whole number of at least 1; got 0"),
        ("gd_plus_plus", {"n_layers": 2, "step_size": 0.1, "gamma": [0.1] * 3}, "gamma must hold one for each of 2"),
        ("preconditioned_gd", {"n_layers": 1, "preconditioner": torch.eye(3), "step_size": 0.1}, r"be \[2 2\]"),
        (
            "preconditioned_gd",
            {"n_layers": 1, "preconditioner": torch.ones(2, 2).triu(), "step_size": 0.1},
            "preconditioner must be symmetric and finite",
        ),
        ("newton", {"n_layers": 1, "alpha": 0.1}, "n_layers must be at least 2"),
        ("newton", {"n_layers": 3, "alpha": 0.0}, "alpha must be greater than 0"),
        ("newton", {"n_layers": 3, "alpha": 0.1, "attention": "softmax"}, "attention must be 'linear' or 'relu'"),
        ("ridge_gd", {"n_layers": 2, "step_size": 0.1, "ridge": -1.0}, "ridge must be at least 0"),
        ("ridge_gd", {"n_layers": 2, "step_size": float("inf"), "ridge": 1.0}, "step_size must be a finite number"),
        ("gaussian_kernel", {"bandwidth": 0.0}, "bandwidth must be greater than 0"),
        ("nearest_neighbor", {"n_layers": 1, "bandwidth": 1.0}, "n_layers must be 2"),
        ("softmax_kernel", {"scale": 0.0}, "scale must be greater than 0"),
        ("softmax_kernel", {"n_layers": 2, "scale": 1.0}, "n_layers must be 1"),
        ("debiased_gd", {"n_layers": 2, "step_size": [0.1]}, "step_size must hold one for each of 2 layers"),
        ("debiased_gd", {"step_size": 0.1, "n_heads": 3}, "n_heads must be an even number from 2 to 16; got 3"),
        ("debiased_gd", {"step_size": 0.1, "scale": -1.0}, "scale must be greater than 0"),
        ("gd_from_copies", {"n_layers": 3, "step_size": 0.1}, "n_layers must be 2"),
    ],
)
def test_what_cannot_be_built_is_refused(name, own, message):
    with pytest.raises(InputError, match=message):
        CONSTRUCTIONS[name].build(2, 4, **own)
