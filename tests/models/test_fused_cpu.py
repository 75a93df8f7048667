"""Attention straight from the packed map on the CPU, against its definition."""

import math

import pytest
import torch
from torch import Tensor

from tests.contracts.test_models import build, prompt
from workbench.models.fused_cpu import MOST_POSITIONS, attention, can_mix


def packed(n_positions: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, n_positions, 3, 2, 4, generator=generator, dtype=torch.float64, requires_grad=True)


def by_definition(qkv: Tensor, visible: Tensor, scale: float) -> Tensor:
    q, k, v = qkv.unbind(2)
    scores = scale * torch.einsum("bqhd,bkhd->bhqk", q, k)
    return torch.einsum("bhqk,bkhd->bqhd", scores.masked_fill(~visible, -math.inf).softmax(-1), v)


CAUSAL = torch.ones(6, 6, dtype=torch.bool).tril()
ALTERNATING = (CAUSAL & (torch.arange(6) % 2 == 1)) | torch.eye(6, dtype=torch.bool)


@pytest.mark.parametrize("visible", [CAUSAL, ALTERNATING, torch.ones_like(CAUSAL)], ids=["causal", "pairs", "full"])
def test_values_gradients_and_gradients_of_gradients_are_those_of_the_definition(visible):
    found = []
    for function in (attention, by_definition):
        qkv = packed()
        mixed = function(qkv, visible, 0.3)
        (first,) = torch.autograd.grad(mixed.pow(3).sum(), qkv, create_graph=True)
        (plain,) = torch.autograd.grad(function(qkv, visible, 0.3).pow(3).sum(), qkv)
        (second,) = torch.autograd.grad(first.square().sum(), qkv)
        found.append((mixed, first, plain, second))
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def test_scores_far_apart_do_not_overflow():
    qkv = 60 * packed()
    torch.testing.assert_close(attention(qkv, CAUSAL, 1.0), by_definition(qkv, CAUSAL, 1.0))
    single = qkv.float()
    torch.testing.assert_close(attention(single, CAUSAL, 1.0), by_definition(single, CAUSAL, 1.0))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_a_jacobian_over_all_outputs_is_the_explicit_one():
    model = build({})
    data = prompt(model)
    jacobian = torch.func.jacrev(lambda data: model(data)[0, :, 0])(data)
    with model.exact():
        explicit = torch.func.jacrev(lambda data: model(data)[0, :, 0])(data)
    torch.testing.assert_close(jacobian, explicit, rtol=0, atol=1e-12)


def test_it_is_for_short_sequences_in_full_precision():
    assert can_mix(packed())
    assert can_mix(packed(MOST_POSITIONS))
    assert not can_mix(packed(MOST_POSITIONS + 1))
    assert not can_mix(packed().bfloat16())
