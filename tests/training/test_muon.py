"""Muon against torch.optim.Muon, and where it finds the matrices that it is for."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers import tiny_config
from workbench.training.building import build_model
from workbench.training.config import RunConfig
from workbench.training.flat import FlatLayout, flat_layout
from workbench.training.optimizers import OPTIMIZERS, Settings, hidden_of
from workbench.training.optimizers.muon import orthogonal
from workbench.training.program import Program

MODELS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tied": {"tied_layers": True},
    "gated": {"mlp": "swiglu", "attention_gate": True},
    "delta": {"attention": "delta", "d_mlp": 5},
    "sink": {"sink": "key_value", "bias": False},
}


def layout_of(**shape: Any) -> FlatLayout:
    return flat_layout(build_model(shaped(**shape)))


def shaped(**shape: Any) -> RunConfig:
    base = tiny_config()
    return replace(base, model=replace(base.model, **shape))


def hidden_names(layout: FlatLayout) -> set[str]:
    ends = ("qkv.weight", "attn.out.weight", "mlp.inner.weight", "mlp.out.weight", "mlp.gate.weight")
    return {name for name in layout.shapes if name.endswith(ends)}


def column(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


class Reference:
    """Torch's own rules on the weights of one replica, named ones apart."""

    def __init__(self, weights: Mapping[str, Tensor], hidden: set[str], lr: float, beta_1: float, decay: float) -> None:
        self.parts = {
            name: [torch.nn.Parameter(part.clone()) for part in weight.chunk(3 if name.endswith("qkv.weight") else 1)]
            for name, weight in weights.items()
        }
        mine = [part for name in hidden for part in self.parts[name]]
        others = [part for name in weights if name not in hidden for part in self.parts[name]]
        shared = {"lr": lr, "weight_decay": decay}
        self.rules = [
            torch.optim.Muon(mine, momentum=beta_1, adjust_lr_fn="match_rms_adamw", **shared),
            torch.optim.AdamW(others, betas=(beta_1, 0.99), **shared),
        ]

    def step(self, gradients: Mapping[str, Tensor]) -> None:
        for name, parts in self.parts.items():
            for part, gradient in zip(parts, gradients[name].chunk(len(parts)), strict=True):
                part.grad = gradient.clone()
        for rule in self.rules:
            rule.step()

    def weight(self, name: str) -> Tensor:
        return torch.cat([part.detach() for part in self.parts[name]])


@pytest.mark.parametrize("shape", MODELS.values(), ids=MODELS)
def test_hidden_matrices_go_by_torch_s_muon_and_all_else_by_its_adamw(
    shape: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)  # torch rounds; here both stay in float64
    layout, generator = layout_of(**shape), torch.Generator().manual_seed(0)
    weights = torch.randn(2, layout.n_maps, generator=generator, dtype=torch.float64)
    kept = {key: torch.zeros_like(weights) for key in OPTIMIZERS["muon"].keeps}
    own = {"lr": [0.01, 0.003], "beta_1": [0.95, 0.8], "decay": [0.1, 0.0]}
    nothing, rest = torch.zeros(2, dtype=torch.float64), torch.zeros(layout.length - layout.n_maps).double()
    settings = Settings(
        column(own["lr"]),
        column(own["beta_1"]),
        column([0.99] * 2),
        column(own["decay"]),
        nothing[:, None],
        hidden_of(layout, torch.float64),
    )

    def named(row: Tensor) -> dict[str, Tensor]:
        return {
            name: part
            for name, part in layout.split(row, rest).items()
            if name.startswith("blocks.") and layout.starts[name] < layout.n_maps
        }

    references = [
        Reference(named(row), hidden_names(layout), *numbers)
        for row, numbers in zip(weights, zip(*own.values(), strict=True), strict=True)
    ]
    for number in range(1, 6):
        gradient = torch.randn(weights.shape, generator=generator, dtype=torch.float64)
        OPTIMIZERS["muon"].apply(weights, gradient, kept, settings, torch.tensor(number))
        for row, d_row, reference in zip(weights, gradient, references, strict=True):
            reference.step(named(d_row))
            for name, weight in named(row).items():
                torch.testing.assert_close(weight, reference.weight(name), rtol=1e-11, atol=1e-13)


def test_singular_vectors_stay_and_singular_values_come_near_1():
    matrices = torch.randn(3, 6, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    left, values, right = torch.linalg.svd(orthogonal(matrices, torch.float64), full_matrices=False)
    assert values.min() > 0.6
    assert values.max() < 1.25
    exact = torch.linalg.svd(matrices, full_matrices=False)
    torch.testing.assert_close(left @ right, exact.U @ exact.Vh, rtol=0, atol=1e-9)
    rounded = orthogonal(matrices, torch.bfloat16)
    assert rounded.dtype == torch.float64
    torch.testing.assert_close(rounded, orthogonal(matrices, torch.float64), rtol=0, atol=0.05)


def test_a_matrix_without_gradient_stays():
    assert orthogonal(torch.zeros(1, 2, 3), torch.float32).abs().max() == 0


def test_a_step_of_a_hidden_matrix_is_as_long_as_one_of_adam():
    lengths = {}
    for optimizer in ("adam", "muon"):
        program = Program([tiny_config(optimizer=optimizer, lr=1e-2)])
        before = {name: weight.clone() for name, weight in program.weights_of(0).items()}
        program.update()
        after = program.weights_of(0)
        names = hidden_names(program.layout)
        lengths[optimizer] = torch.stack([(after[name] - before[name]).square().mean().sqrt() for name in names])
    torch.testing.assert_close(lengths["adam"], torch.full_like(lengths["adam"], 1e-2), rtol=0.05, atol=0)
    assert (lengths["muon"] < 0.4e-2).all(), "a fifth of it: that of Adam after its first steps"
    assert (lengths["muon"] > 0.05e-2).all()
