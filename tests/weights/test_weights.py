"""Products, patterns, implied steps and interpolation, on weights whose answers are known."""

from dataclasses import replace

import pytest
import torch

from workbench.batch import RegressionBatch
from workbench.errors import InputError
from workbench.models.config import TransformerConfig
from workbench.models.constructions import CONSTRUCTIONS
from workbench.models.transformer import Transformer
from workbench.tasks import LinearRegression
from workbench.weights import (
    implied_updates,
    interpolate,
    layer_weights,
    patterns,
    products,
    spectra,
    with_products,
)

D, N = 3, 8
MATRIX = torch.tensor([[0.6, 0.2, 0.0], [0.2, 0.9, -0.1], [0.0, -0.1, 0.4]], dtype=torch.float64)


def build(name: str, n_layers: int = 1, **settings) -> Transformer:
    return CONSTRUCTIONS[name].build(D, N + 1, n_layers, **settings)


def preconditioned(n_layers: int = 1) -> Transformer:
    return build("preconditioned_gd", n_layers, preconditioner=MATRIX, step_size=1.0)


def drawn(n: int = 64) -> RegressionBatch:
    return LinearRegression(d_input=D, n_context=N + 1, noise_std=0.5).prompts(0, "test", 0, n).to(dtype=torch.float64)


def turned(model: Transformer, n_wide: int = 0) -> Transformer:
    """The same function with mixed coordinates in streams and heads, and ``n_wide`` unused ones."""
    g = torch.Generator().manual_seed(3)
    config = model.config
    width = config.d_model + n_wide
    wide = Transformer(replace(config, d_model=width, d_head=config.head_width, attention_scale=0.5)).double()
    basis = torch.linalg.qr(torch.randn(width, width, generator=g, dtype=torch.float64)).Q[: config.d_model]
    with torch.no_grad():
        wide.embed.weight.copy_(basis.mT @ model.embed.weight)
        wide.unembed.weight.copy_(model.unembed.weight @ basis)
        for ours, theirs in zip(wide.layers, model.layers, strict=True):
            for head in range(config.n_heads):
                inner = torch.randn(config.head_width, config.head_width, generator=g, dtype=torch.float64)
                scale = theirs.attn.scale / 0.5
                ours.attn.W_Q[head].copy_(basis.mT @ theirs.attn.W_Q[head] @ inner * scale)
                ours.attn.W_K[head].copy_(basis.mT @ theirs.attn.W_K[head] @ torch.linalg.inv(inner).mT)
                ours.attn.W_V[head].copy_(basis.mT @ theirs.attn.W_V[head] @ inner)
                ours.attn.W_O[head].copy_(torch.linalg.inv(inner) @ theirs.attn.W_O[head] @ basis)
    return wide


