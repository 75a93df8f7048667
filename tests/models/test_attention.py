"""Attention kinds, gate and sinks against their definitions, written out with the weights under their lens names."""

import math

import pytest
import torch
from torch.func import functional_call

from tests.contracts.test_models import build, prompt
from workbench.errors import InputError
from workbench.models import Transformer, TransformerConfig
from workbench.models.kinds.attention import ATTENTIONS, clipped_softmax


def seen_and_cached(model):
    """What attention of block 0 reads, and the cache."""
    _, cache = model.run_with_cache(prompt(model))
    return cache["blocks.0.ln1.hook_normalized"], cache


def scores_and_visible(n: int = 6):
    scores = torch.randn(2, 3, n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return scores, torch.ones(n, n, dtype=torch.bool).tril()


def test_softmax_plus_one_adds_one_to_the_denominator():
    scores, visible = scores_and_visible()
    exponentials = scores.exp() * visible
    expected = exponentials / (1 + exponentials.sum(-1, keepdim=True))
    torch.testing.assert_close(ATTENTIONS["softmax_plus_one"].pattern(scores, visible), expected)


def test_clipped_softmax_reaches_zero_and_one_exactly():
    scores = torch.tensor([[[[0.0, 9.0, 0.0], [0.0, 0.0, 0.0]]]])
    visible = torch.ones(2, 3, dtype=torch.bool)
    clipped = clipped_softmax(scores, visible, gamma=-0.03, zeta=1.03)
    assert clipped[0, 0, 0].tolist() == [0.0, 1.0, 0.0]
    torch.testing.assert_close(clipped[0, 0, 1], torch.full((3,), 1.06 / 3 - 0.03))


def test_clipped_softmax_as_registered_has_gamma_minus_three_hundredths_and_zeta_one():
    scores, visible = scores_and_visible()
    softmax = ATTENTIONS["softmax"].pattern(scores, visible)
    expected = (1.03 * softmax - 0.03).clamp(min=0) * visible
    torch.testing.assert_close(ATTENTIONS["clipped_softmax"].pattern(scores, visible), expected)


def test_sigmoid_attention_counts_the_visible_keys():
    scores, visible = scores_and_visible()
    n = torch.arange(1, 7, dtype=torch.float64)[:, None]
    expected = 1 / (1 + n * (-scores).exp()) * visible
    pattern = ATTENTIONS["sigmoid"].pattern(scores, visible)
    torch.testing.assert_close(pattern, expected)
    level = ATTENTIONS["sigmoid"].pattern(torch.zeros_like(scores), visible)
    torch.testing.assert_close(level[0, 0, 3, :4], torch.full((4,), 0.2, dtype=torch.float64))


@pytest.mark.parametrize(("layout", "query_in_keys"), [("interleaved", True), ("pairs", True), ("pairs", False)])
@pytest.mark.parametrize("positions", ["none", "rotary"])
def test_delta_attention_is_the_recurrence_of_the_delta_rule(layout, query_in_keys, positions):
    model = build({"attention": "delta", "layout": layout, "query_in_keys": query_in_keys, "positions": positions})
    _, cache = seen_and_cached(model)
    turned = "rot_" if positions == "rotary" else ""
    q, k, v = (cache[f"blocks.0.attn.hook_{name}"] for name in (f"{turned}q", f"{turned}k", "v"))
    if positions == "none":
        k = k / k.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(k.norm(dim=-1), torch.ones_like(k[..., 0]))
    strengths = cache["blocks.0.attn.hook_strength"]
    for query in range(6):
        state = torch.zeros(2, 2, 4, 4, dtype=torch.float64)  # batch head value key
        for t in range(query + 1):
            if not model.visible[query, t]:
                continue
            told = torch.einsum("bhvk,bhk->bhv", state, k[:, t])
            error = (v[:, t] - told) * strengths[:, t, :, None]
            state = state + torch.einsum("bhv,bhk->bhvk", error, k[:, t])
        expected = torch.einsum("bhvk,bhk->bhv", state, q[:, query]) / math.sqrt(4)
        torch.testing.assert_close(cache["z", 0][:, query], expected, rtol=0, atol=1e-12)


def test_delta_strengths_are_a_sigmoid_of_what_attention_reads():
    model = build({"attention": "delta"})
    read, cache = seen_and_cached(model)
    weights = model.tl_parameters()
    expected = (read @ weights["blocks.0.attn.W_strength"] + weights["blocks.0.attn.b_strength"]).sigmoid()
    torch.testing.assert_close(cache["blocks.0.attn.hook_strength"], expected)


@pytest.mark.parametrize("attention", ["softmax", "linear", "delta"])
def test_a_gate_multiplies_the_output_of_its_head_at_its_token(attention):
    gated = build({"attention": attention, "attention_gate": True})
    data = prompt(gated)
    read, cache = seen_and_cached(gated)
    weights = gated.tl_parameters()
    expected = (read @ weights["blocks.0.attn.W_gate"] + weights["blocks.0.attn.b_gate"]).sigmoid()
    torch.testing.assert_close(cache["blocks.0.attn.hook_gate"], expected)
    mixed = torch.einsum("bhqk,bkhd->bqhd", cache["pattern", 0], cache["v", 0])
    torch.testing.assert_close(cache["z", 0], mixed * expected[..., None])
    hook = ("blocks.0.attn.hook_gate", lambda gate, hook: gate * torch.tensor([1.0, 0.0]))
    with gated.hooks(fwd_hooks=[hook]):
        _, ablated = gated.run_with_cache(data)
    assert (ablated["z", 0][:, :, 1] == 0).all()
    assert (ablated["z", 0][:, :, 0] == cache["z", 0][:, :, 0]).all()


def test_a_sink_with_value_is_one_more_token_that_all_queries_see():
    model = build({"sink": "key_value"})
    _, cache = seen_and_cached(model)
    q, k, v, pattern = (cache[name, 0] for name in ("q", "k", "v", "pattern"))
    sink = model.blocks[0].attn.sink
    keys = torch.cat([k, sink.key.expand(2, 1, 2, 4)], 1)
    values = torch.cat([v, sink.value.expand(2, 1, 2, 4)], 1)
    visible = torch.cat([model.visible, torch.ones(6, 1, dtype=torch.bool)], 1)
    scores = torch.einsum("bqhd,bkhd->bhqk", q, keys) / 2.0
    weights = scores.masked_fill(~visible, -math.inf).softmax(-1)
    torch.testing.assert_close(pattern, weights[..., :-1])
    torch.testing.assert_close(cache["blocks.0.attn.sink.hook_share"], 1 - pattern.sum(-1))
    torch.testing.assert_close(cache["z", 0], torch.einsum("bhqk,bkhd->bqhd", weights, values))


def test_a_sink_without_value_starts_as_softmax_plus_one_and_can_take_all():
    config = {"d_model": 8, "n_heads": 2, "n_layers": 1, "d_input": 2, "n_context": 3}
    sunk = Transformer(TransformerConfig(sink="logit", **config)).double()
    off_by_one = Transformer(TransformerConfig(attention="softmax_plus_one", **config)).double()
    data = prompt(sunk)
    torch.testing.assert_close(sunk(data), off_by_one(data), rtol=0, atol=1e-12)
    high = {"blocks.0.attn.sink.logit": torch.full((2,), 1e3, dtype=torch.float64)}
    silent = sunk.run_with_hooks(data, fwd_hooks=[("blocks.0.attn.hook_z", lambda z, hook: z * 0)])
    torch.testing.assert_close(functional_call(sunk, high, (data,)), silent)


def test_a_query_that_sees_nothing_but_the_sink_attends_to_it():
    model = build({"sink": "key_value", "layout": "pairs", "query_in_keys": False})
    _, cache = seen_and_cached(model)
    assert (cache["pattern", 0][:, :, 0] == 0).all()
    assert (cache["blocks.0.attn.sink.hook_share"][:, :, 0] == 1).all()


def test_the_pattern_of_a_model_with_sink_is_no_distribution():
    assert build({}).blocks[0].attn.sums_to_one
    assert not build({"sink": "logit"}).blocks[0].attn.sums_to_one


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"attention": "delta", "causal": False}, "causal must be true with attention 'delta', which writes in order"),
        ({"attention": "delta", "sink": "key_value"}, "sink must be 'none' with attention 'delta'; got 'key_value'"),
        ({"attention": "sigmoid", "sink": "logit"}, "sink must be 'none' or 'key_value' with attention 'sigmoid'"),
        ({"attention": "linear", "sink": "logit"}, "whose keys take no weight from each other; got 'logit'"),
        ({"sink": "logits"}, "Unknown sink 'logits'. Did you mean 'logit'"),
    ],
)
def test_attention_that_cannot_be_is_refused_in_one_line(switches, message):
    with pytest.raises(InputError, match=message) as error:
        TransformerConfig(**switches)
    assert "\n" not in str(error.value)
