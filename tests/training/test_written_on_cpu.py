"""Both passes written out for a CPU core, against automatic differentiation of the model that users hook."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.helpers import tiny_config
from tests.training.shapes import PLAIN_SHAPES
from workbench.models.config import TransformerConfig
from workbench.models.fused_cpu import MOST_POSITIONS
from workbench.tasks import LinearRegression
from workbench.tasks.repeated_tokens import RepeatedTokens
from workbench.training.building import build_model
from workbench.training.config import RunConfig, TrainConfig, preset_config
from workbench.training.gradients import Bound, Sharded
from workbench.training.program import Program
from workbench.training.written import on_cpu, passes_cpu

SHAPES: dict[str, dict[str, Any]] = {**PLAIN_SHAPES, "mean and variance": {"output": "mean_variance"}}


def config_of(shape: dict[str, Any], **train: Any) -> RunConfig:
    base = tiny_config(**{"n_batch": 5, **train})
    return replace(base, model=replace(base.model, **{"d_mlp": 20, **shape}))


def both(config: RunConfig) -> tuple[Any, Any]:
    """Losses and gradients, differentiated and written out, away from the special initial weights."""
    program = Program([config])
    for part in program.weights:
        part.add_(torch.randn(part.shape, generator=torch.Generator().manual_seed(1), dtype=part.dtype), alpha=0.1)
    program.update()
    found = []
    for kind in (Bound, on_cpu.OnCpu):
        gradients = kind(build_model(config), program.layout, program.weights)
        gradients(program.weights, tuple(part.flip(1) for part in program.parts))  # what it leaves is overwritten
        found.append(gradients(program.weights, program.parts))
    return tuple(found)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_losses_and_gradients_are_those_of_automatic_differentiation(shape: dict[str, Any]):
    automatic, written = both(config_of(shape, precision="float64"))
    torch.testing.assert_close(written, automatic, rtol=1e-12, atol=1e-14)
    assert all(part.abs().max() > 1e-3 for part in automatic[1])


@pytest.mark.parametrize("n_batch", [8, 64])
def test_they_are_the_same_bit_by_bit_with_torchs_products_and_with_those_of_onednn(n_batch: int):
    assert_equal_bits(n_batch)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="TorchScript is not for this Python")
def test_torchscript_runs_both_passes_to_the_same_bits():
    """In a program of its own: it may not read functions through the run-time shape checks."""
    subprocess.run([sys.executable, "-m", "tests.training.test_written_on_cpu"], check=True)


def assert_equal_bits(n_batch: int) -> None:
    config = preset_config("linear_regression", "demo").resolved()
    automatic, written = both(replace(config, train=replace(config.train, n_batch=n_batch)))
    for one, other in zip((automatic[0], *automatic[1]), (written[0], *written[1]), strict=True):
        assert torch.equal(one, other)


def test_without_torchscript_python_runs_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(torch.jit, "script")
    assert passes_cpu.scripted_if_possible.__wrapped__() is passes_cpu.LINE_BY_LINE


def test_tokens_are_read_and_predicted_as_well():
    task = RepeatedTokens(n_tokens=5, n_positions=12, min_block=3, max_block=5)
    model = TransformerConfig(n_layers=2, d_model=8, n_heads=2)
    automatic, written = both(RunConfig(task, model, TrainConfig(n_batch=4, precision="float64")).resolved())
    torch.testing.assert_close(written, automatic, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_plain_models_take_it_line_by_line(n_threads: int):
    program = Program([config_of({})], n_threads=n_threads)
    found = program._differentiate
    workers = found.workers if isinstance(found, Sharded) else [found]
    assert len(workers) == n_threads
    assert all(isinstance(worker, on_cpu.OnCpu) for worker in workers)
    program.update()
    assert int(program.step) == 1


@pytest.mark.parametrize(
    ("shape", "train"), [({"norm": "rms_norm"}, {}), ({"bias": False}, {}), ({}, {"device": "cuda"})]
)
def test_others_do_not(shape: dict[str, Any], train: dict[str, Any]):
    assert on_cpu.fits(config_of({}))
    assert not on_cpu.fits(config_of(shape, **train))


def test_long_prompts_do_not():
    model, most = TransformerConfig(n_layers=2, d_model=8, n_heads=2), MOST_POSITIONS // 2
    tasks = [LinearRegression(d_input=2, n_context=n) for n in (most, most + 1)]
    assert [on_cpu.fits(RunConfig(task, model, TrainConfig()).resolved()) for task in tasks] == [True, False]


if __name__ == "__main__":
    assert passes_cpu.scripted_if_possible().scripted
    for n_batch in (8, 64):
        for _ in range(3):  # it may change its mind about shapes
            assert_equal_bits(n_batch)
