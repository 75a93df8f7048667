"""What the ensemble benchmark compares: two ways to the same numbers."""

import pytest
import torch

from tests.helpers import tiny_config
from workbench.benches import BENCHES, ensemble
from workbench.training.groups import largest_group


def test_the_plain_update_is_clipped_adam():
    weight = torch.tensor([[1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    gradient = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    settings = tiny_config().train
    optimizer = torch.optim.Adam([weight], lr=settings.lr, betas=settings.betas)
    ours, first, second = weight.detach().clone(), *torch.zeros(2, 1, 2, dtype=torch.float64)
    clipped = ensemble._clipped({"weight": gradient}, 1.0)["weight"]
    assert clipped.norm().item() == pytest.approx(1.0, rel=1e-6)  # 1e-6 beside the norm
    for number in (1, 2, 3):
        weight.grad = clipped * number
        optimizer.step()
        ensemble._adam(ours, clipped * number, first, second, settings, number)
    torch.testing.assert_close(ours, weight.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [1, 3])
def test_plain_models_learn(n: int, monkeypatch: pytest.MonkeyPatch):
    losses: list[float] = []
    real = ensemble._clipped

    def listen(gradients: dict[str, torch.Tensor], most: float) -> dict[str, torch.Tensor]:
        losses.append(sum(gradient.square().sum().item() for gradient in gradients.values()))
        return real(gradients, most)

    monkeypatch.setattr(ensemble, "_clipped", listen)
    step = ensemble._plain([tiny_config(seed=seed) for seed in range(n)])
    for _ in range(3):
        step()
    assert len(set(losses)) == 3, "fresh prompts and changed weights"


def test_on_a_cpu_one_shape_is_trained_together_and_the_other_is_not():
    sizes = [
        largest_group([ensemble._config(shape, 0, "cpu", "float32")]) for shape in (ensemble._TINY, ensemble._USUAL)
    ]
    assert sizes == [8, 1]


@pytest.mark.slow
def test_the_table_has_a_row_for_each_comparison(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ensemble, "_ROUNDS", 2)
    monkeypatch.setattr(ensemble, "_ROUND_MS", 100.0)
    notes: list[str] = []
    rows = BENCHES["ensemble"].run(notes.append)
    assert len(rows) == 8
    assert all(row.ours_ms > 0 and row.reference_ms > 0 for row in rows)
