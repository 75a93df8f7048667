"""Merged and sparse products, tokens as streams, mixed attention, MLPs first: against plain models and algorithms."""

from dataclasses import replace

import pytest
import torch

from tests.contracts.test_models import build, prompt
from workbench import baselines
from workbench.errors import InputError
from workbench.models import Transformer, TransformerConfig
from workbench.models.constructions.writing import OVER_EXAMPLES
from workbench.tasks import LinearDynamics, LinearRegression, MultiTaskRegression

TASK = LinearRegression(d_input=3, n_context=6)
D = TASK.d_input
BARE = replace(OVER_EXAMPLES, projections=False, d_model=D + 1, n_heads=1)


def bare(products: str, n_layers: int = 1, **switches) -> Transformer:
    config = replace(BARE, products=products, n_layers=n_layers, **switches)
    return Transformer(config.shaped(TASK.model_shape()), torch.Generator().manual_seed(1)).double()


def test_merged_products_are_those_of_a_plain_model_with_identities_for_queries_and_outputs():
    merged = bare("merged", n_layers=2, n_heads=2)
    plain = bare("separate", n_layers=2, n_heads=2, d_head=D + 1)
    with torch.no_grad():
        for ours, other in zip(merged.layers, plain.layers, strict=True):
            other.attn.qkv.weight.copy_(ours.attn.qkv.weight)
            other.attn.out.weight.copy_(ours.attn.out.weight)
            torch.testing.assert_close(other.attn.W_Q, torch.eye(D + 1).double().expand(2, -1, -1))
            torch.testing.assert_close(other.attn.W_O, torch.eye(D + 1).double().expand(2, -1, -1))
    batch = TASK.prompts(0, "test", 0, 8).to(dtype=torch.float64)
    torch.testing.assert_close(merged.predict(batch), plain.predict(batch), rtol=0, atol=1e-12)
    assert merged.n_params == 2 * 2 * 2 * (D + 1) ** 2


def test_labels_only_layers_are_steps_of_preconditioned_gradient_descent():
    """Ahn et al. 2023, equation 8: w <- w - A_l X^T (X w - y) / n, for A_l that are not even symmetric."""
    model = bare("labels_only", n_layers=3)
    assert model.n_params == 3 * D * D
    batch = TASK.prompts(0, "test", 0, 8).to(dtype=torch.float64)
    xs, ys = batch.xs[:, :-1], batch.ys[:, :-1]
    w = torch.zeros(8, D, dtype=torch.float64)
    for block in model.layers:
        gradient = torch.einsum("bcd,bc->bd", xs, torch.einsum("bcd,bd->bc", xs, w) - ys) / xs.shape[1]
        w = w + gradient @ block.attn.qkv.keys.T
    said = torch.einsum("bd,bd->b", w, batch.xs[:, -1])
    torch.testing.assert_close(model.predict(batch)[:, -1], said, rtol=0, atol=1e-12)


def test_block_diagonal_layers_of_multiples_of_the_identity_are_gd_plus_plus():
    model, etas, gammas = bare("block_diagonal", n_layers=2), [0.4, 0.9], [0.3, 0.1]
    eye = torch.eye(D, dtype=torch.float64)
    with torch.no_grad():
        for block, eta, gamma in zip(model.layers, etas, gammas, strict=True):
            block.attn.qkv.keys.copy_(-eta * eye)
            block.attn.qkv.values.copy_(gamma / eta * eye)
    batch = TASK.prompts(0, "test", 0, 8).to(dtype=torch.float64)
    options = {"schedule": etas, "gammas": gammas, "gradient": "mean"}
    expected = baselines.predict("gd_plus_plus", batch.xs, batch.ys, steps=[2], **options)[0]
    torch.testing.assert_close(model.predict(batch), expected, rtol=0, atol=1e-12)


