"""Positions against their definitions: biases on scores by hand and by transformers' T5, codes beside the input."""

import pytest
import torch
from torch.nn import functional as F
from transformers.models.t5.modeling_t5 import T5Attention

from tests.contracts.test_models import build, prompt
from workbench.errors import InputError
from workbench.models import TransformerConfig
from workbench.models.kinds.positions import alibi_slopes, t5_buckets


def bias_of(switches: dict) -> torch.Tensor:
    """What positions add to the scores of layer 0: scores minus scaled q . k."""
    model = build(switches)
    _, cache = model.run_with_cache(prompt(model))
    similarity = torch.einsum("bqhd,bkhd->bhqk", cache["q", 0], cache["k", 0]) / 2.0
    return (cache["attn_scores", 0] - similarity)[0]


def test_alibi_slopes_are_the_published_ones():
    assert alibi_slopes(8) == [2.0**-h for h in range(1, 9)]
    assert alibi_slopes(1) == [2.0**-8]
    odd_of_sixteen = [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]
    assert alibi_slopes(12) == pytest.approx([2.0**-h for h in range(1, 9)] + odd_of_sixteen)
    assert alibi_slopes(3) == pytest.approx([2.0**-4, 2.0**-8, 2.0**-2])


def test_alibi_lowers_scores_by_slope_times_distance():
    bias = bias_of({"positions": "alibi"})
    assert bias[:, 5, 5].tolist() == pytest.approx([0.0, 0.0], abs=1e-12)
    assert bias[:, 5, 2].tolist() == pytest.approx([-3 / 16, -3 / 256])
    assert bias[:, 2, 5].tolist() == [-torch.inf, -torch.inf]
    both_ways = bias_of({"positions": "alibi", "causal": False})
    assert both_ways[:, 1, 4].tolist() == pytest.approx([-3 / 16, -3 / 256])


def test_a_query_of_the_pairs_layout_stands_where_its_example_would():
    bias = bias_of({"positions": "alibi", "layout": "pairs"})
    assert bias[0, 4, 1].item() == bias[0, 5, 1].item() == pytest.approx(-2 / 16)


@pytest.mark.parametrize("causal", [True, False])
def test_t5_buckets_are_those_of_transformers(causal):
    distances = torch.arange(-300, 301)[None]
    expected = T5Attention._relative_position_bucket(-distances, bidirectional=not causal)
    assert t5_buckets(distances, causal).equal(expected)


def test_the_t5_table_is_looked_up_by_bucket_and_shared_by_all_layers():
    switches = {"positions": "t5"}
    table = build(switches).tl_parameters()["rel_pos_bias.weight"]
    bias = bias_of(switches)
    for distance in range(6):
        assert bias[:, 5, 5 - distance].tolist() == pytest.approx(table[distance].tolist(), abs=1e-12)
    assert sum(name.endswith("score_bias.weight") for name, _ in build(switches).named_parameters()) == 1


@pytest.mark.parametrize("positions", ["alibi", "t5"])
def test_a_bias_goes_through_fused_attention_where_nobody_watches(positions, monkeypatch):
    model, masks = build({"positions": positions}), []
    fused = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda *t, **o: masks.append(o["attn_mask"]) or fused(*t, **o)
    )
    model(prompt(model))
    assert [mask.dtype for mask in masks] == [torch.float64, torch.float64]


@pytest.mark.parametrize("positions", ["alibi", "t5", "concatenated"])
def test_shorter_prompts_have_the_same_positions(positions):
    model = build({"positions": positions})
    data = prompt(model)
    torch.testing.assert_close(model(data[:, :4]), model(data)[:, :4], rtol=0, atol=1e-12)


def test_concatenated_positions_are_one_hot_beside_the_input():
    model = build({"positions": "concatenated"})
    data = prompt(model)
    _, cache = model.run_with_cache(data)
    expected = data @ model.W_E[: model.d_token] + model.W_E[model.d_token :] + model.embed.bias
    torch.testing.assert_close(cache["hook_embed"], expected)
    assert model.W_E.shape == (model.d_token + model.n_ctx, 8)


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        (
            {"positions": "alibi", "attention": "delta"},
            "positions must add nothing to the scores with attention 'delta'",
        ),
        ({"positions": "concatenated", "input": "tokens"}, "input must be 'continuous' with positions 'concatenated'"),
        ({"positions": "alabi"}, "Unknown positions 'alabi'. Did you mean 'alibi'"),
    ],
)
def test_positions_that_cannot_be_are_refused_in_one_line(switches, message):
    with pytest.raises(InputError, match=message) as error:
        TransformerConfig(**switches)
    assert "\n" not in str(error.value)
