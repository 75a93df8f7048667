"""The model class: names, shapes, weights, and the pitfalls of TransformerLens 4 that concern it."""

import copy

import pytest
import torch
from torch import nn
from transformer_lens import FactoredMatrix, SVDInterpreter
from transformer_lens.head_detector import detect_head
from transformer_lens.model_protocol import TransformerLensModelWithWeights

from tests.contracts.test_models import build, prompt
from workbench.batch import RegressionBatch
from workbench.errors import InputError
from workbench.models import Transformer, TransformerConfig
from workbench.models.layers import initialise
from workbench.tasks import LinearDynamics, LinearRegression


def model_for(task: LinearRegression, **switches) -> Transformer:
    config = TransformerConfig(n_layers=2, d_model=8, n_heads=2, **switches).shaped(task.model_shape())
    return Transformer(config).double().eval()


def batch_of(task: LinearRegression, n: int = 4) -> RegressionBatch:
    return task.prompts(0, "test", 0, n).to(dtype=torch.float64)


TASK = LinearRegression(d_input=3, n_context=4)


def test_hook_names_are_the_classic_ones():
    names = set(build({"positions": "rotary"}).hook_dict)
    block = {"hook_resid_pre", "hook_attn_out", "hook_resid_mid", "hook_mlp_out", "hook_resid_post"}
    norms = {f"{ln}.{hook}" for ln in ("ln1", "ln2") for hook in ("hook_scale", "hook_normalized")}
    heads = {"q", "k", "v", "z", "attn_scores", "pattern", "result", "rot_q", "rot_k"}
    attention = {f"attn.hook_{name}" for name in heads}
    expected = {f"blocks.{layer}.{name}" for layer in (0, 1) for name in block | norms | attention}
    expected |= {f"blocks.{layer}.mlp.hook_{name}" for layer in (0, 1) for name in ("pre", "post")}
    expected |= {"hook_embed", "ln_final.hook_scale", "ln_final.hook_normalized"}
    assert names == expected
    assert "hook_pos_embed" in build({"positions": "learned"}).hook_dict


def test_cached_shapes_are_those_of_transformer_lens():
    model = build({})
    _, cache = model.run_with_cache(prompt(model))
    assert cache["pattern", 1].shape == (2, 2, 6, 6)
    assert cache["q", 0].shape == cache["z", 0].shape == (2, 6, 2, 4)
    assert cache["result", 0].shape == (2, 6, 2, 8)
    assert cache["blocks.0.ln1.hook_scale"].shape == (2, 6, 1)
    assert cache["resid_post", -1].shape == (2, 6, 8)


def test_stacked_weights_have_the_lens_axes_and_are_views_of_what_runs():
    model = build({})
    assert model.W_Q.shape == (2, 2, 8, 4)
    assert model.W_O.shape == (2, 2, 4, 8)
    assert model.W_in.shape == (2, 8, 12)
    assert isinstance(model.QK, FactoredMatrix)
    assert isinstance(model.OV, FactoredMatrix)
    before = model(prompt(model))
    with torch.no_grad():
        model.blocks[1].attn.W_V[0].zero_()
    assert (model(prompt(model)) - before).abs().max() > 1e-6


def test_attention_equals_the_formula_written_with_the_lens_weights():
    model = build({})
    data = prompt(model)
    _, cache = model.run_with_cache(data)
    x = cache["blocks.0.ln1.hook_normalized"]
    attn = model.blocks[0].attn
    q = torch.einsum("bpm,hmd->bphd", x, attn.W_Q) + attn.b_Q
    k = torch.einsum("bpm,hmd->bphd", x, attn.W_K) + attn.b_K
    v = torch.einsum("bpm,hmd->bphd", x, attn.W_V) + attn.b_V
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / 2.0
    scores = scores.masked_fill(torch.ones(6, 6, dtype=torch.bool).triu(1), -torch.inf)
    z = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v)
    expected = torch.einsum("bqhd,hdm->bqm", z, attn.W_O) + attn.b_O
    torch.testing.assert_close(cache["attn_out", 0], expected, rtol=0, atol=1e-12)


