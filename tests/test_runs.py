"""Run folders: whole or not there, checked when read, claimed by one process at a time."""

import hashlib
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import tiny_config, tiny_run
from workbench import runs
from workbench.configs import gathering
from workbench.errors import InputError
from workbench.files import TEMPORARY, aside, read_json, write_json
from workbench.opened import open_run
from workbench.run_names import check_name, run_path
from workbench.runs import RunFolder, result_key, run_inside, run_names
from workbench.training.loop import train

STEPS = [0, 4, 8, 12]
RESULT = {"schema": "mesascope/agreement/1", "checkpoint": 12, "numbers": [0.25, 1e-7, None], "text": "é"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A trained run with a result. Not to be written into: copy it."""
    folder = tiny_run(tmp_path_factory.mktemp("runs"))
    assert train(folder) == "finished"
    folder.save_result("agreement", "0123456789abcdef", RESULT)
    return folder


@pytest.fixture
def run(finished: RunFolder, tmp_path: Path) -> RunFolder:
    """A trained run of the test's own."""
    return RunFolder(Path(shutil.copytree(finished.path, tmp_path / "tiny")))


def last_checkpoint(folder: RunFolder) -> Path:
    return folder.path / "checkpoints" / "step-00000012"


# Making and opening


def test_a_new_run_holds_its_config_and_environment(tmp_path: Path):
    config = tiny_config().to_data()
    folder = RunFolder.create(tmp_path / "deep" / "runs" / "a", config, {"seed": 3})
    assert folder.name == "a"
    assert folder.config() == config
    assert folder.env()["seed"] == 3
    assert folder.status().state == "new"
    assert folder.metrics() == []
    assert folder.checkpoint_steps() == []
    assert repr(folder) == f"RunFolder({str(folder.path)!r})"
    assert os.listdir(tmp_path / "deep" / "runs") == ["a"]


def make_folder(path: Path) -> None:
    path.mkdir()


def make_file(path: Path) -> None:
    path.write_text("precious")


def make_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("occupy", [make_folder, make_file, make_dangling_link])
def test_a_taken_name_is_refused_whatever_has_it(tmp_path: Path, occupy: Callable[[Path], None]):
    occupy(tmp_path / "taken")
    with pytest.raises(InputError, match=r"run 'taken' exists already at .* Resume it, or choose another name"):
        tiny_run(tmp_path, "taken")
    assert os.listdir(tmp_path) == ["taken"]


def test_a_run_is_refused_where_nothing_can_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(InputError, match="file/a must be writable; "):
        tiny_run(tmp_path / "file", "a")
    with pytest.raises(InputError, match="a must be writable; No such file or directory"):
        tiny_run(Path("/proc/self/nothing"), "a")


def test_a_run_that_cannot_be_written_to_its_end_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs, "write_json", full)
    with pytest.raises(InputError, match="a must be writable; No space left on device"):
        tiny_run(tmp_path, "a")
    assert os.listdir(tmp_path) == []


def test_a_half_written_folder_is_no_run_and_goes_at_the_next_start(tmp_path: Path):
    half = tmp_path / f"{TEMPORARY}{2**22 + 1}-{2**22 + 1}-a"
    half.mkdir()
    (half / "config.json").write_text("{}")
    assert run_names(tmp_path) == []
    with pytest.raises(InputError, match="a run name must be"):
        run_inside(tmp_path, half.name)
    tiny_run(tmp_path, "a")
    assert os.listdir(tmp_path) == ["a"]


