"""Gated MLPs and looped blocks with input injection, against their formulas."""

import pytest
import torch
from torch.nn import functional as F

from tests.contracts.test_models import build, prompt
from workbench.errors import InputError
from workbench.models import TransformerConfig


def test_swiglu_is_silu_of_the_gate_times_the_linear_part():
    model = build({"mlp": "swiglu"})
    _, cache = model.run_with_cache(prompt(model))
    mlp, read = model.blocks[0].mlp, cache["blocks.0.ln2.hook_normalized"]
    gate, plain = read @ mlp.W_gate + mlp.b_gate, read @ mlp.W_in + mlp.b_in
    torch.testing.assert_close(cache["blocks.0.mlp.hook_pre"], gate)
    torch.testing.assert_close(cache["blocks.0.mlp.hook_pre_linear"], plain)
    torch.testing.assert_close(cache["blocks.0.mlp.hook_post"], F.silu(gate) * plain)
    torch.testing.assert_close(cache["mlp_out", 0], F.silu(gate) * plain @ mlp.W_out + mlp.b_out)
    assert "blocks.0.mlp.W_gate" in model.tl_parameters()
    assert model.cfg.act_fn == "silu"


def test_an_mlp_without_gate_has_no_gate_weights():
    mlp = build({}).blocks[0].mlp
    assert not hasattr(mlp, "W_gate")
    assert not hasattr(mlp, "b_gate")


@pytest.mark.parametrize("positions", ["none", "learned"])
def test_injected_blocks_read_the_embedding_beside_the_stream(positions):
    model = build({"input_injection": True, "tied_layers": True, "positions": positions})
    _, cache = model.run_with_cache(prompt(model))
    embedded = cache["resid_pre", 0]
    assert "blocks.0.hook_injected" not in cache
    torch.testing.assert_close(cache["blocks.1.hook_injected"], embedded)
    block = model.blocks[1]
    for norm, stream in ((block.ln1, cache["resid_pre", 1]), (block.ln2, cache["resid_mid", 1])):
        normalised = cache[f"{norm.name}.hook_normalized"]
        torch.testing.assert_close(normalised, norm(stream + embedded), rtol=0, atol=1e-12)


def test_the_stream_of_an_injected_model_is_the_sum_of_what_was_written():
    model = build({"input_injection": True, "tied_layers": True})
    _, cache = model.run_with_cache(prompt(model))
    written = sum(cache[name, layer] for name in ("attn_out", "mlp_out") for layer in (0, 1))
    torch.testing.assert_close(cache["resid_post", 1], cache["resid_pre", 0] + written, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TransformerConfig(n_layers=1, input_injection=True), "n_layers must be at least 2 with input_inj"),
        (
            lambda: build({"input_injection": True})(torch.zeros(2, 6, 8).double(), start_at_layer=1),
            "embedded must be given to start a model with input_injection after its first layer; got None",
        ),
        (
            lambda: build({})(torch.zeros(2, 6, 8).double(), start_at_layer=1, embedded=torch.zeros(2, 6, 8).double()),
            "embedded must be left out",
        ),
    ],
)
def test_injection_that_cannot_be_is_refused_in_one_line(make, message):
    with pytest.raises(InputError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("start", [0, -2])
def test_starting_at_the_first_layer_the_stream_is_the_embedding(start):
    model = build({"input_injection": True})
    data = prompt(model)
    torch.testing.assert_close(model(model(data, stop_at_layer=0), start_at_layer=start), model(data))
