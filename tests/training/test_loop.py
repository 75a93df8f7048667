"""The training loop: it learns, every option matters, and what interrupts it costs at most one interval."""

import math
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from tests.helpers import tiny_config, tiny_run
from workbench import checkpoints, run_status
from workbench.batch import RegressionBatch, TokenBatch
from workbench.errors import InputError
from workbench.models import TransformerConfig
from workbench.processes import _LONGEST_SILENCE
from workbench.runs import RunFolder
from workbench.tasks import TASKS, LinearRegression, Task
from workbench.tasks.draws import Draws
from workbench.training import loop
from workbench.training.building import build_model, load_weights
from workbench.training.checking import check_device
from workbench.training.config import RunConfig, TrainConfig
from workbench.training.loop import MemoryRanOut, Progress, TrainingFailed, train
from workbench.training.program import Program


def weights_bytes(folder: RunFolder) -> dict[str, bytes]:
    return {name: weight.numpy().tobytes() for name, weight in folder.weights().items()}


def without_seconds(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def assert_same_run(one: RunFolder, other: RunFolder) -> None:
    """Weights, optimizer state and metrics are equal to the last bit."""
    assert weights_bytes(one) == weights_bytes(other)
    first, second = (flat(folder.train_state()) for folder in (one, other))
    assert first.keys() == second.keys()
    assert all(same(first[key], second[key]) for key in first)
    assert without_seconds(one.metrics()) == without_seconds(other.metrics())
    assert one.status().state == other.status().state == "finished"


def flat(data: Any, where: str = "") -> dict[str, Any]:
    """All leaves of nested data by their place."""
    if isinstance(data, Mapping | list | tuple):
        items = data.items() if isinstance(data, Mapping) else enumerate(data)
        return {place: leaf for key, item in items for place, leaf in flat(item, f"{where}/{key}").items()}
    return {where: data}


def same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) else a == b


def updated(program: Program) -> list[dict[str, Any]]:
    """The lines of one more update."""
    program.update()
    return program.lines()


def trained(root: Path, name: str, **settings: Any) -> RunFolder:
    folder = tiny_run(root, name, **settings)
    assert train(folder) == "finished"
    return folder


# Learning


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adam", "lr": 1e-2},
        {"optimizer": "adamw", "lr": 1e-2, "weight_decay": 0.01},
        {"optimizer": "sgd", "lr": 5e-2, "momentum": 0.9, "clip_norm": 1.0},
        {"optimizer": "muon", "lr": 1e-2},
    ],
    ids=["adam", "adamw", "sgd with momentum", "muon"],
)
def test_every_optimizer_lowers_the_loss(settings: dict[str, Any]):
    program = Program([tiny_config(**settings)])
    lines = []
    for _ in range(80):
        program.step.zero_()  # the same prompts every time
        lines += updated(program)
    assert lines[-1]["loss"] < 0.5 * lines[0]["loss"]
    assert lines[0]["lr"] == settings["lr"]


@dataclass(frozen=True)
class Counting(Task):
    """Each token is the one before plus one, from a random start."""

    name: ClassVar[str] = "counting"
    label: ClassVar[str] = "Counting"
    source: ClassVar[str] = "made up here"
    presets: ClassVar[Mapping[str, Any]] = {}

    def draw(self, draws: Draws, *, d_active: int | Tensor | None = None) -> TokenBatch:
        counted = (draws.integers(7, 1) + torch.arange(6)) % 7
        mask = (torch.arange(5) > 0).expand(draws.n_batch, 5)
        return TokenBatch(counted[:, :-1], counted[:, 1:], mask)

    def model_shape(self) -> dict[str, Any]:
        return {"input": "tokens", "output": "logits", "d_vocab": 7, "n_ctx": 5}

    def least_squares_ridge(self) -> None:
        return None

    def bayes_ridge(self) -> None:
        return None


def test_batches_of_tokens_train_too():
    model_config = TransformerConfig(n_layers=1, d_model=16, n_heads=2)
    config = RunConfig(Counting(), model_config, TrainConfig(n_steps=80, n_batch=32, lr=1e-2)).resolved()
    assert (config.model.input, config.model.output, config.model.d_vocab) == ("tokens", "logits", 7)
    program = Program([config])
    lines = [line for _ in range(80) for line in updated(program)]
    assert lines[0]["loss"] > 0.7 * math.log(7), "at first it knows nothing"
    assert lines[-1]["loss"] < 0.2
    assert (lines[0]["excess"], lines[0]["d_active"], lines[0]["n_active"]) == (None, None, None)


