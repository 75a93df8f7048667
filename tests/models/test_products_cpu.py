"""Linear maps by oneDNN against torch's own."""

import pytest
import torch
from torch.nn.functional import linear as own

from workbench.models.maps import linear as build_map
from workbench.models.products_cpu import can_map, linear

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN here")


def tensors(d_in: int = 48, d_out: int = 96) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 192, d_in), (d_out, d_in), (d_out,)]
    return [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]


@needs_onednn
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(("d_in", "d_out"), [(48, 96), (96, 48)])
def test_values_gradients_and_gradients_of_gradients_are_torchs_own(d_in: int, d_out: int, with_bias: bool):
    found = []
    for function in (linear, own):
        given = tensors(d_in, d_out)
        used = given if with_bias else given[:2]
        mapped = function(*used, *([] if with_bias else [None]))
        first = torch.autograd.grad(mapped.square().mean(), used, create_graph=True)
        plain = torch.autograd.grad(function(*used, *([] if with_bias else [None])).square().mean(), used)
        second = torch.autograd.grad(sum(each.square().sum() for each in first), used)
        found.append([mapped, *first, *plain, *second])
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@needs_onednn
def test_a_map_takes_it_for_large_products_in_float32_alone(monkeypatch: pytest.MonkeyPatch):
    rows, weight, _ = tensors()
    assert can_map(rows, weight)
    assert not can_map(rows[:, :1], weight), "too small"
    assert not can_map(rows.double(), weight.double())
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not can_map(rows, weight)


def test_a_large_map_computes_what_it_does_in_float64():
    small = build_map(48, 96)
    with torch.no_grad():
        small.weight.copy_(tensors()[1])
        small.bias.copy_(tensors()[2])
    rows = tensors()[0].detach()
    expected = small.double()(rows.double())
    torch.testing.assert_close(small.float()(rows).double(), expected, rtol=0, atol=1e-4)
