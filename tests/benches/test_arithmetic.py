"""Counted operations against torch's own counter."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.helpers import tiny_config
from workbench.benches.arithmetic import update_bytes, update_flops
from workbench.training.building import build_model
from workbench.training.config import preset_config
from workbench.training.loss import mean_loss


@pytest.mark.parametrize(
    "switches",
    [{}, {"mlp": "none"}, {"mlp": "swiglu", "d_head": 6}, {"layout": "pairs"}, {"output": "mean_variance"}],
    ids=str,
)
def test_operations_of_an_update_are_those_that_torch_counts(switches: dict[str, Any]):
    base = tiny_config()
    config = replace(base, model=replace(base.model, **switches))
    model = build_model(config)
    batch = config.task.prompts(0, "train", 0, config.train.n_batch)
    with FlopCounterMode(display=False) as counter, model.exact():
        torch.autograd.grad(mean_loss(model, batch), list(model.parameters()))
    assert update_flops(config) == counter.get_total_flops()


def test_the_demo_takes_two_billion_operations_and_73_megabytes_at_least():
    demo = preset_config("linear_regression", "demo").resolved()
    assert update_flops(demo) == pytest.approx(1.9e9, rel=0.1)
    by_hand = 4 * (6 * sum(p.numel() for p in build_model(demo).parameters()) + 2 * 128 * 24 * 5 * (8 * 48 + 2 * 96))
    assert update_bytes(demo) == by_hand


def test_bf16_moves_two_bytes_inside_layers_four_of_the_stream_and_a_rounded_copy_of_the_weights():
    paper = preset_config("linear_regression", "paper").resolved()
    low = replace(paper, train=replace(paper.train, precision="bf16"))
    n_weights, n_rows = sum(p.numel() for p in build_model(paper).parameters()), 64 * 82 * 12
    assert update_bytes(paper) == 24 * n_weights + 2 * n_rows * 4 * (8 * 256 + 2 * 1024)
    assert update_bytes(low) == 28 * n_weights + 2 * n_rows * (4 * 2 * 256 + 2 * (6 * 256 + 2 * 1024))