def test_runs_are_listed_by_name_and_other_things_are_not(tmp_path: Path):
    for name in ("b", "a"):
        tiny_run(tmp_path, name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    assert run_names(tmp_path) == ["a", "b"]
    assert run_names(tmp_path / "nothing") == []
    assert run_names(tmp_path / "file") == []


def test_a_run_that_is_not_there_is_refused_with_the_known_ones(tmp_path: Path):
    tiny_run(tmp_path, "a")
    with pytest.raises(InputError, match=r"no run at .*b; known in .*: a\."):
        RunFolder.open(tmp_path / "b")
    with pytest.raises(InputError, match=r"known in .*: none\."):
        RunFolder.open(tmp_path / "nothing" / "b")
    assert RunFolder.open(tmp_path / "a").config() == tiny_config().to_data()


# Names

BAD_NAMES = ["../x", "/etc/passwd", "a\0b", "%2e%2e/x", "..\\x", "", ".", "..", "ok\n", "a" * 5000, "a/b", "-a", ".a"]
BAD_NAMES += ["a b", "é", "~", "$HOME", "a:b", "con|", "a" * 101, " a", "a;b"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_is_no_run_name_is_refused_everywhere(tmp_path: Path, name: str):
    with pytest.raises(InputError, match="a run name must be up to 100 letters") as refused:
        check_name(name)
    assert len(str(refused.value)) < 200, "a long name is cut"
    with pytest.raises(InputError, match="a run name must be"):
        run_inside(tmp_path, name)
    with pytest.raises(InputError):
        RunFolder.open(run_path(name, tmp_path))
    if name and name == Path(name).name:
        with pytest.raises(InputError, match="a run name must be"):
            RunFolder.create(tmp_path / name, {}, {})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a", "0", "run.1", "a_b-c", "A" * 100, "x..y"])
def test_a_run_name_is_let_in(name: str):
    assert check_name(name) == name


@given(name=st.text())
def test_a_name_that_is_let_in_stays_inside_the_runs_folder(name: str):
    root = Path("/runs")
    try:
        check_name(name)
    except InputError:
        return
    assert (root / name).resolve().parent == root


def test_twins_that_differ_in_case_are_different_runs(tmp_path: Path):
    tiny_run(tmp_path, "twin")
    with pytest.raises(InputError, match="no run at"):
        run_inside(tmp_path, "Twin")


def test_a_link_that_leads_out_of_the_runs_folder_is_refused(tmp_path: Path):
    outside = tiny_run(tmp_path / "elsewhere", "a")
    root = tmp_path / "runs"
    tiny_run(root, "b")
    (root / "link").symlink_to(outside.path)
    (root / "etc").symlink_to("/etc")
    for name in ("link", "etc"):
        with pytest.raises(InputError, match=f"run '{name}' must lie in .*; it leads elsewhere"):
            run_inside(root, name)
    assert run_inside(root, "b").name == "b"


def test_a_runs_folder_may_itself_be_a_link(tmp_path: Path):
    tiny_run(tmp_path / "real", "a")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert run_inside(tmp_path / "link", "a").name == "a"


def test_a_run_is_a_name_in_the_runs_folder_or_a_path():
    assert run_path("a", "runs") == Path("runs/a")
    assert run_path("runs/a", "elsewhere") == Path("runs/a")
    assert run_path("/far/runs/a", "elsewhere") == Path("/far/runs/a")
    for climbing in ("../a", "runs/../a", "/far/../a", ".."):
        with pytest.raises(InputError, match=r"a run must lie in the runs folder.* without '..'"):
            run_path(climbing)


def test_a_path_longer_than_the_system_allows_is_refused_in_words(tmp_path: Path):
    with pytest.raises(InputError, match="no run at"):
        RunFolder.open(run_path("x" * 5000 + "/a", tmp_path))
    with pytest.raises(InputError, match="must be writable; File name too long"):
        RunFolder.create(run_path("x" * 5000 + "/a", tmp_path), {}, {})


# Damage: every file kind, one bit in every region and 20 truncations


def read_config(folder: RunFolder) -> Any:
    return folder.config()


def read_env(folder: RunFolder) -> Any:
    return folder.env()


def read_status(folder: RunFolder) -> Any:
    return folder.status()


def read_weights(folder: RunFolder) -> Any:
    return {name: weight.tolist() for name, weight in folder.weights().items()}


def read_train_state(folder: RunFolder) -> Any:
    return repr(folder.train_state())


def read_sha256(folder: RunFolder) -> Any:
    return folder.weights_sha256()


def read_results(folder: RunFolder) -> Any:
    return [folder.result("agreement", "0123456789abcdef"), folder.results("agreement")]


CHECKED = {
    "config.json": read_config,
    "env.json": read_env,
    "status.json": read_status,
    "checkpoints/step-00000012/MANIFEST.json": read_sha256,
    "checkpoints/step-00000012/model.safetensors": read_weights,
    "checkpoints/step-00000012/train_state.pt": read_train_state,
    "results/agreement/0123456789abcdef.json": read_results,
}


def test_every_file_of_a_finished_run_is_checked_here(finished: RunFolder):
    found = {str(p.relative_to(finished.path)) for p in finished.path.rglob("*") if p.is_file()}
    last = {name for name in found if not name.startswith("checkpoints") or "step-00000012" in name}
    assert last == {*CHECKED, "metrics.jsonl"}


def refused_or_the_same(folder: RunFolder, name: str, read: Callable[[RunFolder], Any], reference: Any) -> bool:
    """True if the damaged file was refused by name; that it reads differently is never allowed."""
    faults: list[str] = []
    with gathering(faults):
        found = read(folder)
    if faults:
        assert Path(name).name in faults[0]
        assert "\n" not in faults[0]
        return True
    assert found == reference, "damage changed what is read, and nobody was told"
    return False


@pytest.mark.parametrize("name", CHECKED)
def test_a_flipped_bit_anywhere_is_refused_by_the_files_name(run: RunFolder, name: str):
    read, path = CHECKED[name], run.path / name
    reference, content = read(run), path.read_bytes()
    positions = sorted({*range(0, len(content), max(1, len(content) // 150)), *range(min(100, len(content)))})
    refused = 0
    for position in positions:
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        refused += refused_or_the_same(run, name, read, reference)
    # A flip may turn 1e-07 into 1E-07, which is the same number; in binary files nothing is equal but the same.
    assert refused >= len(positions) - (2 if name.endswith(".json") else 0)


@pytest.mark.parametrize("name", CHECKED)
def test_a_truncated_file_is_refused_by_its_name(run: RunFolder, name: str):
    read, path = CHECKED[name], run.path / name
    reference, content = read(run), path.read_bytes()
    for part in range(20):
        path.write_bytes(content[: part * len(content) // 20])
        assert refused_or_the_same(run, name, read, reference), f"{part}/20 of the file were accepted"


@pytest.mark.parametrize("name", [name for name in CHECKED if "step-" in name])
def test_a_missing_file_of_a_checkpoint_is_refused_or_the_checkpoint_is_not_there(run: RunFolder, name: str):
    (run.path / name).unlink()
    if name.endswith("MANIFEST.json"):
        assert run.checkpoint_steps() == STEPS[:-1]
    else:
        with pytest.raises(InputError, match=f"{Path(name).name} must match its checksum"):
            CHECKED[name](run)


def test_metrics_never_read_as_other_numbers(run: RunFolder):
    path = run.path / "metrics.jsonl"
    reference, content = run.metrics(), path.read_bytes()
    assert len(reference) == 7
    positions, refused = range(0, len(content) - 1, 7), 0
    for position in positions:
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        faults: list[str] = []
        with gathering(faults):
            assert run.metrics() == reference, "1e-05 and 1E-05 are the same number; nothing else may pass"
        refused += len(faults)
        line = content[:position].count(b"\n") + 1
        assert all(f"metrics.jsonl line {line} must match its checksum" in fault for fault in faults)
    assert refused >= len(positions) - 2
    for part in range(20):
        path.write_bytes(content[: part * len(content) // 20])
        found = run.metrics()
        assert found == reference[: len(found)], "a cut file holds the first lines and nothing else"


def test_the_rest_of_a_run_can_be_read_when_one_checkpoint_is_damaged(run: RunFolder):
    (last_checkpoint(run) / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="Delete the folder step-00000012 to fall back on an earlier checkpoint"):
        run.weights()
    assert run.weights(8).keys()
    shutil.rmtree(last_checkpoint(run))
    assert run.checkpoint_steps() == STEPS[:-1]
    assert run.resolve_step(None) == 8


# Files that somebody made on purpose: their checksums match


def plant(folder: RunFolder, name: str, content: bytes) -> None:
    """Put a file into the last checkpoint and make the manifest agree."""
    path = last_checkpoint(folder)
    (path / name).write_bytes(content)
    manifest = read_json(path / "MANIFEST.json")
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    write_json(path / "MANIFEST.json", manifest)


class Touch:
    """A pickle of this makes a file when it is loaded by something that trusts it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def torch_file(value: Any, path: Path) -> bytes:
    torch.save({"optimizer": value}, path)
    return path.read_bytes()


def plain_pickle(value: Any, path: Path) -> bytes:
    return pickle.dumps(value, protocol=2)


@pytest.mark.parametrize("write", [torch_file, plain_pickle])
def test_a_planted_pickle_is_refused_and_not_run(run: RunFolder, tmp_path: Path, write: Callable[[Any, Path], bytes]):
    touched = tmp_path / "touched"
    content = write(Touch(touched), tmp_path / "planted.pt")
    plant(run, "train_state.pt", content)
    with pytest.raises(InputError, match=r"train_state.pt must hold tensors and plain .*nothing in it was run"):
        run.train_state()
    with pytest.raises(InputError, match=r"train_state.pt must hold"):
        train(run)
    assert not touched.exists()
    pickle.loads(pickle.dumps(Touch(touched)))  # the control: the same pickle does touch the file when trusted
    assert touched.exists()


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04junk", b"\x80\x02]q\x00."])
def test_a_training_state_that_is_none_is_refused(run: RunFolder, content: bytes):
    plant(run, "train_state.pt", content)
    with pytest.raises(InputError, match=r"train_state.pt must hold|must hold the state of this run's optimizer"):
        train(run)


def header(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode() + b"\0" * 4


def tensor_header(**fields: Any) -> bytes:
    return header(json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **fields}}))


HOSTILE = {
    "a shape of 2^60": tensor_header(shape=[2**60]),
    "a product of shapes that overflows": tensor_header(shape=[2**33, 2**33]),
    "a negative shape": tensor_header(shape=[-1]),
    "negative offsets": tensor_header(data_offsets=[-4, 0]),
    "offsets beyond the end": tensor_header(data_offsets=[0, 2**40]),
    "an unknown dtype": tensor_header(dtype="PICKLE"),
    "a dtype that torch lacks": tensor_header(dtype="F4", shape=[8]),
    "a header length of 2^60": struct.pack("<Q", 2**60) + b"{}",
    "a header length of 100 MB": struct.pack("<Q", 10**8) + b" " * 1000,
    "deep nesting": header("[" * 100_000),
    "no header": b"abc",
    "nothing": b"",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_weights_file_is_refused_fast_and_without_memory(run: RunFolder, content: bytes):
    plant(run, "model.safetensors", content)
    before, started = psutil.Process().memory_info().rss, time.monotonic()
    with pytest.raises(InputError, match=r"model.safetensors must be a safetensors file of weights"):
        run.weights()
    assert time.monotonic() - started < 1
    assert psutil.Process().memory_info().rss - before < 200 * 2**20


@pytest.mark.parametrize("change", ["missing", "more", "narrow"])
def test_weights_of_another_model_are_refused(run: RunFolder, change: str):
    from safetensors.torch import save

    weights = run.weights()
    name = next(name for name, weight in weights.items() if weight.ndim == 2 and 1 not in weight.shape)
    changed = {
        "missing": {key: value for key, value in weights.items() if key != name},
        "more": {**weights, "another": torch.zeros(1)},
        "narrow": {**weights, name: weights[name][:1].contiguous()},  # one row would be broadcast over all
    }[change]
    plant(run, "model.safetensors", save(changed))
    with pytest.raises(InputError, match="weights must be those of the model; they differ in"):
        open_run(run.path).model()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"schema": "mesascope/checkpoint/2"},
            "must have schema 'mesascope/checkpoint/1'; got 'mesascope/checkpoint/2'",
        ),
        ({"schema": None}, "must have schema"),
        ({"config_sha256": "0" * 64}, "must belong to this run's config; it comes from another run"),
        ({"step": 8}, "must be of step 12; it is of step 8"),
        ({"files": None}, "must list model.safetensors and train_state.pt"),
        ({"files": {"model.safetensors": "0"}}, "must list model.safetensors and train_state.pt"),
        (
            {"files": {"model.safetensors": None, "train_state.pt": None}},
            "must list model.safetensors and train_state.pt",
        ),
    ],
)
def test_a_manifest_of_something_else_is_refused(run: RunFolder, change: dict[str, Any], told: str):
    path = last_checkpoint(run) / "MANIFEST.json"
    write_json(path, {**read_json(path), **change})
    with pytest.raises(InputError, match=told):
        run.weights()


@pytest.mark.parametrize(
    "change",
    [{"step": "many"}, {"pid": "1"}, {"pid_started": True}, {"more": 1}, {"heartbeat": None}, {"state": None}],
)
def test_a_status_that_is_none_is_refused_by_the_files_name(run: RunFolder, change: dict[str, Any]):
    path = run.path / "status.json"
    write_json(path, {**read_json(path), **change})
    with pytest.raises(InputError, match=r"status.json"):
        run.status()


def test_a_status_without_its_state_is_refused(run: RunFolder):
    write_json(run.path / "status.json", {"step": 1, "n_steps": 2, "heartbeat": 0.0})
    with pytest.raises(InputError, match=r"status.json.state must be given"):
        run.status()


@pytest.mark.parametrize("pid", [-1, 0, 2**22 + 1, 2**70])
def test_a_pid_that_no_process_can_have_is_a_dead_one(run: RunFolder, pid: int):
    path = run.path / "status.json"
    write_json(path, {**read_json(path), "state": "running", "pid": pid, "pid_started": 1.0})
    assert run.status().state == "killed"


def test_a_config_that_somebody_edited_is_refused(run: RunFolder):
    path = run.path / "config.json"
    path.write_text(path.read_text().replace('"seed":0', '"seed":1'))
    with pytest.raises(InputError, match=r"config.json must match its checksum in env.json"):
        run.config()


# Claims and status, with real processes

CLAIMER = """
import sys
from pathlib import Path
from workbench.runs import RunFolder
folder = RunFolder(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
try:
    folder.claim()
    folder.write_status("running", 3, 12)
    print("claimed", flush=True)
except ValueError as error:
    print(error, flush=True)
sys.stdin.readline()
"""


@contextmanager
def claimers(folder: RunFolder, n: int = 1) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that claim the run as soon as they read a line, say what came of it, and stay."""
    command = [sys.executable, "-c", CLAIMER, str(folder.path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(n)]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def claim_in(process: subprocess.Popen[str]) -> str:
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_a_second_claimer_is_told_who_trains_until_that_process_is_killed(tmp_path: Path):
    folder = tiny_run(tmp_path)
    with claimers(folder) as [process]:
        assert claim_in(process) == "claimed"
        with pytest.raises(InputError, match=f"run 'tiny' is being trained by process {process.pid}. Wait"):
            folder.claim()
        with pytest.raises(InputError, match=f"by process {process.pid}"):
            train(folder)
        assert folder.status().state == "running"
        process.kill()
        deadline = time.monotonic() + 5  # the process stays a zombie: nobody has waited for it
        while folder.status().state == "running" and time.monotonic() < deadline:
            time.sleep(0.01)
        status = folder.status()
        assert (status.state, status.step, status.n_steps, status.pid) == ("killed", 3, 12, None)
        assert train(folder) == "finished"


def test_a_claim_of_another_process_with_the_same_id_is_taken_over(tmp_path: Path):
    folder = tiny_run(tmp_path)
    with claimers(folder) as [process]:
        claim_in(process)
        path = folder.path / "claim.json"
        claim = json.loads(path.read_text())
        assert claim["pid"] == process.pid
        path.write_text(json.dumps({**claim, "pid_started": claim["pid_started"] - 3600}))
        status = read_json(folder.path / "status.json")
        write_json(folder.path / "status.json", {**status, "pid_started": status["pid_started"] - 3600})
        assert folder.status().state == "killed"
        folder.claim()
        assert json.loads(path.read_text())["pid"] == os.getpid()
        folder.release()
        folder.claim()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": 1}', b'{"pid": "x", "pid_started": 1}', b"[" * 10**5])
def test_a_damaged_claim_is_taken_over(tmp_path: Path, content: bytes):
    folder = tiny_run(tmp_path)
    (folder.path / "claim.json").write_bytes(content)
    folder.claim()
    assert json.loads((folder.path / "claim.json").read_text())["pid"] == os.getpid()


def test_of_many_claimers_of_a_stale_claim_exactly_one_wins(tmp_path: Path):
    folder = tiny_run(tmp_path)
    (folder.path / "claim.json").write_text('{"pid": 4194305, "pid_started": 1.0}')
    with claimers(folder, 4) as processes:
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        told = [process.stdout.readline().strip() for process in processes]
        [winner] = [process for process, line in zip(processes, told) if line == "claimed"]
        others = [line for line in told if line != "claimed"]
        assert len(others) == 3
        assert all(f"is being trained by process {winner.pid}" in line for line in others)


def test_a_status_keeps_its_error_and_who_wrote_it(tmp_path: Path):
    folder = tiny_run(tmp_path)
    folder.write_status("failed", 4, 12, "ValueError: no")
    status = folder.status()
    assert (status.state, status.step, status.n_steps, status.error) == ("failed", 4, 12, "ValueError: no")
    assert status.pid == os.getpid()
    assert abs(status.heartbeat - time.time()) < 5


# Checkpoints

WEIGHTS = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([float("nan"), 1e-30])}


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path):
    folder = tiny_run(tmp_path)
    state = {"step": 5, "moments": [torch.ones(2), {"a": 1.5}], "name": "adam"}
    folder.save_checkpoint(5, {**WEIGHTS, "view": WEIGHTS["w"].T}, state)
    found = folder.weights(5)
    assert {name: value.numpy().tobytes() for name, value in found.items()} == {
        **{name: value.numpy().tobytes() for name, value in WEIGHTS.items()},
        "view": WEIGHTS["w"].T.contiguous().numpy().tobytes(),
    }
    assert repr(folder.train_state(5)) == repr(state)
    content = (folder.path / "checkpoints" / "step-00000005" / "model.safetensors").read_bytes()
    assert folder.weights_sha256(5) == hashlib.sha256(content).hexdigest()


def test_steps_are_listed_in_order_of_number(tmp_path: Path):
    folder = tiny_run(tmp_path)
    for step in (123_456_789, 2, 10):
        folder.save_checkpoint(step, WEIGHTS, {})
    assert folder.checkpoint_steps() == [2, 10, 123_456_789]
    assert folder.resolve_step(None) == 123_456_789
    assert folder.resolve_step(10) == 10
    with pytest.raises(
        InputError, match=r"step must be a checkpoint of run 'tiny'; got 3. Known: \[2, 10, 123456789\]"
    ):
        folder.weights(3)


def test_a_run_without_checkpoint_says_so(tmp_path: Path):
    with pytest.raises(InputError, match=r"run 'tiny' must have a checkpoint; it has none yet. Train it first"):
        tiny_run(tmp_path).weights()


def fail_at(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, fits: Callable[..., bool]) -> None:
    """Let a function raise as if the process ended there."""
    real = getattr(module, name)

    def failing(*args: Any) -> Any:
        if fits(*args):
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(module, name, failing)


INTERRUPTIONS = {
    "before the weights": (runs, "write_bytes", lambda path, data: path.name == "model.safetensors"),
    "between the files": (runs, "write_bytes", lambda path, data: path.name == "train_state.pt"),
    "before the manifest": (runs, "write_json", lambda path, data: path.name == "MANIFEST.json"),
    "before the rename": (os, "rename", lambda source, target: True),
}


@pytest.mark.parametrize("killed", [False, True], ids=["raised", "killed"])
@pytest.mark.parametrize("place", INTERRUPTIONS.values(), ids=INTERRUPTIONS)
def test_an_interrupted_save_leaves_the_previous_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[Any, ...], killed: bool
):
    folder = tiny_run(tmp_path)
    folder.save_checkpoint(4, WEIGHTS, {"step": 4})
    with monkeypatch.context() as patch:
        fail_at(patch, *place)
        if killed:  # nothing gets the chance to clean up
            patch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
        with pytest.raises(KeyboardInterrupt):
            folder.save_checkpoint(8, {"w": torch.zeros(1)}, {"step": 8})
    assert folder.checkpoint_steps() == [4]
    assert folder.weights().keys() == WEIGHTS.keys()
    assert folder.train_state() == {"step": 4}
    leftovers = sorted(os.listdir(folder.path / "checkpoints"))
    assert len(leftovers) == 1 + killed
    folder.sweep()
    assert os.listdir(folder.path / "checkpoints") == ["step-00000004"]
    folder.save_checkpoint(8, {"w": torch.zeros(1)}, {"step": 8})
    assert folder.checkpoint_steps() == [4, 8]


def test_a_folder_without_manifest_is_no_checkpoint_and_is_replaced(tmp_path: Path):
    folder = tiny_run(tmp_path)
    half = folder.path / "checkpoints" / "step-00000004"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    assert folder.checkpoint_steps() == []
    folder.save_checkpoint(4, WEIGHTS, {})
    assert folder.weights(4).keys() == WEIGHTS.keys()


def test_sweeping_a_run_removes_leftovers_from_every_folder(run: RunFolder):
    places = [run.path, run.path / "checkpoints", run.path / "results" / "agreement"]
    before = {place: sorted(os.listdir(place)) for place in places}
    for place in places:
        aside(place / "file").write_bytes(b"half")
    run.sweep()
    assert {place: sorted(os.listdir(place)) for place in places} == before


# Metrics, results, report


def test_metrics_are_added_line_by_line_and_cut_at_a_step(tmp_path: Path):
    folder = tiny_run(tmp_path)
    for step in range(1, 5):
        folder.append_metrics({"step": step, "loss": step / 3})
    assert [line["step"] for line in folder.metrics()] == [1, 2, 3, 4]
    folder.truncate_metrics(2)
    assert folder.metrics() == [{"step": 1, "loss": 1 / 3}, {"step": 2, "loss": 2 / 3}]
    folder.truncate_metrics(0)
    assert folder.metrics() == []


def test_results_are_kept_by_analysis_and_key_oldest_first(tmp_path: Path):
    folder = tiny_run(tmp_path)
    assert folder.result("agreement", "a") is None
    assert folder.results("agreement") == []
    for time_of_writing, key in enumerate("cab"):
        folder.save_result("agreement", key, {"key": key, "nan": float("nan")})
        os.utime(folder.path / "results" / "agreement" / f"{key}.json", (time_of_writing, time_of_writing))
    aside(folder.path / "results" / "agreement" / "d.json").write_bytes(b"half")
    assert folder.result("agreement", "a") == {"key": "a", "nan": None}
    assert [result["key"] for result in folder.results("agreement")] == ["c", "a", "b"]
    assert folder.results("claims") == []


def test_a_result_is_kept_under_everything_that_it_depends_on():
    parts = {"analysis": "agreement", "config": {"seed": 0}, "weights": "0" * 64}
    assert result_key(parts) == result_key(dict(reversed(parts.items())))
    assert len(result_key(parts)) == 16
    for change in ({"config": {"seed": 1}}, {"weights": "1" * 64}, {"code": 2}):
        assert result_key({**parts, **change}) != result_key(parts)


def test_the_report_is_replaced_as_a_whole(tmp_path: Path):
    folder = tiny_run(tmp_path)
    for text in ("<p>é</p>", "<p>2</p>"):
        assert folder.write_report(text) == folder.report_path
        assert folder.report_path.read_text(encoding="utf-8") == text
