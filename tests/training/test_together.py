"""Runs trained together: each lands in its folder as if it had been trained alone, whatever befalls the others."""

import math
import os
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from tests.helpers import tiny_config, tiny_run
from tests.training.kinds import KINDS, config_of
from tests.training.processes import Commands, commands
from tests.training.test_loop import Counting, assert_same_run, at_step, flat, updated
from workbench.batch import RegressionBatch
from workbench.errors import InputError
from workbench.models.config import TransformerConfig
from workbench.runs import RunFolder
from workbench.tasks import BigramBackcopy, LinearRegression, RepeatedTokens, Task
from workbench.tasks.draws import Draws
from workbench.training.config import RunConfig, TrainConfig
from workbench.training.loop import Progress, TrainingFailed, train, train_together
from workbench.training.program import Program
from workbench.training.replicas import check_same_program, program_key

CLOSE = 1e-10
"""In float64, where only the order of sums differs."""

SHARED = {"precision": "float64", "log_every": 1}


def varied(base: RunConfig, changes: Sequence[Mapping[str, Any]]) -> list[RunConfig]:
    """The config once with each of these changes, a seed of its own in each."""
    configs = []
    for seed, change in enumerate(changes):
        of_task = {name: value for name, value in change.items() if hasattr(base.task, name)}
        of_train = {name: value for name, value in change.items() if name not in of_task}
        train_config = replace(base.train, **{"seed": seed, **of_train})
        configs.append(replace(base, task=replace(base.task, **of_task), train=train_config))  # type: ignore[type-var]
    return configs


def folders(root: Path, configs: Sequence[RunConfig]) -> list[RunFolder]:
    return [tiny_run(root, f"run-{i}", config) for i, config in enumerate(configs)]


def assert_alike(one: RunFolder, other: RunFolder) -> None:
    """The same files, lines, states and, but for the order of sums, numbers."""
    assert files(one) == files(other)
    assert one.config() == other.config()
    assert (one.status().state, one.status().step) == (other.status().state, other.status().step)
    assert_close(one.metrics(), other.metrics())
    for step in one.checkpoint_steps():
        assert_close(one.weights(step), other.weights(step))
        assert_close(one.train_state(step), other.train_state(step))


def files(run: RunFolder) -> list[str]:
    return sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*"))


def assert_close(one: Any, other: Any) -> None:
    """Equal in structure, and in numbers but for the order of sums."""
    first, second = flat(one), flat(other)
    assert first.keys() == second.keys()
    for place, value in first.items():
        if place.endswith("/seconds"):
            continue
        if isinstance(value, Tensor):
            one, other = (felt(place, tensor) for tensor in (value, second[place]))
            torch.testing.assert_close(one, other, rtol=CLOSE, atol=CLOSE)
        else:
            near = pytest.approx(second[place], rel=1e-7, abs=CLOSE) if isinstance(value, float) else second[place]
            assert value == near, place  # 1e-7: the numbers of a task are float32


def felt(place: str, weight: Tensor) -> Tensor:
    """The weight without the biases of keys: they change nothing that a model says, so that their gradient is rounding,
    which Adam divides by its own size."""
    if not place.endswith("qkv.bias"):
        return weight
    queries, _, values = weight.chunk(3)
    return torch.cat([queries, values])


# As if alone

VARIED: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "seeds": ({}, [{}, {}, {}]),
    "adam": (
        {"schedule": "cosine"},
        [
            {"lr": 1e-2, "betas": (0.8, 0.9), "clip_norm": None, "warmup_steps": 0},
            {"lr": 3e-3, "lr_final": 1e-3, "clip_norm": 0.1, "warmup_steps": 5, "decay_fraction": 0.3},
            {"weight_decay": 0.1, "clip_norm": 1.0, "warmup_steps": 100},
        ],
    ),
    "adamw": ({"optimizer": "adamw", "schedule": "linear"}, [{"weight_decay": 0.3}, {"lr": 1e-2}, {"lr_final": 2e-3}]),
    "sgd": ({"optimizer": "sgd", "lr": 1e-2}, [{"momentum": 0.9}, {"weight_decay": 0.1}, {"clip_norm": 0.01}]),
    "muon": ({"optimizer": "muon"}, [{"lr": 1e-2}, {"weight_decay": 0.1}, {"betas": (0.95, 0.99)}]),
    "curriculum": (
        {"d_start": 1, "n_start": 1},
        [{"d_every": 2, "n_every": 3}, {"d_start": 2, "n_start": 3}, {"d_every": 5, "n_every": 2, "n_add": 3}],
    ),
    "task": ({}, [{"noise_std": 0.5}, {"noise_std": 0.0, "w_scale": 2.0}, {"input_scale": 0.5, "noise_std": 0.1}]),
}