def test_hidden_softmax_scores_are_minus_infinity_so_that_mask_lookups_work():
    model = build({})
    _, cache = model.run_with_cache(prompt(model))
    assert cache["attn_scores", 0].isinf().equal((~model.visible).expand(2, 2, 6, 6))


def test_scores_are_not_the_pattern_and_editing_scores_moves_the_pattern():
    model = build({})
    data = prompt(model)
    _, cache = model.run_with_cache(data)
    assert not torch.allclose(cache["attn_scores", 0].exp(), cache["pattern", 0])
    seen = {}
    model.run_with_hooks(
        data,
        fwd_hooks=[
            ("blocks.0.attn.hook_attn_scores", lambda t, hook: t * 0.0),
            ("blocks.0.attn.hook_pattern", lambda t, hook: seen.update(pattern=t)),
        ],
    )
    assert seen["pattern"].shape == (2, 2, 6, 6)


def test_queries_are_hooked_before_rotation_and_rotated_ones_after():
    model = build({"positions": "rotary"})
    _, cache = model.run_with_cache(prompt(model))
    plain, turned = cache["blocks.0.attn.hook_q"], cache["blocks.0.attn.hook_rot_q"]
    torch.testing.assert_close(plain[:, 0], turned[:, 0])
    assert (plain[:, 1:] - turned[:, 1:]).abs().max() > 1e-3
    torch.testing.assert_close(plain.norm(dim=-1), turned.norm(dim=-1))


def test_rotary_scores_depend_on_distance_alone():
    model = build({"positions": "rotary", "norm": "none"})
    same = prompt(model)[:, :1].expand(-1, 6, -1)
    _, cache = model.run_with_cache(same)
    scores = cache["attn_scores", 0]
    for distance in (1, 2, 3):
        diagonal = scores.diagonal(-distance, -2, -1)
        torch.testing.assert_close(diagonal, diagonal[..., :1].expand_as(diagonal))


def test_raw_torch_hooks_are_seen_by_the_fast_path_too():
    model = build({})
    seen = []
    handle = model.blocks[0].attn.hook_pattern.register_forward_hook(lambda m, i, o: seen.append(o.shape))
    model(prompt(model))
    handle.remove()
    assert seen == [(2, 2, 6, 6)]


def test_per_head_results_add_up_with_the_bias_left_out():
    model = build({})
    _, cache = model.run_with_cache(prompt(model))
    total = cache["result", 1].sum(2) + model.blocks[1].attn.b_O
    torch.testing.assert_close(total, cache["attn_out", 1], rtol=0, atol=1e-12)


def test_logit_lens_ends_in_the_output():
    model = build({"input": "tokens", "output": "logits"})
    output, cache = model.run_with_cache(prompt(model))
    lens = cache.logit_lens(return_type="logits")
    torch.testing.assert_close(lens.values[-1], output[:, -1], rtol=0, atol=1e-10)
    attributions = cache.logit_attrs(cache.decompose_resid(apply_ln=False), 0)
    assert torch.isfinite(attributions).all()


def test_the_protocol_of_transformer_lens_is_complete():
    model = build({})
    assert isinstance(model, TransformerLensModelWithWeights)
    assert model.cfg.n_layers == 2
    assert model.cfg.d_vocab == model.cfg.d_vocab_out == 1


def test_accumulated_bias_is_the_sum_of_earlier_output_biases():
    model = build({})
    first = model.blocks[0].attn.b_O + model.blocks[0].mlp.b_out
    torch.testing.assert_close(model.accumulated_bias(1), first)
    torch.testing.assert_close(model.accumulated_bias(1, mlp_input=True), first + model.blocks[1].attn.b_O)
    torch.testing.assert_close(model.accumulated_bias(1, include_mlp_biases=False), model.blocks[0].attn.b_O)