def test_without_projections_the_stream_is_the_token_and_the_prediction_minus_the_label():
    task = MultiTaskRegression(d_input=3, n_used=2, n_context=4)
    config = replace(BARE, d_model=5, n_layers=2)
    model = Transformer(config.shaped(task.model_shape())).double()
    batch = task.prompts(0, "test", 0, 4).to(dtype=torch.float64)
    tokens = model.encode(batch)
    _, cache = model.run_with_cache(tokens)
    torch.testing.assert_close(cache["resid_pre", 0], tokens, rtol=0, atol=0)
    torch.testing.assert_close(model.read_out(model(tokens))[:, 0], -cache["resid_post", -1][:, -1, 3:], rtol=0, atol=0)
    assert not [name for name, _ in model.named_parameters() if "embed" in name]


def test_the_first_block_may_attend_in_its_own_way():
    model = build({"attention": "linear", "first_attention": "softmax", "layout": "interleaved"})
    _, cache = model.run_with_cache(prompt(model))
    assert [block.attn.kind.name for block in model.layers] == ["softmax", "linear"]
    first = cache["pattern", 0].sum(-1)
    torch.testing.assert_close(first, torch.ones_like(first))
    assert (cache["pattern", 1].sum(-1) - 1).abs().max() > 0.01


def test_an_mlp_that_comes_first_reads_the_stream_and_attention_reads_what_it_left():
    model = build({"mlp_first": True, "norm": "none"})
    data = prompt(model)
    _, cache = model.run_with_cache(data)
    block, start = model.layers[0], cache["resid_pre", 0]
    middle = start + block.mlp(start)
    torch.testing.assert_close(cache["resid_mid", 0], middle, rtol=0, atol=1e-12)
    end = middle + block.attn(middle, model._places(data.shape[1], None))
    torch.testing.assert_close(cache["resid_post", 0], end, rtol=0, atol=1e-12)
    own = model.accumulated_bias(1, mlp_input=True)
    torch.testing.assert_close(own, block.attn.b_O + block.mlp.b_out)


SHAPE = {"d_input": 3, "n_context": 6}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"projections": False, **SHAPE}, "d_model must be 4, the width of a token, without projections; got 256"),
        ({"projections": False, "layout": "interleaved_shared"}, "layout must give labels coordinates of their own"),
        ({"projections": False, "output": "mean_variance"}, "output must be 'scalar' or 'vector' without projections"),
        ({"projections": False, "input": "tokens"}, "input must be 'continuous' without projections"),
        ({"products": "labels_only"}, "projections must be false with products 'labels_only'"),
        ({"products": "merged", "d_head": 3}, "d_head must be d_model 256 with products 'merged'; got 3"),
        ({"products": "mixed"}, "Unknown products 'mixed'"),
        ({"first_attention": "lineal"}, "Unknown first_attention 'lineal'. Did you mean 'linear'"),
        ({"first_attention": "linear", "tied_layers": True}, "first_attention must be that of all with tied_layers"),
        ({"first_attention": "delta", "causal": False}, "causal must be true with attention 'delta'"),
        ({"mlp_first": True, "mlp": "none"}, "mlp must be given with mlp_first"),
        ({"layout": "states", **SHAPE}, "output must be 'vector' in layout 'states', which predicts the next input"),
        ({"layout": "states", "causal": False}, "causal must be true in layout 'states'"),
    ],
)
def test_what_does_not_go_together_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        TransformerConfig(**settings)


def test_concatenated_positions_widen_a_token_that_is_the_stream():
    config = replace(BARE, positions="concatenated", layout="interleaved", query_in_keys=True)
    with pytest.raises(InputError, match="d_model must be 15, the width of a token, without projections; got 4"):
        Transformer(config.shaped(TASK.model_shape()))
    model = Transformer(replace(config, d_model=15).shaped(TASK.model_shape()))
    batch = TASK.prompts(0, "test", 0, 2)
    _, cache = model.run_with_cache(model.encode(batch))
    assert cache["resid_pre", 0][0, :, 4:].tolist() == torch.eye(11).tolist()
    torch.testing.assert_close(model.read_out(model(model.encode(batch)))[:, 0], -cache["resid_post", -1][:, -1, 3])