def test_a_gradient_longer_than_the_limit_is_shortened_to_it():
    limit, lr = 0.01, 0.5
    config = tiny_config(optimizer="sgd", lr=lr, clip_norm=limit)
    program = Program([config])
    before = [part.clone() for part in program.weights]
    (line,) = updated(program)
    assert line["grad_norm"] > 10 * limit, "the line tells the norm before it was shortened"
    change = torch.cat([(part - was).flatten() for part, was in zip(program.weights, before)])
    assert change.norm().item() == pytest.approx(lr * limit, rel=1e-4)  # 1e-6 beside the norm
    unclipped = Program([replace(config, train=replace(config.train, clip_norm=None))])
    assert updated(unclipped)[0]["grad_norm"] == line["grad_norm"]


def test_an_update_uses_the_schedules_of_its_step():
    curriculum = {"d_start": 1, "d_every": 2, "n_start": 2, "n_every": 2, "n_add": 1}
    program = Program([tiny_config(n_steps=4, warmup_steps=2, lr=0.1, **curriculum)])
    lines = [line for _ in range(4) for line in updated(program)]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert [line["lr"] for line in lines] == [0.05, 0.1, 0.1, 0.1]
    assert [line["d_active"] for line in lines] == [1, 1, 2, 2]
    assert [line["n_active"] for line in lines] == [2, 2, 3, 3]


BASE = {"n_steps": 6, "log_every": 1, "schedule": "linear", "decay_fraction": 0.5}
CURRICULUM = {"d_start": 1, "d_every": 2, "n_start": 1, "n_every": 2, "n_add": 1}


@pytest.mark.parametrize(
    ("base", "change"),
    [
        ({}, {"n_batch": 9}),
        ({}, {"seed": 1}),
        ({}, {"optimizer": "adamw", "weight_decay": 0.1}),
        ({}, {"lr": 2e-3}),
        ({}, {"betas": (0.8, 0.9)}),
        ({}, {"weight_decay": 0.1}),
        ({"optimizer": "sgd"}, {"momentum": 0.9}),
        ({"optimizer": "sgd"}, {"weight_decay": 0.1}),
        ({}, {"optimizer": "muon"}),
        ({"optimizer": "muon"}, {"weight_decay": 0.1}),
        ({}, {"warmup_steps": 2}),
        ({}, {"schedule": "cosine"}),
        ({}, {"schedule": "constant"}),
        ({}, {"decay_fraction": 1.0}),
        ({}, {"lr_final": 1e-4}),
        ({"optimizer": "sgd"}, {"clip_norm": 0.1}),
        (CURRICULUM, {"d_start": 2}),
        (CURRICULUM, {"d_every": 3}),
        (CURRICULUM, {"n_start": 2}),
        (CURRICULUM, {"n_every": 3}),
        (CURRICULUM, {"n_add": 2}),
        ({}, {"precision": "float64"}),
    ],
    ids=str,
)
def test_an_option_of_training_changes_the_weights(base: dict[str, Any], change: dict[str, Any]):
    assert any(not torch.equal(a, b) for a, b in zip(weights_after(**base), weights_after(**{**base, **change})))


def weights_after(**settings: Any) -> list[Tensor]:
    """The weights at the end of six updates, without a run folder."""
    program = Program([tiny_config(**{**BASE, **settings})])
    for _ in range(6):
        program.update()
    return list(program.weights_of(0).values())


@pytest.mark.parametrize(
    "change", [{"log_every": 3}, {"checkpoint_every": None}, {"checkpoints_per_decade": 9}], ids=str
)
def test_what_is_written_down_does_not_change_the_weights(tmp_path: Path, change: dict[str, Any]):
    plain = trained(tmp_path, "plain", **BASE)
    changed = trained(tmp_path, "changed", **{**BASE, **change})
    assert weights_bytes(plain) == weights_bytes(changed)


def test_precision_is_that_of_the_weights(tmp_path: Path):
    for precision in ("float32", "float64"):
        folder = trained(tmp_path, precision, n_steps=1, precision=precision)
        assert {weight.dtype for weight in folder.weights().values()} == {getattr(torch, precision)}