def test_tl_parameters_hold_every_number_of_the_model():
    model = build({"norm": "none"})
    assert sum(t.numel() for t in model.tl_parameters().values()) + model.embed.bias.numel() == model.n_params


def test_no_parameter_is_left_over_and_counts_match_the_formula():
    model = Transformer(TransformerConfig(n_layers=5, d_model=48, n_heads=4, d_input=4, n_context=12))
    block = 4 * 48 * 48 + 4 * 48 + 2 * 48 * 192 + 192 + 48 + 4 * 48
    assert model.n_params == 5 * block + (5 * 48 + 48) + 24 * 48 + 2 * 48 + 49


def test_tied_layers_share_parameters_but_not_hooks():
    model = build({"tied_layers": True})
    assert model.blocks[0].attn.qkv.weight is model.blocks[1].attn.qkv.weight
    assert model.blocks[0].attn.hook_q is not model.blocks[1].attn.hook_q
    assert model.n_params < build({}).n_params
    assert not any(name.startswith("blocks.1") for name, _ in model.named_parameters())


def test_deepcopy_and_second_derivatives_work():
    model = build({})
    twin = copy.deepcopy(model)
    data = prompt(model)
    assert torch.equal(twin(data), model(data))
    with model.exact():
        jacobian = torch.func.jacrev(lambda x: model(x)[0, -1, 0])(data)
        hessian = torch.func.hessian(lambda x: model(x)[0, -1, 0])(data)
    assert jacobian.shape == data.shape
    assert hessian.shape == (*data.shape, *data.shape)


def test_backward_hooks_see_gradients():
    model = build({})
    grads = {}
    hook = ("blocks.0.hook_resid_post", lambda g, hook: grads.update(g=g))
    with model.hooks(bwd_hooks=[hook]):
        model(prompt(model)).sum().backward()
    assert grads["g"].shape == (2, 6, 8)


def test_the_exact_context_ends_with_an_error_inside():
    model = build({})
    with pytest.raises(InputError), model.exact():
        model(torch.zeros(1))
    assert not model.blocks[0].attn.exact


def test_building_and_initialising_use_the_given_generator_alone():
    config = TransformerConfig(n_layers=1, d_model=8, n_heads=2, d_input=2, n_context=3)
    one = Transformer(config, torch.Generator().manual_seed(5))
    same = Transformer(config, torch.Generator().manual_seed(5))
    other = Transformer(config, torch.Generator().manual_seed(6))
    assert torch.equal(one.W_Q, same.W_Q)
    assert not torch.equal(one.W_Q, other.W_Q)


def test_initial_weights_have_the_configured_spread():
    config = TransformerConfig(n_layers=2, d_model=64, n_heads=4, d_input=4, n_context=8, init_std=0.3)
    model = Transformer(config)
    initialise(model, config, torch.Generator().manual_seed(0))
    assert model.W_Q.std().item() == pytest.approx(0.3, rel=0.05)
    assert model.W_O.std().item() == pytest.approx(0.15, rel=0.05)
    assert (model.b_U == 0).all()


def test_initial_weights_of_torch_are_those_of_its_own_modules():
    shape = {"n_layers": 3, "d_model": 64, "n_heads": 2, "d_mlp": 256, "n_ctx": 99, "mlp": "relu"}
    tokens = {"input": "tokens", "output": "logits", "d_vocab": 50}
    model = Transformer(TransformerConfig(**shape, **tokens, init="torch"))
    block = model.blocks[1]
    for own in (block.attn.qkv, block.attn.out, block.mlp.out, model.unembed):
        with torch.random.fork_rng():
            original = nn.Linear(own.in_features, own.out_features)
        assert own.weight.abs().max() <= original.in_features**-0.5
        assert own.bias.abs().max() <= original.in_features**-0.5
        assert own.weight.std().item() == pytest.approx((3 * original.in_features) ** -0.5, rel=0.05)
        assert own.bias.std().item() == pytest.approx(original.bias.std().item(), rel=0.4)
    for table in (model.embed, model.positions):
        assert table.weight.std().item() == pytest.approx(1, rel=0.05)
    with pytest.raises(InputError, match="init_std must be left out with init 'torch'"):
        TransformerConfig(init="torch", init_std=0.1)


