"""Ways to the same losses and gradients: weights cut out of the flat ones, weights that are views of them, shards."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.helpers import tiny_config
from workbench.training.building import build_model
from workbench.training.gradients import Autograd, Bound, Sharded
from workbench.training.program import Program, as_it_is
from workbench.training.written.on_cpu import OnCpu

SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "tied": {"tied_layers": True, "input_injection": True},
    "no MLP, no biases": {"mlp": "none", "bias": False, "norm": "rms_norm"},
    "linear attention, a sink": {"attention": "relu", "sink": "key_value", "positions": "rotary"},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_bound_weights_and_shards_give_the_gradients_of_cut_ones(shape: dict[str, Any]):
    base = tiny_config(n_batch=5, precision="float64")
    config = replace(base, model=replace(base.model, **shape))
    program = Program([config])
    program.update()
    maps, rest = program.weights
    cut = Autograd(build_model(config), program.layout, 1, as_it_is)
    bound = [Bound(build_model(config), program.layout, program.weights) for _ in range(3)]
    for _ in range(2):
        maps.add_(torch.randn(maps.shape, generator=torch.Generator().manual_seed(1), dtype=maps.dtype), alpha=0.1)
        rest.mul_(1.1)
        expected = cut(program.weights, program.parts)
        for differentiate in (bound[0], Sharded(bound)):
            found = differentiate(program.weights, program.parts)
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(("shape", "kind"), [({}, OnCpu), ({"norm": "rms_norm"}, Bound)])
def test_a_program_line_by_line_has_no_second_copy_of_its_weights(shape: dict[str, Any], kind: type[OnCpu | Bound]):
    base = tiny_config()
    program = Program([replace(base, model=replace(base.model, **shape))])
    assert isinstance(program._differentiate, kind)
    held = {part.untyped_storage().data_ptr() for part in program.weights}
    assert {weight.untyped_storage().data_ptr() for weight in program._differentiate.model.parameters()} == held
