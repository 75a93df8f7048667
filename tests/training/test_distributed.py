"""Two processes on one run: the same run as one process's, and an end for both when one of them ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch.distributed import TCPStore

from tests.helpers import tiny_config, tiny_run
from tests.training.processes import Commands, commands, wait_until
from tests.training.test_loop import assert_same_run
from workbench import processes
from workbench.errors import InputError
from workbench.runs import RunFolder, run_names
from workbench.training import distributed
from workbench.training.distributed import World, joined, local_device
from workbench.training.loop import train

LONG = {"n_steps": 160, "checkpoint_every": 40, "log_every": 1, "n_threads": 1}


@pytest.fixture(scope="module")
def outside() -> Iterator[Commands]:
    with commands() as all_of_them:
        yield all_of_them


@contextmanager
def meeting_point(n: int) -> Iterator[list[dict[str, str]]]:
    """The environment that torchrun gives to each of n processes; on the loopback interface alone."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        store = TCPStore(
            "127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach(),
            timeout=timedelta(seconds=60),
        )  # fmt: skip
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(n),
        "LOCAL_WORLD_SIZE": str(n),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    yield [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(n)]
    del store


@contextmanager
def started(outside: Commands, words: Sequence[object], n: int = 2, fault: str = "") -> Iterator[list[int]]:
    """The ids of n processes of one command, in which something may go wrong."""
    with meeting_point(n) as environments:
        yield [outside.start(words, environment=each, fault=fault) for each in environments]


def ended(outside: Commands, words: Sequence[object], n: int = 2, fault: str = "") -> tuple[list[int], list[str]]:
    """How n processes of one command ended, and what they said.

    Raises:
        TimeoutError: If one of them waits for ever.
    """
    with started(outside, words, n, fault) as pids:
        try:
            wait_until(lambda: not any(map(processes.started, pids)))
        except TimeoutError:
            for pid in pids:
                outside.kill(pid)
            raise
        return [outside.exit_code(pid) for pid in pids], [outside.said(pid) for pid in pids]


def trained_together(outside: Commands, folder: RunFolder) -> RunFolder:
    codes, said = ended(outside, ["train", "--resume", folder.path])
    assert codes == [0, 0], said
    assert "finished" in said[0]
    assert said[1] == "", "the first process speaks for all"
    return folder


def again(folder: RunFolder, name: str) -> RunFolder:
    """The same run before its first step."""
    return RunFolder.create(folder.path.with_name(name), folder.config(), {})


# The same run


SCHEDULED = {
    "schedule": "cosine", "warmup_steps": 3, "clip_norm": 0.5, "optimizer": "adamw", "weight_decay": 0.1,
    "d_start": 1, "d_every": 2, "n_start": 1, "n_every": 2, "n_add": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "precision", "tolerance"),
    [({"n_batch": 7}, "float64", 1e-10), (SCHEDULED, "float64", 1e-10), ({}, "float32", 1e-5)],
    ids=["an odd number of prompts", "curriculum, schedule, clipping", "float32"],
)
def test_two_processes_train_the_run_of_one(
    outside: Commands, tmp_path: Path, settings: dict[str, Any], precision: str, tolerance: float
):
    alone = tiny_run(tmp_path, "alone", precision=precision, log_every=1, n_threads=1, **settings)
    together = trained_together(outside, again(alone, "together"))
    assert train(alone) == "finished"
    assert together.checkpoint_steps() == alone.checkpoint_steps()
    one, two = alone.weights(), together.weights()
    for name in one:
        if precision == "float64" or not name.endswith("qkv.bias"):  # Adam divides the rounding of a gradient of 0
            torch.testing.assert_close(two[name], one[name], rtol=tolerance, atol=tolerance)
    for line, expected in zip(together.metrics(), alone.metrics(), strict=True):
        for name in ("step", "loss", "excess", "lr", "grad_norm", "d_active", "n_active"):
            assert line[name] == pytest.approx(expected[name], rel=10 * tolerance, abs=10 * tolerance), name


