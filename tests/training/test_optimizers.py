"""Every update rule against torch.optim, step by step in float64."""

from typing import Any

import pytest
import torch

from workbench.training.optimizers import OPTIMIZERS, Settings

CASES: list[tuple[str, Any, dict[str, Any]]] = [
    ("adam", torch.optim.Adam, {"lr": 0.01, "betas": (0.9, 0.99)}),
    ("adam", torch.optim.Adam, {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.1}),
    ("adamw", torch.optim.AdamW, {"lr": 0.01, "betas": (0.9, 0.999), "weight_decay": 0.1}),
    ("sgd", torch.optim.SGD, {"lr": 0.1}),
    ("sgd", torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
    ("muon", torch.optim.AdamW, {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.1}),
]


def column(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


@pytest.mark.parametrize(
    ("name", "reference", "settings"), CASES, ids=lambda case: getattr(case, "__name__", str(case))
)
def test_a_rule_makes_the_steps_of_torch_for_every_replica(name: str, reference: Any, settings: dict[str, Any]):
    rates = [settings["lr"], settings["lr"] / 3]
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(2, 7, generator=generator, dtype=torch.float64)
    rows = [torch.nn.Parameter(row.clone()) for row in weights]
    torch_rules = [reference([row], **{**settings, "lr": rate}) for row, rate in zip(rows, rates, strict=True)]
    rule = OPTIMIZERS[name]
    kept = {key: torch.zeros_like(weights) for key in rule.keeps}
    betas = settings.get("betas", (0.9, 0.999))
    numbers = Settings(
        lr=column(rates),
        beta_1=column([betas[0]] * 2),
        beta_2=column([betas[1]] * 2),
        weight_decay=column([settings.get("weight_decay", 0.0)] * 2),
        momentum=column([settings.get("momentum", 0.0)] * 2),
    )
    for number in range(1, 30):
        gradient = torch.randn(2, 7, generator=generator, dtype=torch.float64)
        rule.apply(weights, gradient, kept, numbers, torch.tensor(number))
        for row, torch_rule, d_row in zip(rows, torch_rules, gradient, strict=True):
            row.grad = d_row.clone()
            torch_rule.step()
    torch.testing.assert_close(weights, torch.stack([row.detach() for row in rows]), rtol=1e-12, atol=1e-14)


def test_every_rule_is_compared():
    assert {name for name, _, _ in CASES} == set(OPTIMIZERS)