def test_training_does_not_depend_on_the_global_generator(tmp_path: Path):
    folders = []
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            before = torch.random.get_rng_state()
            folders.append(trained(tmp_path, f"seed-{seed}"))
            assert torch.equal(before, torch.random.get_rng_state())
    assert_same_run(*folders)


# What a run writes


def test_progress_says_what_the_curriculum_leaves_out_until_it_is_whole(tmp_path: Path):
    growing = {"d_start": 1, "d_every": 4, "n_start": 1, "n_every": 2, "n_add": 2}
    seen: list[Progress] = []
    train(tiny_run(tmp_path, log_every=1, n_steps=6, **growing), seen.append)
    early = "d 1 of 2, n 1 of 4"
    assert [each.growing for each in seen] == [early, early, "d 1 of 2, n 3 of 4", "d 1 of 2, n 3 of 4", "", ""]
    seen.clear()
    train(tiny_run(tmp_path, "whole"), seen.append)
    assert {each.growing for each in seen} == {""}


def test_a_finished_run_has_its_checkpoints_metrics_and_status(tmp_path: Path):
    folder = tiny_run(tmp_path)
    seen: list[Progress] = []
    assert train(folder, seen.append) == "finished"
    assert folder.checkpoint_steps() == [0, 4, 8, 12]
    lines = folder.metrics()
    assert [line["step"] for line in lines] == [1, 2, 4, 6, 8, 10, 12]
    assert list(lines[0]) == ["step", "loss", "excess", "lr", "grad_norm", "d_active", "n_active", "seconds"]
    assert [progress.step for progress in seen] == [line["step"] for line in lines]
    assert [progress.loss for progress in seen] == [line["loss"] for line in lines]
    assert seen[-1].seconds_left == 0
    status = folder.status()
    assert (status.state, status.step, status.n_steps, status.error) == ("finished", 12, 12, None)
    assert not (folder.path / "claim.json").exists()


def test_checkpoint_0_is_the_model_before_the_first_update(tmp_path: Path):
    folder = trained(tmp_path, "tiny")
    first = folder.weights(0)
    assert all(torch.equal(first[name], p) for name, p in build_model(tiny_config()).named_parameters())
    assert weights_bytes(folder) != {name: weight.numpy().tobytes() for name, weight in first.items()}


def test_training_a_finished_run_again_changes_nothing(tmp_path: Path):
    folder = trained(tmp_path, "tiny")
    before = (folder.path / "metrics.jsonl").read_bytes(), weights_bytes(folder)
    assert train(folder) == "finished"
    assert ((folder.path / "metrics.jsonl").read_bytes(), weights_bytes(folder)) == before


def test_a_run_in_progress_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop, "_LONGEST_PAUSE", 0.0)
    folder = tiny_run(tmp_path, log_every=1)
    seen: list[tuple[str, int]] = []
    train(folder, lambda progress: seen.append((folder.status().state, folder.status().step)))
    assert seen == [("running", step) for step in range(12)], "the status is written after the report of a step"


@dataclass
class Disk:
    """Writes statuses in time of its own, and counts them."""

    now: float = 0.0
    cost: float = 0.0
    beats: dict[str, list[float]] = field(default_factory=dict)

    def write(self, folder: RunFolder) -> None:
        self.now += self.cost
        self.beats.setdefault(folder.name, []).append(self.now)


@pytest.mark.parametrize(("n_runs", "cost"), [(1, 0.001), (2, 2.4), (2, 16.0)], ids=["fast", "slow", "very slow"])
def test_heartbeats_take_little_of_the_time_and_are_never_so_rare_that_a_run_looks_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_runs: int, cost: float
):
    disk = Disk(cost=cost)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: disk.now))
    monkeypatch.setattr(RunFolder, "write_status", lambda run, *told: disk.write(run))
    settings = {"n_steps": 60, "log_every": 1, "checkpoint_every": None}
    folders = [tiny_run(tmp_path, f"run-{i}", seed=i, **settings) for i in range(n_runs)]

    def update(progress: Progress) -> None:
        disk.now += 3.0

    loop.train_together(folders, update)
    spent = cost * sum(len(beats) - 3 for beats in disk.beats.values())  # beside two at the start and the last one
    longest = max(after - before for beats in disk.beats.values() for before, after in pairwise(beats))
    assert longest < _LONGEST_SILENCE / 1.2
    assert spent < (0.1 if cost < 10 else 0.5) * disk.now
    if cost < 0.1:
        assert longest < 4, "after every update that takes longer than a second"