def test_two_processes_train_the_same_run_twice(outside: Commands, tmp_path: Path):
    one = trained_together(outside, tiny_run(tmp_path, "one", log_every=1, n_threads=1))
    assert_same_run(trained_together(outside, again(one, "two")), one)


def test_two_processes_agree_with_torchs_own_data_parallel_training(outside: Commands, tmp_path: Path):
    folder = tiny_run(tmp_path, precision="float64", clip_norm=0.5, n_threads=1)
    with meeting_point(2) as environments:
        words = [sys.executable, "-m", "tests.training.reference_ddp", str(folder.config_path), str(tmp_path / "w.pt")]
        root = Path(__file__).parents[2]
        reference = [subprocess.Popen(words, env={**os.environ, **each}, cwd=root) for each in environments]
        trained_together(outside, folder)
        assert [process.wait() for process in reference] == [0, 0]
    expected, found = torch.load(tmp_path / "w.pt"), folder.weights()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight.detach(), rtol=1e-10, atol=1e-10)


def test_three_processes_make_a_run_that_the_first_names(outside: Commands, tmp_path: Path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(tiny_config(n_threads=1).to_data()))
    command = ["train", "linear_regression", "--config", config, "--runs", tmp_path / "runs", "--json"]
    codes, said = ended(outside, command, 3)
    assert codes == [0, 0, 0], said
    (name,) = run_names(tmp_path / "runs")
    assert RunFolder.open(tmp_path / "runs" / name).status().state == "finished"
    assert f'"run": "{name}"' in said[0]
    assert said[1:] == ["", ""]


# Ends


