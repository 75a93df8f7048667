"""Verdicts about the zoo's constructed models, whose algorithms are known, and about impostors of the same shape."""

import math

import pytest
import torch

from workbench.agreement import AgreementConfig, study
from workbench.agreement.record import Verdict
from workbench.models.transformer import Transformer
from workbench.zoo import RECIPES, constructing

FEW = AgreementConfig(n_fit=512, n_prompts=48, n_verdict=48, n_resamples=50)
NAMED = {
    "constructed-gd-5": "gd",
    "constructed-gd-plus-plus-5": "gd_plus_plus",
    "constructed-newton-8": "newton",
    "constructed-softmax-kernel": "softmax_kernel",
    "constructed-gaussian-kernel": "nadaraya_watson",
    "constructed-nearest-neighbor": "knn",
}
STANDS = {
    "constructed-gd-5": (1, 2, 3, 4, 5),
    "constructed-gd-plus-plus-5": (1, 2, 3, 4, 5),
    "constructed-newton-8": range(9),
    "constructed-softmax-kernel": (1.0,),
    "constructed-gaussian-kernel": (1.0,),
    "constructed-nearest-neighbor": (1,),
}
"""Steps of the layers that speak, the kernels' scale and bandwidth, the number of neighbours."""
NO_PATH = ("constructed-preconditioned-gd-5", "constructed-debiased-gd-1")
"""Of algorithms that layers are not compared with."""


def weigh(model: Transformer, name: str) -> Verdict:
    """What is said of a model on the prompts of a constructed one."""
    control = random_model(model, 0)
    return study(model, control, constructing.task_of(RECIPES[name]), FEW).raw.verdict


def random_model(model: Transformer, seed: int) -> Transformer:
    """One of the same shape, its weights half as large as drawn: deep ones would overflow."""
    found = Transformer(model.config, torch.Generator().manual_seed(seed)).to(model.unembed.weight.dtype)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter *= 0.5
    return found


def misfits(verdict: Verdict) -> dict[str, float]:
    return {name: sum(near.misfits) / len(near.misfits) for name, near in verdict.nearness.items()}


@pytest.mark.parametrize("name", NAMED)
def test_the_algorithm_that_was_written_down_is_named_at_its_steps(name):
    verdict = weigh(constructing.build(RECIPES[name]), name)
    assert verdict.algorithm == NAMED[name]
    found, near = misfits(verdict), verdict.nearness[NAMED[name]]
    assert min(found, key=lambda each: found[each]) == NAMED[name]
    assert found[NAMED[name]] < 0.002
    within = 0.6 if name == "constructed-newton-8" else 0.1  # its start makes up for half a step
    assert near.values == pytest.approx(STANDS[name], abs=within)


def test_it_is_named_in_float32_too():
    name = "constructed-gaussian-kernel"
    assert weigh(constructing.build(RECIPES[name]).float(), name).algorithm == NAMED[name]


@pytest.mark.parametrize("name", NO_PATH)
def test_an_algorithm_without_a_path_is_called_by_no_other_name(name):
    verdict = weigh(constructing.build(RECIPES[name]), name)
    assert verdict.algorithm is None
    assert min(misfits(verdict).values()) > 0.05


def test_one_step_alone_tells_no_two_methods_of_gradients_apart():
    verdict = weigh(constructing.build(RECIPES["constructed-gd-from-copies"]), "constructed-gd-from-copies")
    assert verdict.algorithm is None
    assert "Gradient descent" in str(verdict.reason)
    assert "GD++" in str(verdict.reason)
    assert misfits(verdict)["gd"] == pytest.approx(misfits(verdict)["gd_plus_plus"], rel=1e-6)
    assert next(iter(verdict.nearness)) == "gd"
    same = {name for name, near in verdict.nearness.items() if near.lean is None}
    assert same == {"momentum", "nesterov", "gd_plus_plus"}
    assert "What would tell" not in str(verdict.reason)


@pytest.mark.parametrize("name", ["constructed-newton-8", "constructed-softmax-kernel"])
def test_one_whose_queries_are_turned_by_45_degrees_is_not_named(name):
    """It speaks, and runs no algorithm that is known."""
    model, angle = constructing.build(RECIPES[name]), math.radians(45)
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]], dtype=torch.float64)
    with torch.no_grad():
        for block in model.layers:
            for head in range(model.config.n_heads):
                queries = block.attn.W_Q[head]
                queries[:, :4] = queries[:, :4] @ torch.block_diag(turn, turn)
    verdict = weigh(model, name)
    assert verdict.algorithm is None
    assert verdict.nearness, "it says nothing"


def test_one_whose_own_weights_are_shuffled_is_not_named():
    name, generator = "constructed-gd-5", torch.Generator().manual_seed(1)
    model = constructing.build(RECIPES[name])
    with torch.no_grad():
        for parameter in model.parameters():
            order = torch.randperm(parameter.numel(), generator=generator)
            parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
    assert weigh(model, name).algorithm is None
