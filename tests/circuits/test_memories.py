"""Memories of the induction circuit, on one typed by hand."""

import pytest
import torch

from circuits.folding import fold
from circuits.memories import attended, recall
from workbench.batch import TokenBatch
from workbench.models.constructions.induction import build

N_TOKENS, N_POSITIONS = 12, 9


def test_a_circuit_typed_by_hand_recalls_all_and_each_memory_fails_alone():
    model = build(N_TOKENS, N_POSITIONS, start=0).double()
    weights, positions = fold(model), model.positions.weight

    def found(changed):
        return recall(changed, positions, (0, 0), (1, 0))

    whole = found(weights)
    assert whole.copying == whole.matching == pytest.approx(1)  # the start token, 0, ties with all and is found first
    assert whole.previous == pytest.approx(1)
    assert (whole.chance_token, whole.chance_position) == (1 / N_TOKENS, 1 / N_POSITIONS)
    for name, field, layer in (("copying", "W_O", 1), ("matching", "W_K", 1), ("previous", "W_K", 0)):
        generator = torch.Generator().manual_seed(1)
        of_layer = getattr(weights, field).clone()
        of_layer[layer] = torch.randn(of_layer[layer].shape, generator=generator, dtype=of_layer.dtype)
        spoilt = found(type(weights)(**{**vars(weights), field: of_layer}))
        assert getattr(spoilt, name) < 0.5
        assert recall(weights, positions, (0, 0), (1, 0), torch.tensor([3, 5])).matching == 1
        assert [getattr(spoilt, other) for other in ("copying", "matching", "previous") if other != name] == [1, 1]


def test_a_circuit_typed_by_hand_attends_to_what_it_needs_and_chance_is_uniform_attention():
    model = build(N_TOKENS, N_POSITIONS, start=0).double()
    tokens = torch.tensor([[0, 4, 5, 6, 4, 7, 4, 5, 8]])
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    mask[0, [4, 6, 7]] = True  # tokens 4, 4 and 5, of which all have come before
    seen = attended(model, TokenBatch(tokens, tokens, mask), (0, 0), (1, 0))
    assert seen["late"].item() == pytest.approx(1)
    assert seen["early"].item() == pytest.approx(1)
    assert seen["late_chance"].item() == pytest.approx((1 / 5 + 2 / 7 + 1 / 8) / 3)
    assert seen["early_chance"].item() == pytest.approx((1 / 3 + 1 / 4 + 1 / 6) / 3)