@pytest.mark.parametrize(("shared", "changes"), VARIED.values(), ids=VARIED)
def test_a_run_trained_with_others_is_as_if_trained_alone(
    tmp_path: Path, shared: dict[str, Any], changes: list[dict[str, Any]]
):
    configs = varied(tiny_config(**SHARED, **shared), changes)
    together, alone = folders(tmp_path / "together", configs), folders(tmp_path / "alone", configs)
    assert train_together(together) == ["finished"] * 3
    for one, other in zip(together, alone):
        assert train(other) == "finished"
        assert_alike(one, other)
    assert len({run.weights_sha256() for run in together}) == 3


def test_the_spectrum_of_the_inputs_may_differ(tmp_path: Path):
    base = tiny_config(**SHARED)
    base = replace(base, task=replace(base.task, covariance="condition", basis="fixed"))  # type: ignore[type-var]
    configs = varied(base, [{"condition_number": 4.0}, {"condition_number": 100.0}])
    programs = [Program(configs), *(Program([config]) for config in configs)]
    lines = [updated(program) for program in programs]
    one, two = lines[1][0]["loss"], lines[2][0]["loss"]
    assert [line["loss"] for line in lines[0]] == pytest.approx([one, two], rel=1e-5)  # a product in float32
    assert abs(one - two) > 1e-3


@dataclass(frozen=True)
class Mapped(Task):
    """Labels ``scale * x``, said as a vector, or their first coordinate with a variance."""

    name: ClassVar[str] = "mapped"
    label: ClassVar[str] = "Mapped"
    source: ClassVar[str] = "made up here"
    presets: ClassVar[Mapping[str, Any]] = {}

    output: str = "vector"
    scale: float = 1.0

    def draw(self, draws: Draws, *, d_active: int | Tensor | None = None) -> RegressionBatch:
        xs = draws.normal(3, 2)
        ys = self.scale * xs
        return RegressionBatch(xs, ys if self.output == "vector" else ys[..., 0])

    def model_shape(self) -> dict[str, Any]:
        width = {"d_output": 2} if self.output == "vector" else {}
        return {"input": "continuous", "output": self.output, "d_input": 2, "n_context": 3, **width}

    def least_squares_ridge(self) -> None:
        return None

    def bayes_ridge(self) -> None:
        return None


TASKS = {
    "tokens": Counting(),
    "repeated tokens": RepeatedTokens(n_tokens=6, n_positions=10, min_block=2, max_block=4),
    "backcopy": BigramBackcopy(counts="synthetic", n_positions=8, trigger_share=0.5),
    "vectors": Mapped(),
    "a mean and a variance": Mapped("mean_variance"),
}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_programs_of_any_kind_of_label_update_every_replica_as_if_alone(task: Task):
    train_config = TrainConfig(n_steps=5, n_batch=4, precision="float64")
    base = RunConfig(task, TransformerConfig(n_layers=1, d_model=8, n_heads=2), train_config).resolved()
    scales = [{"scale": 2.0}, {"scale": 0.5}] if isinstance(task, Mapped) else [{}, {"lr": 1e-2}]
    configs = varied(base, scales)
    together, alone = Program(configs), [Program([config]) for config in configs]
    for _ in range(5):
        lines = updated(together)
        for replica, program in enumerate(alone):
            assert_close(lines[replica], updated(program)[0])
    for replica, program in enumerate(alone):
        assert_close(together.weights_of(replica), program.weights_of(0))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_is_updated_with_others_as_alone(kind: str):
    base = config_of(kind, precision="float64", optimizer="sgd", momentum=0.9, lr=0.03)
    configs = varied(base, [{}, {"lr": 0.01}])
    together, alone = Program(configs), [Program([config]) for config in configs]
    first = [weight.clone() for weight in together.weights]
    for _ in range(3):
        lines = updated(together)
        assert_close(lines, [updated(program)[0] for program in alone])
    for replica, program in enumerate(alone):
        assert_close(together.weights_of(replica), program.weights_of(0))
    assert not torch.equal(first[0], together.weights[0])