@pytest.fixture(scope="module")
def long(outside: Commands, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """An uninterrupted run of two processes."""
    return trained_together(outside, tiny_run(tmp_path_factory.mktemp("runs"), "whole", **LONG))


def is_under_way(folder: RunFolder, pids: Sequence[int]) -> bool:
    return len(folder.metrics()) > 10 or not all(map(psutil.pid_exists, pids))


@pytest.mark.parametrize("asked", [[0, 1], [1]], ids=["both", "the second"])
def test_processes_asked_to_stop_save_once_and_go_on_later(
    outside: Commands, long: RunFolder, tmp_path: Path, asked: list[int]
):
    folder = RunFolder.create(tmp_path / "stopped", long.config(), {})
    with started(outside, ["train", "--resume", folder.path]) as pids:
        wait_until(partial(is_under_way, folder, pids))
        for rank in asked:
            os.kill(pids[rank], signal.SIGTERM)
        assert [outside.exit_code(pid) for pid in pids] == [130, 130], list(map(outside.said, pids))
    status = folder.status()
    assert (status.state, status.step) == ("stopped", folder.checkpoint_steps()[-1])
    assert 10 < status.step < LONG["n_steps"]
    assert outside.said(pids[0]).count("next: mesascope train --resume") == 1
    assert outside.said(pids[1]) == ""
    assert_same_run(trained_together(outside, folder), long)


@pytest.mark.parametrize(("killed", "state"), [(0, "killed"), (1, "failed")])
def test_a_process_whose_other_is_killed_ends_too_and_the_run_goes_on_later(
    outside: Commands, long: RunFolder, tmp_path: Path, killed: int, state: str
):
    folder = RunFolder.create(tmp_path / "killed", long.config(), {})
    with started(outside, ["train", "--resume", folder.path]) as pids:
        wait_until(partial(is_under_way, folder, pids))
        outside.kill(pids[killed])
        assert outside.exit_code(pids[1 - killed]) == 1, "in seconds, not in minutes"
    told = outside.said(pids[1 - killed])
    assert f"process {killed} of this training is gone" in told
    assert "Traceback" not in told
    assert folder.status().state == state
    assert_same_run(trained_together(outside, folder), long)


def test_a_loss_that_explodes_ends_all_and_is_told_once(outside: Commands, tmp_path: Path):
    folder = tiny_run(tmp_path, optimizer="sgd", lr=1e12, n_steps=30, checkpoint_every=1, n_threads=1)
    codes, said = ended(outside, ["train", "--resume", folder.path])
    assert codes == [1, 1]
    assert said[0].count("TrainingFailed: the loss is") == 1
    assert said[1] == ""
    assert folder.status().state == "failed"


def test_a_process_that_fails_says_why_and_the_others_that_it_is_gone(
    outside: Commands, long: RunFolder, tmp_path: Path
):
    folder = RunFolder.create(tmp_path / "failed", long.config(), {})
    codes, said = ended(outside, ["train", "--resume", folder.path], 2, "raises")
    assert codes == [1, 1], said
    *_, told = said[0].splitlines()
    assert "process 1 of this training is gone" in told
    assert told.endswith("the last checkpoint is kept. Go on with --resume. (set MESASCOPE_DEBUG=1 for the traceback)")
    assert said[1].startswith("mesascope train failed: RuntimeError: a planted error"), "and nothing else"
    assert said[1].count("\n") == 1
    assert (folder.status().state, folder.checkpoint_steps()) == ("failed", [0])
    assert_same_run(trained_together(outside, folder), long)


@pytest.mark.parametrize("killed", [0, 1, 2])
def test_a_process_that_waits_for_an_accelerator_does_not_outlive_the_others(
    outside: Commands, tmp_path: Path, killed: int
):
    """There nothing tells it that another is gone; the system does."""
    folder = tiny_run(tmp_path, n_steps=40, checkpoint_every=10, log_every=1, n_threads=1)
    with started(outside, ["train", "--resume", folder.path], 3, "hears nothing") as pids:
        wait_until(lambda: all("waits" in outside.said(pid) for pid in pids))
        began = time.monotonic()
        outside.kill(pids[killed])
        left = [rank for rank in range(3) if rank != killed]
        assert [outside.exit_code(pids[rank]) for rank in left] == [1, 1]
        assert time.monotonic() - began < 20, "in seconds, not in minutes"
    first, second = (outside.said(pids[rank]) for rank in left)
    told = (
        f"process {killed} of this training is gone (this one still waited for it); the last checkpoint is kept. "
        "Go on with --resume."
    )
    assert first.splitlines()[-2:] == ["waits", told]
    assert second == "waits\n", "one of them tells it"
    assert (folder.status().state, folder.checkpoint_steps()) == ("killed", [0, 10, 20])
    assert trained_together(outside, folder).checkpoint_steps() == [0, 10, 20, 30, 40]


# Graphs, in all processes or in none


@pytest.mark.parametrize(
    ("fault", "engine"),
    [
        ("none", "graph"),
        ("fails to compile", "eager (the capture failed: RuntimeError: no compiler here (in process 1))"),
        ("fails to capture", "eager (the capture failed: RuntimeError: not permitted (in process 1))"),
    ],
)
def test_processes_of_which_one_has_no_graph_all_train_line_by_line(
    outside: Commands, tmp_path: Path, fault: str, engine: str
):
    folder = tiny_run(tmp_path, n_threads=1)
    codes, said = ended(outside, ["train", "--resume", folder.path], 2, fault)
    assert codes == [0, 0], said
    assert folder.train_state()["engine"] == engine
    plain = trained_together(outside, again(folder, "plain"))
    assert folder.weights().keys() == plain.weights().keys()
    assert all(torch.equal(weight, folder.weights()[name]) for name, weight in plain.weights().items())


@pytest.mark.parametrize(
    ("fault", "because"), [("fails to compile", "no compiler here"), ("fails to capture", "not permitted")]
)
def test_a_graph_asked_for_that_one_process_cannot_have_is_refused_in_all(
    outside: Commands, tmp_path: Path, fault: str, because: str
):
    folder = tiny_run(tmp_path, engine="graph")
    told = refused(outside, ["train", "--resume", folder.path], fault)
    assert told == (
        "mesascope train: train.engine must fit the device; got 'graph', but the capture failed: "
        f"RuntimeError: {because} (in process 1). Use auto."
    )


# Refusals


def refused(outside: Commands, words: Sequence[object], fault: str = "") -> str:
    """The one line of a refusal, by the first process alone."""
    codes, said = ended(outside, words, 2, fault)
    assert codes == [2, 2], said
    assert said[1] == ""
    *notes, told = said[0].splitlines()
    assert all(note.startswith("run ") for note in notes)
    return told


def test_a_run_that_another_process_trains_is_refused_in_all(outside: Commands, tmp_path: Path):
    folder = tiny_run(tmp_path)
    folder.claim()
    told = refused(outside, ["train", "--resume", folder.path])
    assert f"run 'tiny' is being trained by process {os.getpid()}" in told


def test_a_name_that_is_taken_is_refused_in_all(outside: Commands, tmp_path: Path):
    folder = tiny_run(tmp_path)
    command = ["train", "linear_regression", "--config", folder.config_path, "--runs", tmp_path, "--out", "tiny"]
    assert "run 'tiny' exists already" in refused(outside, command)


def test_a_wrong_option_is_told_once(outside: Commands, tmp_path: Path):
    command = ["train", "linear_regression", "--train.n-batch", "0", "--runs", tmp_path]
    assert "n_batch must be a whole number" in refused(outside, command)


def test_fewer_prompts_than_processes_are_refused(outside: Commands, tmp_path: Path):
    told = refused(outside, ["train", "--resume", tiny_run(tmp_path, n_batch=1).path])
    assert "train.n_batch must be at least the number of processes, 2; got 1" in told


def test_several_runs_are_for_one_process(outside: Commands, tmp_path: Path):
    folders = [tiny_run(tmp_path, name) for name in ("one", "two")]
    told = refused(outside, ["train", "--resume", *(folder.path for folder in folders)])
    assert "several runs must be trained by one process; got 2. Leave torchrun out." in told
    command = ["train", "linear_regression", "--vary", "train.seed=0,1", "--runs", tmp_path]
    assert "several runs must be trained by one process" in refused(outside, command)


def environment(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("device", "told"),
    [
        ("cuda:1", "train.device must be cpu or cuda where several processes train; got 'cuda:1'"),
        ("cuda", "there must be a CUDA device for each of the 9999 processes here; got"),
    ],
)
def test_processes_do_not_share_an_accelerator(monkeypatch: pytest.MonkeyPatch, device: str, told: str):
    environment(monkeypatch, {"WORLD_SIZE": "9999", "LOCAL_WORLD_SIZE": "9999", "RANK": "0", "LOCAL_RANK": "0"})
    with pytest.raises(InputError, match=told):
        with joined(device):
            pass


def test_each_process_has_the_device_of_its_number(monkeypatch: pytest.MonkeyPatch):
    assert local_device("cuda") == "cuda"
    environment(monkeypatch, {"LOCAL_RANK": "3"})
    assert [local_device(device) for device in ("cuda", "cuda:1", "cpu")] == ["cuda:3", "cuda:1", "cpu"]


def test_graphs_are_freed_before_processes_part(monkeypatch: pytest.MonkeyPatch):
    """NCCL waits for ever, when it is let go of, for graphs that hold one of its sums."""
    done: list[str] = []
    environment(monkeypatch, {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"})
    monkeypatch.setattr(distributed, "_join", lambda device: done.append(f"join on {device}"))
    monkeypatch.setattr(distributed, "_world", lambda: nullcontext(World(0, 2, 2)))
    monkeypatch.setattr(World, "wait", lambda self: done.append("wait"))
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: done.append("part"))
    with joined("cpu") as world:
        world.leaving.callback(done.append, "free")
    assert done == ["join on cpu", "free", "wait", "part"]
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    with joined("cpu") as world:
        world.leaving.callback(done.append, "free again")
    assert done[4:] == ["free again"], "others part"


def test_every_prompt_is_in_one_processs_share():
    batch = torch.arange(2 * 7 * 3).reshape(2, 7, 3)
    shares = [World(rank, 3).rows(batch) for rank in range(3)]
    assert [share.shape[1] for share in shares] == [3, 2, 2]
    assert torch.equal(torch.cat(shares, 1), batch)


def test_a_process_alone_waits_for_nobody():
    world = World()
    world.wait()
    assert world.of_first("näme") == "näme"
    assert [world.any(True), world.any(False)] == [True, False]
    with pytest.raises(InputError, match="wrong"):
        with world.as_one():
            raise InputError("wrong")
