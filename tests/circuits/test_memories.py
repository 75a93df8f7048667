"""Memories of the induction circuit, on one typed by hand."""

import pytest
import torch

from circuits.folding import fold
from circuits.memories import recall
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
        assert [getattr(spoilt, other) for other in ("copying", "matching", "previous") if other != name] == [1, 1]
