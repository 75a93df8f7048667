"""Runs opened for analysis."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.helpers import tiny_config, tiny_run
from workbench.environment import environment
from workbench.errors import InputError
from workbench.opened import Run, open_run
from workbench.runs import RunFolder
from workbench.training.building import build_model
from workbench.training.loop import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tiny_run(tmp_path_factory.mktemp("runs"))
    train(folder)
    return open_run(folder.path)


def parameters(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return dict(model.named_parameters())


def test_a_run_is_opened_by_name_or_path(run: Run):
    root = run.folder.path.parent
    assert open_run("tiny", root).folder.path == run.folder.path
    assert open_run(run.folder.path).config == run.config == tiny_config()
    assert open_run(str(run.folder.path), "elsewhere").task() == tiny_config().task


def test_a_run_that_is_not_there_is_refused_with_the_known_ones(run: Run):
    with pytest.raises(InputError, match=r"no run at .*nothing; known in .*: tiny\."):
        open_run("nothing", run.folder.path.parent)
    with pytest.raises(InputError, match="a run must lie in the runs folder"):
        open_run("../tiny", run.folder.path.parent)


@pytest.mark.parametrize("step", [None, 0, 8])
def test_the_model_has_the_weights_of_its_checkpoint_and_is_in_evaluation_mode(run: Run, step: int | None):
    model = run.model(step)
    weights = run.folder.weights(12 if step is None else step)
    assert parameters(model).keys() == weights.keys()
    assert all(torch.equal(parameter, weights[name]) for name, parameter in parameters(model).items())
    assert not model.training


def test_the_untrained_model_is_the_one_of_checkpoint_0(run: Run):
    untrained, first = parameters(run.untrained_model()), parameters(run.model(0))
    assert all(torch.equal(untrained[name], first[name]) for name in untrained)
    last = parameters(run.model())
    assert any(not torch.equal(untrained[name], last[name]) for name in untrained)
    assert not run.untrained_model().training


def test_models_of_one_run_share_nothing(run: Run):
    one, other = run.model(), run.model()
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.zero_()
    assert any(parameter.abs().sum() > 0 for parameter in other.parameters())


def test_a_checkpoint_that_is_not_there_is_refused_with_the_known_ones(run: Run):
    with pytest.raises(InputError, match=r"got 7. Known: \[0, 4, 8, 12\]"):
        run.model(7)


def test_a_model_with_double_precision_comes_back_with_it(tmp_path: Path):
    folder = tiny_run(tmp_path, n_steps=1, precision="float64")
    train(folder)
    assert {p.dtype for p in open_run(folder.path).model().parameters()} == {torch.float64}


def test_a_run_of_a_newer_version_is_refused(tmp_path: Path):
    folder = RunFolder.create(tmp_path / "newer", {**tiny_config().to_data(), "schema": "mesascope/run/2"}, {})
    with pytest.raises(InputError, match="Update mesascope to read it"):
        open_run(folder.path).task()


def test_weights_of_another_architecture_are_refused(tmp_path: Path):
    config = tiny_config()
    folder = tiny_run(tmp_path)
    wide = replace(config, model=replace(config.model, d_model=16))
    folder.save_checkpoint(1, parameters(build_model(wide)), {})
    with pytest.raises(InputError, match=r"weights must be those of the model; they differ in blocks.0.attn"):
        open_run(folder.path).model()


def test_the_environment_record_says_what_numbers_may_depend_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["mesascope", "train"])
    found = environment(3, n_threads=2)
    assert (found["schema"], found["seed"], found["command"]) == ("mesascope/env/1", 3, ["mesascope", "train"])
    assert found["versions"]["torch"] == torch.__version__
    assert found["n_threads"] == 2
    assert {"platform", "n_cpus", "cuda", "git"} <= found.keys()


def test_the_environment_record_does_without_git(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    assert environment(0)["git"] is None


def test_what_an_accelerator_trained_opens_on_the_cpu_where_there_is_none(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    elsewhere = Run(run.folder)
    config = replace(run.config, train=replace(run.config.train, device="cuda"))
    monkeypatch.setitem(elsewhere.__dict__, "config", config)
    for model in (elsewhere.model(), elsewhere.untrained_model()):
        assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    assert elsewhere.config.train.device == "cuda"