def test_what_is_told_is_the_mean_over_runs(tmp_path: Path):
    runs = folders(tmp_path, varied(tiny_config(**SHARED), [{}, {"noise_std": 1.0}]))
    seen: list[Progress] = []
    train_together(runs, seen.append)
    lines = [run.metrics() for run in runs]
    assert [told.step for told in seen] == list(range(1, 13))
    assert [told.loss for told in seen] == pytest.approx([(a["loss"] + b["loss"]) / 2 for a, b in zip(*lines)])
    assert [told.excess for told in seen] == pytest.approx([(a["excess"] + b["excess"]) / 2 for a, b in zip(*lines)])


# One fails


@pytest.mark.parametrize("n_others", [1, 2])
def test_a_run_that_explodes_fails_alone(tmp_path: Path, n_others: int):
    base = tiny_config(**SHARED, optimizer="sgd", lr=1e-2, checkpoint_every=1, n_steps=12)
    configs = varied(base, [{"lr": 1e12}, *[{}] * n_others])
    runs, alone = folders(tmp_path, configs), tiny_run(tmp_path, "alone", configs[1])
    seen: list[Progress] = []
    failed, *others = train_together(runs, seen.append)
    assert isinstance(failed, TrainingFailed)
    assert "the last checkpoint is kept" in str(failed)
    assert others == ["finished"] * n_others
    train(alone)
    assert_alike(runs[1], alone)
    assert (runs[0].status().state, runs[0].status().error) == ("failed", f"TrainingFailed: {failed}")
    assert all(w.isfinite().all() for step in runs[0].checkpoint_steps() for w in runs[0].weights(step).values())
    assert all(math.isfinite(told.loss) for told in seen), "of those that go on"
    assert not list(tmp_path.rglob("claim.json"))


def test_training_ends_when_all_have_failed(tmp_path: Path):
    base = tiny_config(**SHARED, optimizer="sgd", lr=1e12, n_steps=100_000, checkpoint_every=None)
    states = train_together(folders(tmp_path, varied(base, [{}, {}])))
    assert [type(state) for state in states] == [TrainingFailed, TrainingFailed]


# Stopping and going on


@pytest.fixture(scope="module")
def configs() -> list[RunConfig]:
    return varied(
        tiny_config(**SHARED, schedule="cosine", n_threads=1), [{"lr": 1e-2}, {"noise_std": 0.3}, {"clip_norm": 0.2}]
    )


