"""The CUDA graph of an update, against the same update line by line, on a machine that has a device for it.

Capture is tested without the compiler for every kind of model, and with it for two: compiling takes a while.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers import tiny_config, tiny_run
from tests.training.kinds import KINDS, config_of
from tests.training.processes import commands
from tests.training.test_distributed import trained_together
from tests.training.test_loop import ask_to_stop, assert_same_run, at_step, without_seconds
from workbench.training.config import RunConfig
from workbench.training.distributed import World
from workbench.training.engines import graph, start
from workbench.training.gradients import Autograd
from workbench.training.loop import train, train_together
from workbench.training.program import Program
from workbench.training.written import Written

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
N_STEPS = 12


def on_cuda(shape: dict[str, Any] | None = None, **train_settings: Any) -> RunConfig:
    base = tiny_config(device="cuda", **train_settings)
    model = replace(base.model, **{"d_model": 32, "n_heads": 2, **(shape or {})})
    return replace(base, model=model)


def losses(program: Program, advance: Any) -> list[float]:
    found = []
    for _ in range(N_STEPS):
        advance()
        found.append(program.losses[0].item())
    return found


def captured(config: RunConfig, n_replicas: int = 1) -> list[float]:
    configs = [replace(config, train=replace(config.train, seed=seed)) for seed in range(n_replicas)]
    program = Program(configs)
    return losses(program, graph.prepare(program))


def eager(config: RunConfig, n_replicas: int = 1) -> list[float]:
    configs = [replace(config, train=replace(config.train, seed=seed)) for seed in range(n_replicas)]
    program = Program(configs)
    return losses(program, program.update)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_replicas", [1, 2])
def test_every_kind_of_model_trains_in_a_graph_as_line_by_line(kind: str, n_replicas: int):
    config = config_of(kind, d_model=32, device="cuda")
    assert captured(config, n_replicas) == pytest.approx(eager(config, n_replicas), rel=1e-4)


@pytest.mark.parametrize(
    "task", [{"covariance": "condition"}, {"weights": "sparse", "n_nonzero": 1}, {"weights": "pool"}]
)
def test_every_law_of_prompts_is_sampled_in_the_graph(task: dict[str, Any]):
    config = on_cuda()
    config = replace(config, task=replace(config.task, **task))
    assert captured(config) == pytest.approx(eager(config), rel=1e-4)


@pytest.mark.parametrize("shape", [{}, {"norm": "rms_norm"}], ids=["written out", "differentiated"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "muon"])
def test_the_compiled_graph_has_the_loss_curve_of_the_eager_engine(shape: dict[str, Any], optimizer: str):
    curriculum = {"d_start": 1, "d_every": 3, "n_start": 2, "n_every": 4, "n_add": 1}
    config = on_cuda(shape, optimizer=optimizer, clip_norm=1.0, schedule="cosine", warmup_steps=3, **curriculum)
    started = start([config])
    assert started.engine == "graph"
    assert isinstance(started.program._differentiate, Autograd if shape else Written)
    assert losses(started.program, started.advance) == pytest.approx(eager(config), rel=1e-4)


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_a_run_that_was_stopped_goes_on_bit_by_bit(tmp_path: Path, precision: str):
    config = on_cuda(precision=precision, log_every=1)
    whole, again = (tiny_run(tmp_path, name, config) for name in ("whole", "again"))
    assert train(whole) == "finished"
    assert train(again, at_step(5, ask_to_stop)) == "stopped"
    assert train(again) == "finished"
    assert_same_run(whole, again)
    assert whole.train_state()["engine"] == "graph"


def test_models_of_an_ensemble_are_those_trained_alone(tmp_path: Path):
    configs = [on_cuda(seed=seed, lr=1e-3 * (seed + 1)) for seed in range(3)]
    together = [tiny_run(tmp_path, f"together-{i}", config) for i, config in enumerate(configs)]
    assert train_together(together) == ["finished"] * 3
    for i, config in enumerate(configs):
        alone = tiny_run(tmp_path, f"alone-{i}", config)
        train(alone)
        for one, other in zip(without_seconds(alone.metrics()), without_seconds(together[i].metrics()), strict=True):
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_further_programs_take_no_workspace_of_their_own():
    programs = [Program([on_cuda()]) for _ in range(4)]
    kept = [graph.prepare(programs[0])]
    before = torch.cuda.memory_allocated()
    kept += [graph.prepare(program) for program in programs[1:]]
    assert torch.cuda.memory_allocated() - before < 2**24, "a workspace of cuBLAS is 33 MB at least"


def test_graphs_of_several_processes_are_freed_when_they_part(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(World, "sum", lambda self, tensor: tensor)
    monkeypatch.setattr(World, "said", lambda self, what: [what] * self.size)
    freed: list[Any] = []
    monkeypatch.setattr(torch.cuda.CUDAGraph, "reset", lambda self: freed.append(self))
    alone, world = (Program([on_cuda()], world=each) for each in (World(), World(0, 2, 2)))
    for program in (alone, world):
        graph.prepare(program)
        program.world.leaving.close()
    assert len(freed) == 2, "the update and the yardstick"


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_processes_train_in_a_graph_as_one_does(tmp_path: Path):
    alone, together = (tiny_run(tmp_path, name, on_cuda(engine="graph", log_every=1)) for name in ("alone", "together"))
    with commands() as outside:
        trained_together(outside, together)
    assert train(alone) == "finished"
    assert together.train_state()["engine"] == "graph"
    for one, other in zip(alone.metrics(), together.metrics(), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)


def test_where_a_capture_is_impossible_the_eager_engine_says_why(monkeypatch: pytest.MonkeyPatch):
    drawn = Program._drawn

    def synchronising(self: Program, step: torch.Tensor) -> Any:
        assert step.item() >= 0
        return drawn(self, step)

    monkeypatch.setattr(Program, "_drawn", synchronising)
    main = torch.cuda.current_stream()
    started = start([on_cuda()])
    assert started.engine.startswith("eager (the capture failed: ")
    assert torch.cuda.current_stream() == main
    started.advance()
    assert int(started.program.step) == 1
