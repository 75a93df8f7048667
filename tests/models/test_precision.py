"""Block maps in bfloat16 beside a float32 stream; the compiled and the replicated model."""

import pytest
import torch

from tests.contracts.test_models import build, prompt
from workbench.models.maps import Map, linear


def with_bfloat16_blocks(switches: dict):
    model = build(switches, torch.float32)
    for block in model.blocks:
        for module in block.modules():
            if isinstance(module, Map):
                module.to(torch.bfloat16)
    return model


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"norm": "rms_norm", "positions": "rotary"},
        {"attention": "linear", "mlp": "relu", "positions": "t5"},
        {"attention": "delta", "mlp": "swiglu"},
        {"attention_gate": True, "sink": "key_value", "positions": "alibi"},
        {"attention": "clipped_softmax", "sink": "logit", "input_injection": True},
    ],
    ids=str,
)
def test_block_maps_in_bfloat16_leave_stream_and_output_in_float32(switches):
    whole, mixed = build(switches, torch.float32), with_bfloat16_blocks(switches)
    data = prompt(whole)
    output, cache = mixed.run_with_cache(data)
    assert cache["attn_out", 0].dtype == torch.bfloat16
    assert all(cache["resid_post", layer].dtype == torch.float32 for layer in (0, 1))
    assert output.dtype == torch.float32
    expected = whole(data)
    for got in (output, mixed(data)):
        torch.testing.assert_close(got, expected, rtol=1e-2, atol=1e-2 * expected.abs().max().item())
    mixed(data).square().sum().backward()
    assert mixed.blocks[0].attn.qkv.weight.grad.dtype == torch.bfloat16
    assert all(torch.isfinite(parameter.grad).all() for parameter in mixed.parameters())


def test_a_map_takes_its_input_into_its_own_precision():
    doubles = linear(2, 3).double()
    assert doubles(torch.ones(4, 2)).dtype == torch.float64
    assert linear(2, 3, bias=False).bias_or_zero.tolist() == [0.0, 0.0, 0.0]
