"""Many runs: grouped by what they share, side by side in processes, and equal however many of those there are."""

import json
import os
import re
import shutil
import signal
import sys
import threading
import weakref
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from tests.helpers import tiny_config, tiny_run
from tests.training.test_loop import assert_same_run, at_step
from workbench.errors import InputError
from workbench.runs import RunFolder
from workbench.training import groups, loop, many, workers
from workbench.training.config import RunConfig, preset_config
from workbench.training.engines import Started, start
from workbench.training.groups import groups_of, largest_group, train_group
from workbench.training.loop import MemoryRanOut, Progress, TrainingFailed, train
from workbench.training.many import train_many
from workbench.training.program import Program
from workbench.training.workers import Worker, WorkerDied

LONG = {"n_steps": 60, "checkpoint_every": 10, "log_every": 5}


def mixed(**train_settings: Any) -> list[RunConfig]:
    """Five runs of three programs."""
    one = [tiny_config(seed=seed, **train_settings) for seed in (0, 1)]
    two = [tiny_config(seed=seed, optimizer="sgd", lr=1e-2, **train_settings) for seed in (0, 1)]
    return [one[0], two[0], one[1], two[1], tiny_config(n_batch=9, **train_settings)]


def folders(root: Path, configs: Sequence[RunConfig]) -> list[RunFolder]:
    return [tiny_run(root, f"run-{i}", config) for i, config in enumerate(configs)]


def explode(config: RunConfig) -> RunConfig:
    return replace(config, train=replace(config.train, optimizer="sgd", lr=1e12, checkpoint_every=1))


# Groups


def test_unfinished_runs_of_one_program_are_a_group_and_failed_ones_stay_apart(tmp_path: Path):
    runs = folders(tmp_path, mixed())
    assert groups_of(runs, mixed()) == [[0, 2], [1, 3], [4]]
    train(runs[1])
    runs[2].write_status("failed", 0, 12, "it burst")
    assert groups_of(runs, mixed()) == [[0], [2], [3], [4]]


def test_finished_runs_need_no_device_that_they_were_trained_on(tmp_path: Path):
    (run,) = folders(tmp_path, [tiny_config(device="mps:7")])
    with pytest.raises(InputError, match="must be a device of this machine; got 'mps:7'"):
        train_many([run])
    (here,) = folders(tmp_path / "here", [tiny_config()])
    train(here)
    run.save_checkpoint(12, here.weights(12), here.train_state(12))
    run.write_status("finished", 12, 12)
    assert train_many([run]) == ["finished"]