@pytest.mark.parametrize("layout", ["interleaved", "interleaved_shared", "pairs"])
def test_prediction_i_uses_only_examples_before_i(layout):
    model, batch = model_for(TASK, layout=layout), batch_of(TASK)
    before = model.predict(batch)
    for i in range(TASK.n_context):
        ys = batch.ys.clone()
        ys[:, i:] += 1.0
        changed = model.predict(RegressionBatch(batch.xs, ys))
        torch.testing.assert_close(changed[:, : i + 1], before[:, : i + 1], rtol=0, atol=1e-12)
        if i + 1 < TASK.n_context:
            assert (changed[:, i + 1 :] - before[:, i + 1 :]).abs().max() > 1e-6


@pytest.mark.parametrize("layout", ["interleaved", "pairs"])
def test_causal_predictions_equal_those_of_each_prefix_alone(layout):
    model, batch = model_for(TASK, layout=layout), batch_of(TASK)
    full = model.predict(batch)
    for n in range(1, TASK.n_context + 1):
        torch.testing.assert_close(model.predict(batch.prefix(n))[:, -1], full[:, n - 1], rtol=0, atol=1e-12)


def test_a_pairs_query_does_not_see_other_queries():
    model, batch = model_for(TASK, layout="pairs"), batch_of(TASK)
    tokens = model.encode(batch)
    before = model.read_out(model(tokens))
    tokens[:, 0] += 1.0  # query 0, which no later query may see
    after = model.read_out(model(tokens))
    torch.testing.assert_close(after[:, 1:], before[:, 1:], rtol=0, atol=1e-12)
    assert (after[:, 0] - before[:, 0]).abs().max() > 1e-6


@pytest.mark.parametrize("layout", ["interleaved", "pairs"])
def test_without_causal_mask_predictions_come_from_one_run_per_prefix(layout):
    model, batch = model_for(TASK, layout=layout, causal=False), batch_of(TASK)
    predictions = model.predict(batch)
    assert predictions.shape == (4, TASK.n_context)
    ys = batch.ys.clone()
    ys[:, -1] += 1.0  # the label asked for: never in the input
    torch.testing.assert_close(model.predict(RegressionBatch(batch.xs, ys)), predictions, rtol=0, atol=0)


def test_without_positions_and_mask_the_order_of_examples_does_not_matter():
    model, batch = model_for(TASK, layout="pairs", causal=False, positions="none"), batch_of(TASK)
    order = torch.tensor([2, 0, 1, 3])
    shuffled = RegressionBatch(batch.xs[:, order], batch.ys[:, order])
    torch.testing.assert_close(model.predict(shuffled)[:, -1], model.predict(batch)[:, -1], rtol=0, atol=1e-12)