def test_a_resumed_run_says_from_the_start_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tiny_run(tmp_path, log_every=1)
    train(folder, at_step(6, ask_to_stop))
    told: list[int] = []
    real = RunFolder.write_status

    def note(run: RunFolder, state: str, step: int, *rest: Any) -> None:
        told.append(step)
        real(run, state, step, *rest)

    monkeypatch.setattr(RunFolder, "write_status", note)
    train(folder)
    assert told == [6, 6, 12]


def test_signal_handlers_and_threads_are_as_before_afterwards(tmp_path: Path):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    n_threads = torch.get_num_threads()
    inside: list[int] = []
    train(tiny_run(tmp_path, n_threads=1), lambda progress: inside.append(torch.get_num_threads()))
    assert set(inside) == {1}
    assert torch.get_num_threads() == n_threads
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_run_can_be_trained_outside_the_main_thread(tmp_path: Path):
    folder = tiny_run(tmp_path)
    thread = threading.Thread(target=train, args=(folder,))
    thread.start()
    thread.join()
    assert folder.status().state == "finished"


@pytest.mark.parametrize("device", ["cuda:99", "abacus", "meta:x", "vulkan", "hpu"])
def test_a_device_that_is_not_there_is_refused(device: str):
    with pytest.raises(InputError, match=f"train.device must be a device of this machine; got '{device}'") as refusal:
        check_device(device)
    assert len(str(refusal.value)) < 300, "torch may list all that it knows"


def test_the_cpu_is_there():
    check_device("cpu")


# Stopping and going on


class Crash(Exception):
    """Ends training without a checkpoint."""


def at_step(step: int, act: Callable[[], object]) -> Callable[[Progress], None]:
    def listen(progress: Progress) -> None:
        if progress.step == step:
            act()

    return listen


def ask_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def crash() -> None:
    raise Crash("the light went out")


ROUTES: dict[str, dict[str, Any]] = {
    "adam with curriculum": {"schedule": "cosine", "warmup_steps": 3, **CURRICULUM},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1, "schedule": "linear", "clip_norm": 1.0},
    "sgd with momentum": {"optimizer": "sgd", "lr": 1e-2, "momentum": 0.9},
}


@pytest.fixture(scope="module", params=ROUTES.values(), ids=ROUTES)
def uninterrupted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return trained(tmp_path_factory.mktemp("runs"), "whole", log_every=1, **request.param)


@pytest.fixture
def again(uninterrupted: RunFolder, tmp_path: Path) -> RunFolder:
    """The same run before its first step."""
    return RunFolder.create(tmp_path / "again", uninterrupted.config(), {})


@pytest.mark.parametrize("step", [1, 3, 4, 5, 11])
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(uninterrupted: RunFolder, again: RunFolder, step: int):
    assert train(again, at_step(step, ask_to_stop)) == "stopped"
    assert again.checkpoint_steps()[-1] == step
    assert (again.status().state, again.status().step) == ("stopped", step)
    assert train(again) == "finished"
    assert_same_run(again, uninterrupted)