def test_two_heads_of_complex_products_are_one_complex_head():
    """f_t = 1/(t-1) sum_i V z_i (K z_i)^* z_t over complex tokens, for two complex heads (Zheng et al. 2024)."""
    task = LinearDynamics(d_input=4, n_context=5, matrix="rotations")
    config = replace(
        BARE, layout="augmented_states", causal=True, query_in_keys=True, products="complex", n_heads=4, n_layers=1
    )
    config = replace(config, d_model=12, output="vector").shaped(task.model_shape())
    model = Transformer(config, torch.Generator().manual_seed(1)).double()
    maps = model.layers[0].attn.qkv
    assert model.n_params == 2 * 2 * 6 * 12  # real and imaginary parts of a 6 by 6 matrix each, for two heads
    keys, values = (
        torch.complex(one[:, :, 0::2], -one[:, :, 1::2])
        for one in (learned.detach().unflatten(0, (2, 6)) for learned in (maps.keys, maps.values))
    )
    batch = task.prompts(0, "test", 0, 3).to(dtype=torch.float64)
    tokens = torch.view_as_complex(model.encode(batch).unflatten(-1, (-1, 2)).contiguous())
    said = torch.view_as_complex(model.predict(batch).unflatten(-1, (-1, 2)).contiguous())
    for t in range(1, 5):
        seen = tokens[:, 1 : t + 1]
        scores = torch.einsum("hac,bic,ba->bih", keys.conj(), seen.conj(), tokens[:, t])
        told = -torch.einsum("hac,bic,bih->ba", values, seen, scores)[:, 4:] / t
        torch.testing.assert_close(said[:, t], told, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("field", "size"), [("n_heads", 3), ("d_model", 5)])
def test_complex_products_need_pairs_of_heads_and_of_coordinates(field: str, size: int):
    with pytest.raises(InputError, match=f"{field} must be even with products 'complex'; got {size}"):
        replace(BARE, **{"products": "complex", "d_model": 4, "n_heads": 2, field: size})


def test_the_stream_is_cut_off_after_every_sublayer_and_nowhere_else():
    """As the released code of von Oswald et al. 2023 clips: what a layer wrote is added, then the sum is clipped."""
    batch = TASK.prompts(0, "test", 0, 8).to(dtype=torch.float64)
    free = bare("merged", n_layers=2)
    with torch.no_grad():
        for parameter in free.parameters():
            parameter.mul_(3)
    limited = Transformer(replace(free.config, stream_limit=1.5)).double()
    limited.load_state_dict(free.state_dict())
    stream = free(free.encode(batch), stop_at_layer=0)
    for layer in range(2):
        stream = free(stream, start_at_layer=layer, stop_at_layer=layer + 1).clamp(-1.5, 1.5)
    found, cache = limited.run_with_cache(limited.encode(batch))
    torch.testing.assert_close(cache["resid_post", 1], stream, rtol=0, atol=1e-12)
    assert cache["blocks.0.hook_resid_pre"].abs().max() > 1.5  # the prompt itself is not cut
    assert cache["blocks.0.hook_attn_cut"].abs().max() > 0.1
    torch.testing.assert_close(limited(limited.encode(batch)), found, rtol=0, atol=1e-12)
    whole = limited.run_with_hooks(
        limited.encode(batch),
        fwd_hooks=[(f"blocks.{layer}.hook_attn_cut", lambda cut, hook: 0 * cut) for layer in range(2)],
    )
    torch.testing.assert_close(whole, free(free.encode(batch)), rtol=0, atol=1e-10)


def test_a_limit_that_nothing_reaches_changes_nothing():
    batch = TASK.prompts(0, "test", 0, 8)
    free = bare("merged", n_layers=2).float()
    with torch.no_grad():
        for parameter in free.parameters():
            parameter.mul_(0.1)
    limited = Transformer(replace(free.config, stream_limit=100.0))
    limited.load_state_dict(free.state_dict())
    _, cache = limited.run_with_cache(limited.encode(batch))
    assert cache["blocks.1.hook_attn_cut"].abs().max() == 0
    assert torch.equal(limited.predict(batch), free.predict(batch))


def test_a_limit_must_be_above_zero():
    with pytest.raises(InputError, match=r"stream_limit must be greater than 0; got 0\.0"):
        TransformerConfig(stream_limit=0.0)