def test_encoding_is_what_each_layout_says():
    xs, ys = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.tensor([[5.0, 6.0]])
    batch = RegressionBatch(xs, ys)
    task = LinearRegression(d_input=2, n_context=2)
    expected = {
        "interleaved": [[1, 2, 0], [0, 0, 5], [3, 4, 0], [0, 0, 6]],
        "interleaved_shared": [[1, 2], [5, 0], [3, 4], [6, 0]],
        "pairs": [[1, 2, 0], [1, 2, 5], [3, 4, 0], [3, 4, 6]],
    }
    follows = RegressionBatch(xs, torch.tensor([[[3.0, 4.0], [5.0, 6.0]]]))
    for layout, rows in {
        "states": [[1, 2], [3, 4]],
        "augmented_states": [[1, 2, 0, 0, 0, 0], [3, 4, 1, 2, 0, 0]],
    }.items():
        assert model_for(LinearDynamics(d_input=2, n_context=2), layout=layout).encode(follows)[0].tolist() == rows
    for layout, rows in expected.items():
        assert model_for(task, layout=layout).encode(batch)[0].tolist() == rows
    last_only = model_for(task, layout="pairs", causal=False).encode(batch)
    assert last_only[0].tolist() == [[1, 2, 5], [3, 4, 0]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: build({})(torch.zeros(2, 6, 9, dtype=torch.float64)), "prompt must be vectors"),
        (lambda: build({})(torch.zeros(2, 6, dtype=torch.long)), "prompt must be vectors"),
        (lambda: build({})(prompt(build({})).float()), r"of torch.float64; got torch.float32"),
        (lambda: build({})(torch.zeros(2, 6, 9).double(), start_at_layer=1), r"vectors \[batch pos 8\]"),
        (lambda: build({})(prompt(build({})), stop_at_layer=9), "stop_at_layer must be a layer of 2; got 9"),
        (lambda: build({})(prompt(build({})), start_at_layer=-3), "start_at_layer must be a layer of 2; got -3"),
        (lambda: TransformerConfig(d_model=6, n_heads=2, positions="rotary"), "d_head must be even with rotary"),
        (lambda: build({})(torch.zeros(2, 7, 3, dtype=torch.float64)), "at most 6 positions; got 7"),
        (lambda: build({"input": "tokens", "output": "logits"})(torch.zeros(2, 6)), "prompt must be token ids"),
        (lambda: Transformer(TransformerConfig(n_context=3)), "d_input must be given"),
        (lambda: Transformer(TransformerConfig(d_input=3)), "n_ctx must be given"),
        (lambda: Transformer(TransformerConfig(input="tokens", n_ctx=4)), "d_vocab must be given"),
        (lambda: Transformer(TransformerConfig(d_input=2, n_context=2, output="logits")), "d_vocab must be given"),
        (lambda: build({}).run_with_cache(prompt(build({})), names_filter=lambda name: False), "let a hook through"),
        (lambda: TransformerConfig(attention="sofmax"), "Unknown attention 'sofmax'. Did you mean 'softmax'"),
        (lambda: TransformerConfig(d_model=10, n_heads=3), "n_heads must divide d_model 10; got 3"),
        (lambda: TransformerConfig(query_in_keys=False), "query_in_keys must be true unless layout is 'pairs'"),
    ],
)
def test_wrong_input_is_told_in_one_line(make, message):
    with pytest.raises(InputError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_the_svd_interpreter_takes_the_weights():
    model = build({"input": "tokens", "output": "logits"}, torch.float32)
    with torch.no_grad():
        vectors = SVDInterpreter(model).get_singular_vectors("OV", layer_index=0, num_vectors=2, head_index=1)
    assert vectors.shape[0] == 5
    assert torch.isfinite(vectors).all()


def test_head_detection_finds_a_planted_previous_token_head():
    model = build({"input": "tokens", "output": "logits", "positions": "none", "norm": "none"}, torch.float32)
    hook = ("blocks.0.attn.hook_pattern", _attend_to_previous)
    with model.hooks(fwd_hooks=[hook]):
        scores = detect_head(model, prompt(model, n_batch=1)[:, :5], "previous_token_head", exclude_bos=True)
    assert scores[0, 1] > scores[0, 0]


def _attend_to_previous(pattern, hook):
    planted = torch.zeros_like(pattern[:, 1])
    planted[:, 0, 0] = 1.0
    planted[:, torch.arange(1, planted.shape[1]), torch.arange(planted.shape[1] - 1)] = 1.0
    return torch.stack([pattern[:, 0], planted], 1)