def test_products_of_a_construction_are_what_was_typed_in():
    found = products(preconditioned())
    torch.testing.assert_close(found.key_query[0, 0, :D, :D], MATRIX)
    assert not found.key_query[0, 0, D:].any()
    torch.testing.assert_close(found.read[0, 0], torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(found.gamma[0], MATRIX)
    assert all(not leak.any() for leak in found.leakage.values())
    assert not found.outside.any()


def test_an_asymmetric_gamma_is_not_transposed():
    model = preconditioned()
    skew = MATRIX + torch.tensor([[0.0, 0.3, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    with torch.no_grad():
        model.layers[0].attn.W_Q[0][:D, :D] = skew  # score = (W_Q^T q) . x
    batch = drawn(16)
    g = (batch.ys[:, :N, None] * batch.xs[:, :N]).mean(1)
    told = (batch.xs[:, N] @ products(model).gamma[0] * g).sum(-1)
    torch.testing.assert_close(model.predict(batch)[:, -1], told)


@pytest.mark.parametrize("n_wide", [0, 4])
def test_products_do_not_depend_on_the_coordinates_of_streams_and_heads(n_wide):
    plain = build("gd_plus_plus", 2, step_size=[0.3, 0.7], gamma=[0.1, 0.2])
    other = turned(plain, n_wide)
    batch = drawn(8)
    torch.testing.assert_close(other.predict(batch), plain.predict(batch))
    one, two = products(plain), products(other)
    for field in ("key_query", "output_value", "read"):
        torch.testing.assert_close(getattr(two, field), getattr(one, field), atol=1e-12, rtol=1e-9)
    assert two.outside.max() < 1e-12


def test_what_heads_write_beside_the_tokens_is_told():
    model = turned(preconditioned(), 4)
    with torch.no_grad():
        model.layers[0].attn.W_O[0] += torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).double()
    assert products(model).outside[0, 0] > 0.1


def test_weights_that_cannot_be_folded_are_refused_with_the_reason():
    config = replace(preconditioned().config, norm="layer_norm")
    with pytest.raises(InputError, match=r"model.norm must be 'none', .*; got 'layer_norm'"):
        products(Transformer(config))
    learned = Transformer(TransformerConfig(d_input=D, n_context=4, n_layers=1, d_model=8, n_heads=2, norm="none"))
    with pytest.raises(InputError, match=r"model\.positions must be 'none'; got 'learned'"):
        products(learned)


def test_constructed_heads_have_their_patterns_and_random_ones_do_not():
    two_heads = build("debiased_gd", step_size=0.7, scale=0.1)
    found = {each.kind.name: each for each in patterns(two_heads, n_draws=300)}
    for each in found.values():
        torch.testing.assert_close(each.scores, torch.full_like(each.scores, each.kind.perfect), atol=1e-12, rtol=0)
        distance = (each.null_mean - each.kind.perfect).abs()
        assert (distance > 0.2).all(), each.kind.name
    assert float(found["identity"].null_high.max()) < 1
    assert (found["zero_sum"].null_low < found["zero_sum"].null_high).all()
    one_head = {each.kind.name for each in patterns(preconditioned(), n_draws=4)}
    assert one_head == set(found) - {"zero_sum", "equal_sizes"}


def test_the_null_of_the_identity_pattern_is_that_of_random_matrices():
    """For Gaussian M the squared cosine with I has mean 1/d^2; a product of two has more weight in few directions."""
    wide = replace(preconditioned().config, d_head=200)
    model = Transformer(wide, torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        model.embed.weight.copy_(torch.eye(4))
    (identity,) = [each for each in patterns(model, n_draws=600) if each.kind.name == "identity"]
    assert float(identity.null_mean[0, 0]) == pytest.approx(1 / D**2, rel=0.2)


def test_weights_and_steps_of_every_layer_are_read_back():
    batch = drawn(256)
    steps = [0.3, 0.6, 0.2]
    weights = layer_weights(build("gd", 3, step_size=steps), batch)
    assert weights.shape == (4, 256, D)
    assert not weights[0].any()
    told = (weights[-1] * batch.xs[:, -1]).sum(-1)
    torch.testing.assert_close(told, build("gd", 3, step_size=steps).predict(batch)[:, -1])
    for step, update in zip(steps, implied_updates(weights, batch), strict=True):
        torch.testing.assert_close(update.matrix, step * torch.eye(D, dtype=torch.float64))
        assert update.r2 == pytest.approx(1)
        assert update.null < 0.2
    weights = layer_weights(preconditioned(2), batch)
    for update in implied_updates(weights, batch):
        torch.testing.assert_close(update.matrix, MATRIX)


def test_an_asymmetric_implied_matrix_is_not_transposed():
    model = preconditioned()
    skew = MATRIX + torch.tensor([[0.0, 0.3, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    with torch.no_grad():
        model.layers[0].attn.W_Q[0][:D, :D] = skew
    batch = drawn(256)
    (update,) = implied_updates(layer_weights(model, batch), batch)
    torch.testing.assert_close(update.matrix, products(model).gamma[0])


def test_layers_that_move_their_inputs_take_no_fixed_step():
    batch = drawn(512)
    weights = layer_weights(build("gd_plus_plus", 3, step_size=0.3, gamma=0.25), batch)
    first, second, third = implied_updates(weights, batch)
    assert first.r2 == pytest.approx(1)
    assert third.r2 < second.r2 < 1 - 1e-4
    assert second.r2 > second.null


def test_weights_of_a_looped_softmax_model_are_gradients():
    config = TransformerConfig(
        d_input=D, n_context=5, n_layers=2, d_model=8, n_heads=2, tied_layers=True, input_injection=True
    )
    model = Transformer(config).double()
    batch = drawn(4).prefix(5)
    weights = layer_weights(model, batch)
    step = torch.zeros_like(batch.xs)
    step[:, -1, 1] = 1e-6
    moved = model.predict(RegressionBatch(batch.xs + step, batch.ys))[:, -1]
    slope = (moved - model.predict(batch)[:, -1]) / 1e-6
    torch.testing.assert_close(weights[-1][:, 1], slope, rtol=1e-3, atol=1e-4)


def test_a_model_made_of_products_is_the_same_function():
    plain = turned(build("gd_plus_plus", 2, step_size=[0.3, 0.7], gamma=[0.1, 0.2]))
    batch = drawn(8)
    torch.testing.assert_close(with_products(plain, products(plain)).predict(batch), plain.predict(batch))


@pytest.mark.parametrize("name", ["gd", "gd_plus_plus"])
def test_between_a_model_and_its_rescaled_self_nothing_changes(name):
    settings = {"step_size": 0.4, **({"gamma": 0.1} if name == "gd_plus_plus" else {})}
    one, other = build(name, 2, **settings), build(name, 2, **settings)
    with torch.no_grad():
        for model in (one, other):
            model.unembed.bias.fill_(0.5)
        for block in other.layers:
            block.attn.W_Q[0].mul_(-7.0)
            block.attn.W_V[0].div_(-7.0)
    batch = drawn(8)
    for between in interpolate(one, other, [0.0, 0.5, 1.0]):
        torch.testing.assert_close(between.predict(batch), one.predict(batch))


def test_between_two_steps_lies_the_mean_step():
    """KQ is aligned, so that OV carries the step size, which is averaged."""
    one, other = build("gd", step_size=0.2), build("gd", step_size=0.6)
    batch = drawn(8)
    (half,) = interpolate(one, turned(other), [0.5])
    torch.testing.assert_close(half.predict(batch), build("gd", step_size=0.4).predict(batch))


def test_one_layer_is_read_out_anew_where_read_outs_differ():
    one, other = build("gd", step_size=0.2), build("gd", step_size=0.6)
    with torch.no_grad():
        one.unembed.weight[0, 0] = 0.25
    batch = drawn(8)
    start, end = interpolate(one, other, [0.0, 1.0])
    torch.testing.assert_close(start.predict(batch), one.predict(batch))
    skip = 0.25 * batch.xs[:, -1, 0]  # the first model's read-out of the query itself stays
    torch.testing.assert_close(end.predict(batch)[:, -1], other.predict(batch)[:, -1] + skip)


def test_models_that_are_not_alike_are_refused():
    one = build("gd", step_size=0.2)
    with pytest.raises(InputError, match="models must have as many layers, heads and coordinates; got"):
        interpolate(one, build("gd", 2, step_size=0.2), [0.5])
    softmax = build("softmax_kernel", scale=1.0)
    with pytest.raises(InputError, match="second model's attention must be 'linear'; got 'softmax'"):
        interpolate(one, softmax, [0.5])
    deep, askew = build("gd", 2, step_size=0.2), build("gd", 2, step_size=0.2)
    with torch.no_grad():
        askew.unembed.weight[0, 0] = 0.25
    with pytest.raises(InputError, match="multiples of one read-out in models of several layers"):
        interpolate(deep, askew, [0.5])
    hidden = turned(build("gd", step_size=0.2), 4)
    with torch.no_grad():
        hidden.layers[0].attn.W_O[0] += 1.0
    with pytest.raises(InputError, match="first model's heads must write tokens"):
        interpolate(hidden, one, [0.5])


# Spectra


def test_a_multiple_of_the_identity_has_a_flat_spectrum_and_random_weights_have_none():
    model = CONSTRUCTIONS["gd"].build(4, 9, 2, step_size=0.3)
    found = spectra(model, n_draws=50)
    assert found.values.shape == (2, 1, 4)
    torch.testing.assert_close(found.values, torch.full_like(found.values, 0.5))
    assert (found.null_mean[..., 0] > 0.7).all()
    assert (found.null_high[..., -1] < 0.5).all()
    assert (found.null_low <= found.null_mean).all()
    assert (found.null_mean <= found.null_high).all()


def test_spectra_are_those_of_the_products():
    generator = torch.Generator().manual_seed(4)
    model = CONSTRUCTIONS["gd"].build(3, 5, 1, step_size=0.3)
    matrix = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        model.layers[0].attn.W_Q[0, :3, :3] = matrix
    values = torch.linalg.svdvals(matrix)
    torch.testing.assert_close(spectra(model, n_draws=2).values[0, 0], values / values.norm())