def test_runs_that_stand_at_different_steps_do_not_throw_each_other_back(tmp_path: Path):
    configs = [tiny_config(seed=seed) for seed in range(3)]
    runs = folders(tmp_path, configs)
    for run, step in zip(runs, (10, 1, 6)):
        train(run, at_step(step, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert [run.checkpoint_steps() for run in runs] == [[0, 4, 8, 10], [0, 1], [0, 4, 6]]
    assert groups_of(runs, configs) == [[0], [1], [2]]


def test_a_group_killed_while_it_saves_stays_together(tmp_path: Path):
    configs = [tiny_config(seed=seed) for seed in range(3)]
    runs = folders(tmp_path, configs)
    train_group(runs, at_step(8, lambda: os.kill(os.getpid(), signal.SIGINT)))
    for run in runs[1:]:
        shutil.rmtree(run.path / "checkpoints" / "step-00000008")
    assert [run.checkpoint_steps()[-1] for run in runs] == [8, 4, 4]
    assert groups_of(runs, configs) == [[0, 1, 2]]


def test_a_run_without_its_last_checkpoint_is_not_finished(tmp_path: Path):
    run = tiny_run(tmp_path)
    train(run)
    assert groups_of([run], [tiny_config()]) == []
    shutil.rmtree(run.path / "checkpoints" / "step-00000012")
    assert groups_of([run], [tiny_config()]) == [[0]]


def test_runs_made_for_different_numbers_of_threads_are_trained_with_them(tmp_path: Path):
    configs = [tiny_config(), tiny_config(), tiny_config(n_threads=2)]
    runs = folders(tmp_path, configs)
    runs[1] = RunFolder.create(tmp_path / "made-for-two", configs[1].to_data(), {"n_threads": 2})
    assert groups_of(runs, configs) == [[0], [1, 2]]


def test_small_models_share_an_update_on_a_cpu_and_larger_ones_do_not():
    assert largest_group([tiny_config()]) == 8
    assert largest_group([preset_config("linear_regression", "demo").resolved()]) == 1
    not_causal = replace(tiny_config(), model=replace(tiny_config().model, causal=False))
    assert largest_group([not_causal]) == 8


def test_on_an_accelerator_a_group_is_what_memory_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    configs = [tiny_config(seed=seed, device="cuda") for seed in range(5)]
    monkeypatch.setattr(groups, "most_in_memory", lambda config: 2)
    assert groups_of(folders(tmp_path, configs), configs) == [[0], [1, 2], [3, 4]]
    monkeypatch.setattr(groups, "most_in_memory", lambda config: 0)
    assert largest_group(configs) == 1, "then the run itself says that it does not fit"


def test_a_run_that_cannot_be_trained_does_not_keep_the_others_from_it(tmp_path: Path):
    runs = folders(tmp_path, [tiny_config(seed=seed) for seed in range(4)])
    train_group(runs, at_step(4, lambda: os.kill(os.getpid(), signal.SIGINT)))
    weights = runs[2].path / "checkpoints" / "step-00000004" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    runs[1].claim()
    states = train_group(runs)
    assert [states[0], states[3]] == ["finished"] * 2
    assert isinstance(states[1], InputError)
    assert "run 'run-1' is being trained by process" in str(states[1])
    assert isinstance(states[2], InputError)
    assert "must match its checksum" in str(states[2])


def test_where_memory_runs_out_fewer_are_trained_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []

    def small_memory(configs: Sequence[RunConfig], **rest: Any) -> Started:
        sizes.append(len(configs))
        if len(configs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return start(configs, **rest)

    runs = folders(tmp_path, [tiny_config(seed=seed) for seed in range(6)])
    monkeypatch.setattr(loop, "start", small_memory)
    assert train_group(runs) == ["finished"] * 6
    assert sizes == [6, 3, 1, 2, 3, 1, 2]


@pytest.mark.parametrize("most", [2, 0])
def test_memory_of_a_group_is_free_before_the_next_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int):
    programs: list[weakref.ref[Program]] = []

    def small_memory(configs: Sequence[RunConfig], **rest: Any) -> Started:
        assert not any(program() for program in programs)
        started = start(configs, **rest)
        programs.append(weakref.ref(started.program))
        return started if len(configs) <= most else replace(started, advance=run_out)

    def run_out() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    runs = folders(tmp_path, [tiny_config(seed=seed) for seed in range(4)])
    monkeypatch.setattr(loop, "start", small_memory)
    states = train_group(runs)
    assert len(programs) == (3 if most else 7)
    assert [type(state) for state in states] == [str if most else MemoryRanOut] * 4


@pytest.mark.parametrize("kind", [InputError, TrainingFailed, MemoryRanOut])
def test_why_a_run_failed_is_of_one_kind_on_both_sides_of_a_process(kind: type[Exception]):
    told = workers._state(json.loads(json.dumps(workers._told(kind("why")))))
    assert type(told) is kind
    assert str(told) == "why"


def test_a_group_that_is_stopped_while_it_is_trained_in_parts_stops_whole(tmp_path: Path):
    runs = folders(tmp_path, [tiny_config(seed=seed) for seed in range(4)])
    runs[3].claim()
    states = train_group(runs, at_step(4, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert states == ["stopped"] * 4


# In this process


def test_many_runs_are_each_as_if_trained_alone_and_their_progress_is_told_as_one(tmp_path: Path):
    runs, alone = folders(tmp_path / "many", mixed()), folders(tmp_path / "alone", mixed())
    seen: list[Progress] = []
    assert train_many(runs, seen.append, n_workers=1) == ["finished"] * 5
    for run, other in zip(runs, alone):
        train(other)
        assert [line["step"] for line in run.metrics()] == [line["step"] for line in other.metrics()]
        assert run.metrics()[-1]["loss"] == pytest.approx(other.metrics()[-1]["loss"], rel=1e-3)
    assert [told.step for told in seen] == sorted(told.step for told in seen)
    assert {(told.n_steps, told.n_runs) for told in seen} == {(60, 5)}
    assert sorted({told.n_done for told in seen}) == [0, 2, 4, 5]
    last = [run.metrics()[-1] for run in runs]
    assert seen[-1].step == 60
    assert seen[-1].loss == pytest.approx(sum(line["loss"] for line in last) / 5)
    assert seen[-1].seconds_left == 0
    assert train_many(runs, seen.append) == ["finished"] * 5, "nothing is left to do"


def test_failures_are_told_and_the_others_go_on(tmp_path: Path):
    configs = [tiny_config(), explode(tiny_config(n_steps=30)), tiny_config(seed=1)]
    runs = folders(tmp_path, configs)
    seen: list[Progress] = []
    states = train_many(runs, seen.append, n_workers=1)
    assert [states[0], states[2]] == ["finished"] * 2
    assert isinstance(states[1], TrainingFailed)
    assert seen[-1].n_done == 3
    assert seen[-1].loss == pytest.approx(sum(runs[i].metrics()[-1]["loss"] for i in (0, 2)) / 2)


def test_runs_stopped_before_they_began_are_stopped_and_all_go_on(tmp_path: Path):
    runs = folders(tmp_path, mixed())
    asked: list[Progress] = []

    def ask_once(progress: Progress) -> None:
        if progress.step == 16 and not asked:  # what has ended is told as well
            asked.append(progress)
            os.kill(os.getpid(), signal.SIGINT)

    states = train_many(runs, ask_once, n_workers=1)
    assert states == ["stopped"] * 5
    assert [run.status().state for run in runs] == ["stopped", "new", "stopped", "new", "new"]
    assert train_many(runs, n_workers=1) == ["finished"] * 5
    whole = folders(tmp_path / "whole", mixed())
    train_many(whole, n_workers=1)
    for run, other in zip(runs, whole):
        assert_same_run(run, other)


@pytest.mark.parametrize("n_workers", [0, -2])
def test_a_number_of_processes_below_one_is_refused(tmp_path: Path, n_workers: int):
    told = f"n_workers must be a whole number, at least 1; got {n_workers}. Leave it out for one per core."
    with pytest.raises(InputError, match=re.escape(told)):
        train_many(folders(tmp_path, mixed()), n_workers=n_workers)


# In processes of their own


def training_processes() -> list[psutil.Process]:
    """Training processes of this one, which may have others: a browser's, say."""
    return [child for child in psutil.Process().children() if "workbench.training.workers" in child.cmdline()]


def test_what_comes_out_does_not_depend_on_the_number_of_processes_or_on_their_life(tmp_path: Path):
    few, more = folders(tmp_path / "few", mixed(**LONG)), folders(tmp_path / "more", mixed(**LONG))
    assert train_many(few, n_workers=1) == ["finished"] * 5
    killed: list[int] = []

    def kill_one(progress: Progress) -> None:
        if killed or progress.step < 30:
            return
        trained_by = {run.status().pid for run in more if run.status().state == "running"}
        for pid in trained_by - {None, os.getpid()}:
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)
            return

    assert train_many(more, kill_one, n_workers=2) == ["finished"] * 5
    assert killed
    for run, other in zip(more, few):
        assert_same_run(run, other)
    assert training_processes() == []


def test_processes_are_asked_to_stop_and_tell_what_failed(tmp_path: Path):
    endless = {"n_steps": 10**6, "checkpoint_every": None, "log_every": 5}
    configs = [explode(tiny_config(**endless)), *mixed(**endless)]
    runs = folders(tmp_path, configs)
    others: list[bool] = []

    def stop_later(progress: Progress) -> None:
        others.append(runs[0].status().state == "failed")
        if others[-1]:
            os.kill(os.getpid(), signal.SIGINT)

    states = train_many(runs, stop_later, n_workers=2)
    assert isinstance(states[0], TrainingFailed)
    assert "the last checkpoint is kept" in str(states[0])
    assert states[1:] == ["stopped"] * 5
    assert {run.status().state for run in runs[1:]} <= {"stopped", "new"}
    assert list(tmp_path.rglob("claim.json")) == []
    assert training_processes() == []


@pytest.fixture
def doomed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Workers that die at the first of their groups with a run of this name; the names trained."""
    trained: list[str] = []

    class Doomed(Worker):
        def __init__(self) -> None: ...
        def train(self, runs: Sequence[RunFolder], report: object) -> list[str | Exception]:
            trained.extend(run.name for run in runs)
            if "run-0" in (run.name for run in runs):
                raise WorkerDied("the process that trained it ended with status -9")
            return ["finished"] * len(runs)

        def close(self) -> None: ...

        def stop(self) -> None: ...

    monkeypatch.setattr(many, "Worker", Doomed)
    return trained


def test_a_group_whose_process_dies_is_begun_once_more_and_then_given_up(tmp_path: Path, doomed: list[str]):
    states = train_many(folders(tmp_path, mixed()), n_workers=2)
    assert [type(state) for state in (states[0], states[2])] == [TrainingFailed] * 2
    assert str(states[0]) == "the process that trained it ended with status -9; the last checkpoint is kept."
    assert [states[1], states[3], states[4]] == ["finished"] * 3
    assert sorted(doomed) == ["run-0", "run-0", "run-1", "run-2", "run-2", "run-3", "run-4"]


CHATTER = """
import os, threading, time

def chatter():
    while True:
        os.write(1, b'a library speaks\\n[{"state": "made up"}]\\n{"step": 1}\\nhalf a line ')
        time.sleep(0.001)

print("a start file speaks", flush=True)
threading.Thread(target=chatter, daemon=True).start()
"""


def test_what_else_a_worker_writes_is_no_answer_and_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    (tmp_path / "sitecustomize.py").write_text(CHATTER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    seen: list[Progress] = []
    with closing(Worker()) as worker:
        assert worker.train([tiny_run(tmp_path)], seen.append) == ["finished"]
    assert [told.step for told in seen] == [1, 2, 4, 6, 8, 10, 12]
    said = capfd.readouterr()
    assert said.out == ""
    assert all(line in said.err for line in ("a start file speaks", "a library speaks", "half a line"))


def test_a_worker_whose_answers_nobody_reads_any_more_saves_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = tiny_run(tmp_path, n_steps=10**6, checkpoint_every=None, log_every=5)
    answers, told = os.pipe()
    os.close(answers)
    monkeypatch.setattr(sys, "argv", ["workers", str(told)])
    monkeypatch.setattr(sys, "stdin", StringIO(json.dumps([str(run.path)]) + "\n"))
    workers.main()
    assert (run.status().state, run.status().step) == ("stopped", 1)
    assert run.checkpoint_steps()[-1] == 1


def test_a_worker_that_is_gone_says_how_it_ended(tmp_path: Path):
    worker = Worker()
    threading.Timer(0.1, worker.stop).start()
    with pytest.raises(WorkerDied, match="ended with status"):
        worker.train([tiny_run(tmp_path)], print)
    worker.close()