@pytest.mark.parametrize("step", [1, 3, 4, 5, 11])
def test_a_run_that_crashed_ends_as_if_it_had_not(uninterrupted: RunFolder, again: RunFolder, step: int):
    with pytest.raises(Crash):
        train(again, at_step(step, crash))
    kept = 4 * ((step - 1) // 4)  # the crash comes before the checkpoint of its step
    assert again.checkpoint_steps()[-1] == kept
    status = again.status()
    assert (status.state, status.step, status.error) == ("failed", kept, "Crash: the light went out")
    assert [line["step"] for line in again.metrics()][-1] == step
    assert train(again) == "finished"
    assert_same_run(again, uninterrupted)


def test_a_run_stopped_at_its_last_step_is_finished(tmp_path: Path):
    folder = tiny_run(tmp_path)
    assert train(folder, at_step(12, ask_to_stop)) == "finished"


def test_a_run_that_lost_its_last_checkpoint_goes_on_from_the_one_before(uninterrupted: RunFolder, tmp_path: Path):
    folder = RunFolder(Path(shutil.copytree(uninterrupted.path, tmp_path / "copy")))
    shutil.rmtree(folder.path / "checkpoints" / "step-00000012")
    assert train(folder) == "finished"
    assert_same_run(folder, uninterrupted)


def test_seconds_of_training_add_up_over_interruptions(tmp_path: Path):
    folder = tiny_run(tmp_path, log_every=1)
    train(folder, at_step(4, ask_to_stop))
    before = folder.metrics()[-1]["seconds"]
    train(folder)
    seconds = [line["seconds"] for line in folder.metrics()]
    assert seconds == sorted(seconds)
    assert seconds[4] >= before


def wide_config(n_threads: int) -> RunConfig:
    """Large enough for torch to spread over two threads: it does from 32768 numbers on."""
    small = tiny_config(n_batch=64, log_every=1, n_steps=8, n_threads=n_threads)
    task, model = LinearRegression(d_input=5, n_context=10), TransformerConfig(n_layers=2, d_model=64, n_heads=2)
    return replace(small, task=task, model=model).resolved()


@pytest.mark.parametrize("n_threads", [1, 2])
def test_going_on_is_exact_with_one_and_with_two_threads(tmp_path: Path, n_threads: int):
    config = wide_config(n_threads)
    folders = [tiny_run(tmp_path, name, config) for name in ("whole", "stopped")]
    assert train(folders[0]) == "finished"
    assert train(folders[1], at_step(5, ask_to_stop)) == "stopped"
    assert train(folders[1]) == "finished"
    assert_same_run(*folders)


def test_the_state_of_another_optimizer_is_refused(tmp_path: Path):
    folder = tiny_run(tmp_path, log_every=1)
    train(folder, at_step(5, ask_to_stop))
    folder.save_checkpoint(6, folder.weights(), {"step": 6})
    with pytest.raises(InputError, match="must hold the state of this run's optimizer at step 6"):
        train(folder)
    assert folder.status().state == "failed"


def test_a_state_of_another_step_is_refused_as_damage(tmp_path: Path):
    folder = tiny_run(tmp_path, log_every=1)
    train(folder, at_step(5, ask_to_stop))
    folder.save_checkpoint(6, folder.weights(), folder.train_state())
    told = r"step-00000006/train_state.pt must be of step 6; it is of step 5. Delete the folder step-00000006"
    with pytest.raises(InputError, match=told) as refused:
        train(folder)
    assert "\n" not in str(refused.value)
    shutil.rmtree(folder.path / "checkpoints" / "step-00000006")
    assert train(folder) == "finished"


# Failing


EXPLODING = {"optimizer": "sgd", "log_every": 5, "checkpoint_every": 1, "n_steps": 30}


@pytest.mark.parametrize(
    ("task", "precision", "lr", "told"),
    [
        (None, "float32", 1e12, "the loss is (nan|inf)"),
        (None, "float32", 3.4e38, "the weights are not finite"),
        (None, "float64", 1e60, "the loss is (nan|inf)"),
        (Counting(), "float32", 1e20, "the (loss is (nan|inf)|weights are not finite)"),
    ],
    ids=["loss", "weights", "float64", "tokens"],
)
def test_a_loss_or_weights_that_explode_end_training_and_keep_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: Task | None, precision: str, lr: float, told: str
):
    monkeypatch.setattr("workbench.training.config.TASKS", {**TASKS, Counting.name: Counting})
    config = tiny_config(lr=lr, precision=precision, **EXPLODING)
    if task is not None:
        config = RunConfig(task, TransformerConfig(n_layers=1, d_model=8, n_heads=2), config.train).resolved()
    folder = tiny_run(tmp_path, config=config)
    with pytest.raises(TrainingFailed, match=f"{told}.* at step .*; the last checkpoint is kept. Lower train.lr"):
        train(folder)
    status = folder.status()
    assert status.state == "failed"
    assert status.error.startswith("TrainingFailed: the ")
    assert status.step == folder.checkpoint_steps()[-1] < 30
    assert all(
        weight.isfinite().all() for step in folder.checkpoint_steps() for weight in folder.weights(step).values()
    )
    assert not (folder.path / "claim.json").exists()