@pytest.fixture(scope="module")
def uninterrupted(configs: list[RunConfig], tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    runs = folders(tmp_path_factory.mktemp("runs"), configs)
    assert train_together(runs) == ["finished"] * 3
    return runs


def stop_at(step: int) -> Any:
    return at_step(step, lambda: os.kill(os.getpid(), signal.SIGINT))


@pytest.mark.parametrize("step", [1, 4, 7])
def test_runs_stopped_together_go_on_together(
    uninterrupted: list[RunFolder], configs: list[RunConfig], tmp_path: Path, step: int
):
    runs = folders(tmp_path, configs)
    assert train_together(runs, stop_at(step)) == ["stopped"] * 3
    assert {(run.status().state, run.checkpoint_steps()[-1]) for run in runs} == {("stopped", step)}
    assert train_together(runs) == ["finished"] * 3
    for one, other in zip(runs, uninterrupted):
        assert_same_run(one, other)


def test_runs_go_on_from_the_last_step_that_all_of_them_have(
    uninterrupted: list[RunFolder], configs: list[RunConfig], tmp_path: Path
):
    runs = folders(tmp_path, configs)
    assert train_together(runs, stop_at(9)) == ["stopped"] * 3
    for step in ("step-00000008", "step-00000009"):
        shutil.rmtree(runs[1].path / "checkpoints" / step)
    seen: list[Progress] = []
    assert train_together(runs, seen.append) == ["finished"] * 3
    assert seen[0].step == 5
    for one, other in zip(runs, uninterrupted):
        assert_alike(one, other) if one is runs[1] else assert_close(one.weights(), other.weights())
        assert [line["step"] for line in one.metrics()] == list(range(1, 13))


def test_runs_start_anew_where_one_of_them_has_no_checkpoint(
    uninterrupted: list[RunFolder], configs: list[RunConfig], tmp_path: Path
):
    runs = folders(tmp_path, configs)
    train_together(runs[:2], stop_at(6))
    assert train_together(runs) == ["finished"] * 3
    for one, other in zip(runs, uninterrupted):
        assert_close(one.weights(), other.weights())
        assert_close(one.metrics(), other.metrics())


def test_a_run_of_an_ensemble_goes_on_alone_and_one_trained_alone_inside_an_ensemble(
    uninterrupted: list[RunFolder], configs: list[RunConfig], tmp_path: Path
):
    runs = folders(tmp_path, configs)
    train_together(runs[:2], stop_at(6))
    train(runs[2], stop_at(6))
    assert train(runs[0]) == "finished"
    assert train_together(runs[1:]) == ["finished"] * 2
    for one, other in zip(runs, uninterrupted):
        assert_close(one.weights(), other.weights())
        assert_close(one.metrics(), other.metrics())


# Killed


@pytest.fixture(scope="module")
def outside() -> Iterator[Commands]:
    with commands() as all_of_them:
        yield all_of_them


def test_runs_killed_together_end_as_if_they_had_not_been(
    outside: Commands, uninterrupted: list[RunFolder], configs: list[RunConfig], tmp_path: Path
):
    runs = folders(tmp_path, configs)
    words = ["train", "--resume", *(run.path for run in runs)]
    saved = r"os.rename .*/checkpoints/step-00000008\Z"
    pid = outside.start(words, die_before=[saved, saved])
    assert outside.exit_code(pid) == -signal.SIGKILL, outside.said(pid)
    assert [run.checkpoint_steps() for run in runs] == [[0, 4, 8], [0, 4], [0, 4]]
    pid = outside.start(words)
    assert outside.exit_code(pid) == 0, outside.said(pid)
    for one, other in zip(runs, uninterrupted):
        assert_same_run(one, other)
    assert list(tmp_path.rglob("*.tmp-*")) == list(tmp_path.rglob("claim.json")) == []


# What does not fit together

MISFITS: dict[str, dict[str, Any]] = {
    "train.n_steps": {"n_steps": 13},
    "train.n_batch": {"n_batch": 9},
    "train.optimizer": {"optimizer": "sgd"},
    "train.schedule": {"schedule": "linear"},
    "train.precision": {"precision": "float32"},
    "train.checkpoint_every": {"checkpoint_every": 5},
    "train.log_every": {"log_every": 2},
    "whether train.d_start is given": {"d_start": 1},
    "task.weights": {"weights": "pool"},
    "task.fixed_seed": {"fixed_seed": 1},
}


@pytest.mark.parametrize(("name", "change"), MISFITS.items(), ids=MISFITS)
def test_runs_of_different_programs_are_refused_by_the_field(tmp_path: Path, name: str, change: dict[str, Any]):
    configs = varied(tiny_config(**SHARED), [{}, change])
    runs = folders(tmp_path, configs)
    with pytest.raises(InputError, match=f"^{name} must be equal in all models of an ensemble; got .* and "):
        train_together(runs)
    assert {run.status().state for run in runs} == {"new"}
    assert program_key(configs[0]) != program_key(configs[1])


def test_models_of_different_shapes_are_refused_by_the_field():
    one, other = tiny_config(), tiny_config()
    other = replace(other, model=replace(other.model, d_mlp=7))
    with pytest.raises(InputError, match=r"model.d_mlp must be equal in all models of an ensemble; got None and 7"):
        check_same_program([one, other])
    other = replace(one, task=LinearRegression(d_input=3, n_context=4))
    with pytest.raises(InputError, match=r"task.d_input must be equal in all models of an ensemble; got 2 and 3"):
        check_same_program([one, other])


def test_a_run_that_somebody_trains_is_refused_and_the_others_are_given_back(configs: list[RunConfig], tmp_path: Path):
    runs = folders(tmp_path, configs)
    runs[2].claim()
    with pytest.raises(InputError, match="run 'run-2' is being trained by process"):
        train_together(runs)
    assert [(run.path / "claim.json").exists() for run in runs] == [False, False, True]
