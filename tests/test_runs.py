"""Run folders: made, named, listed, written whole or not at all."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import abandoned, tiny_config, tiny_run
from workbench import checkpoints, runs
from workbench.errors import InputError
from workbench.files import aside
from workbench.run_names import check_name, run_path
from workbench.runs import RunFolder, result_key, run_inside, run_names

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


def test_a_name_that_another_process_takes_in_the_meantime_is_refused_as_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = os.rename

    def late(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "rename", real)
        tiny_run(tmp_path, "a", seed=1)
        real(source, target)

    monkeypatch.setattr(os, "rename", late)
    with pytest.raises(InputError, match=r"run 'a' exists already at .* Resume it, or choose another name"):
        tiny_run(tmp_path, "a")
    assert os.listdir(tmp_path) == ["a"]
    assert RunFolder.open(tmp_path / "a").config()["train"]["seed"] == 1


def test_a_half_written_folder_is_no_run_and_goes_at_the_next_start(tmp_path: Path):
    half = abandoned(tmp_path / "a")
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
    "before the weights": (checkpoints, "write_bytes", lambda path, data: path.name == "model.safetensors"),
    "between the files": (checkpoints, "write_bytes", lambda path, data: path.name == "train_state.pt"),
    "before the manifest": (checkpoints, "write_json", lambda path, data: path.name == "MANIFEST.json"),
    "before the rename": (os, "rename", lambda source, target: True),
}


@pytest.mark.parametrize("place", INTERRUPTIONS.values(), ids=INTERRUPTIONS)
def test_an_interrupted_save_leaves_the_previous_checkpoint_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[Any, ...]
):
    folder = tiny_run(tmp_path)
    folder.save_checkpoint(4, WEIGHTS, {"step": 4})
    with monkeypatch.context() as patch:
        fail_at(patch, *place)
        with pytest.raises(KeyboardInterrupt):
            folder.save_checkpoint(8, {"w": torch.zeros(1)}, {"step": 8})
    assert os.listdir(folder.path / "checkpoints") == ["step-00000004"]
    assert folder.weights().keys() == WEIGHTS.keys()
    assert folder.train_state() == {"step": 4}
    folder.save_checkpoint(8, {"w": torch.zeros(1)}, {"step": 8})
    assert folder.checkpoint_steps() == [4, 8]


@pytest.mark.parametrize("name", ["step-0000004", "step-000000004", "step-٠٠٠٠٠٠٠٤", "step-4", "step-00000004.old"])
def test_a_folder_of_another_name_is_no_checkpoint(tmp_path: Path, name: str):
    folder = tiny_run(tmp_path)
    folder.save_checkpoint(4, WEIGHTS, {"step": 4})
    (folder.path / "checkpoints" / "step-00000004").rename(folder.path / "checkpoints" / name)
    assert folder.checkpoint_steps() == []


def test_the_lines_before_a_checkpoint_are_on_disk_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tiny_run(tmp_path)
    folder.append_metrics({"step": 4})
    lines, done, fsync, rename = folder.metrics_path.stat().st_ino, [], os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append(os.fstat(handle).st_ino == lines), fsync(handle)))
    monkeypatch.setattr(os, "rename", lambda *paths: (done.append("rename"), rename(*paths)))
    folder.save_checkpoint(4, WEIGHTS, {})
    assert done.index(True) < done.index("rename")


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
        abandoned(place / "file").write_bytes(b"half")
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


@pytest.mark.parametrize(
    "line",
    [
        *({"loss": 1.0}, {"step": None}, {"step": "1"}, {"step": -1}, {"step": 1.5}, {"step": True}),
        *({"step": 2, "loss": loss} for loss in ("<script>", [1.0], {}, False, "x" * 10_000)),
    ],
    ids=lambda line: str(line)[:40],
)
def test_a_line_of_metrics_with_anything_but_its_step_and_numbers_is_refused(tmp_path: Path, line: dict[str, Any]):
    folder = tiny_run(tmp_path)
    for one in ({"step": 1, "loss": None}, line, {"step": 3, "loss": 1}):
        folder.append_metrics(one)
    with pytest.raises(InputError, match=r"metrics.jsonl line 2 must hold its step and numbers; got") as refused:
        folder.metrics()
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    "junk", [b"[" * 8000 + b"\n", b"\xff\n", b"3\n", b'{"torn', b'{"loss": 1' + b"0" * 400 + b"}\n"]
)
def test_the_last_whole_line_of_metrics_is_found_behind_junk(tmp_path: Path, junk: bytes):
    folder = tiny_run(tmp_path)
    folder.append_metrics({"step": 1, "loss": 0.5})
    with open(folder.path / "metrics.jsonl", "ab") as file:
        file.write(junk)
    assert folder.last_metrics()["loss"] == 0.5


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