def test_a_loss_that_explodes_between_lines_is_told_with_its_own_step(tmp_path: Path):
    told = []
    for log_every in (1, 5):
        settings = {**EXPLODING, "checkpoint_every": None, "log_every": log_every}
        folder = tiny_run(tmp_path, f"every-{log_every}", lr=1e12, **settings)
        with pytest.raises(TrainingFailed, match=r"at step \d;") as failed:
            train(folder)
        told.append(int(str(failed.value).partition("at step ")[2].partition(";")[0]))
        if log_every == 1:
            *fine, broken = folder.metrics()
            assert told == [broken["step"]]
            assert not all(math.isfinite(broken[name]) for name in ("loss", "grad_norm"))
            assert all(math.isfinite(line[name]) for line in fine for name in ("loss", "grad_norm"))
    assert told[0] == told[1]
    assert folder.metrics()[-1]["step"] == 5
    assert folder.checkpoint_steps() == [0]
    assert math.isnan(folder.metrics()[-1]["loss"]) or math.isinf(folder.metrics()[-1]["loss"])


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError(13, "Permission denied")])
def test_a_checkpoint_that_cannot_be_written_ends_training_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
):
    real = checkpoints.write_bytes

    def full(path: Path, data: bytes) -> None:
        if "step-00000008" in str(path):
            raise error
        real(path, data)

    folder = tiny_run(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_bytes", full)
        told = rf"cannot be written \({error.strerror}\); the last checkpoint is kept. .* mesascope train --resume"
        with pytest.raises(TrainingFailed, match=told) as failed:
            train(folder)
    assert "\n" not in str(failed.value)
    assert (folder.status().state, folder.status().step) == ("failed", 4)
    assert folder.checkpoint_steps() == [0, 4]
    assert train(folder) == "finished"
    assert_same_run(folder, trained(tmp_path, "whole"))


def test_memory_that_runs_out_ends_training_in_one_sentence(tmp_path: Path):
    def run_out() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMany more words.")

    folder = tiny_run(tmp_path)
    told = (
        r"^cpu ran out of memory; training was counted to need about \S+ .iB, .* mesascope train --resume .*n_batch.$"
    )
    with pytest.raises(MemoryRanOut, match=told):
        train(folder, at_step(6, run_out))
    status = folder.status()
    assert (status.state, status.step) == ("failed", 4)
    assert re.match(told.replace("^", "^MemoryRanOut: "), status.error or "")
    assert train(folder) == "finished"
    assert_same_run(folder, trained(tmp_path, "whole"))


def test_a_status_that_cannot_be_written_does_not_hide_why_training_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tiny_run(tmp_path)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    def break_down() -> None:
        monkeypatch.setattr(run_status, "write_json", full)
        crash()

    with pytest.raises(Crash):
        train(folder, at_step(2, break_down))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_ends_training_and_keeps_every_checkpoint(small_disk: Path):
    folder = tiny_run(small_disk, n_steps=200, checkpoint_every=1)
    with pytest.raises(TrainingFailed, match=r"cannot be written \(No space left on device\); the last checkpoint"):
        train(folder)
    steps = folder.checkpoint_steps()
    assert 1 < len(steps) < 200
    for step in steps:
        assert all(weight.isfinite().all() for weight in folder.weights(step).values())
        assert folder.train_state(step)["step"] == step
    assert folder.status().state in ("failed", "running")
    for step in steps[1:-1]:
        shutil.rmtree(folder.path / "checkpoints" / f"step-{step:08d}")
    stop_soon = at_step(steps[-1] + 2, ask_to_stop)
    assert train(folder, stop_soon) == "stopped", "with room it goes on"


def test_a_model_that_says_mean_and_variance_learns_the_variance_of_its_labels(tmp_path: Path):
    """Labels are noise of variance .25, next to nothing else; a likelihood has no yardstick in squared errors."""
    config = tiny_config(n_steps=150, lr=0.02, log_every=50)
    task = LinearRegression(d_input=2, n_context=4, noise_std=0.5, w_scale=0.01)
    config = replace(config, task=task, model=replace(config.model, output="mean_variance")).resolved()
    folder = tiny_run(tmp_path, config=config)
    assert train(folder) == "finished"
    lines = folder.metrics()
    assert all(line["excess"] is None for line in lines)
    assert lines[-1]["loss"] < 0.9 < lines[0]["loss"], "the entropy of the noise is .73 nats"
    model = build_model(config)
    load_weights(model, folder.weights())
    batch = task.prompts(1, "test", 0, 256)
    assert isinstance(batch, RegressionBatch)
    assert model.predict_variance(batch).mean().item() == pytest.approx(0.25, rel=0.3)
