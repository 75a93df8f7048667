"""Files that are whole or not there, and tell when they were changed."""

import json
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.helpers import abandoned
from workbench import files
from workbench.configs import gathering
from workbench.errors import InputError
from workbench.files import (
    TEMPORARY,
    aside,
    json_line,
    read_json,
    read_json_lines,
    read_object,
    sweep,
    write_bytes,
    write_json,
)

LINES = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": math.nan}, {"step": 3, "loss": -math.inf}]


def break_off(*args: object) -> None:
    raise OSError(28, "No space left on device")


# Whole or not at all


def test_a_write_replaces_the_whole_file(tmp_path: Path):
    path = tmp_path / "file"
    write_bytes(path, b"a long first content")
    write_bytes(path, b"short")
    assert path.read_bytes() == b"short"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("moment", ["fsync", "replace"])
@pytest.mark.parametrize("interruption", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, interruption: BaseException
):
    def interrupt(*args: object) -> None:
        raise interruption

    path = tmp_path / "file"
    write_bytes(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, moment, interrupt)
        with pytest.raises(type(interruption)):
            write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_the_content_is_on_disk_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    done: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (done.append(name), real(*args))[1])
    write_bytes(tmp_path / "file", b"content")
    assert done == ["fsync", "replace", "fsync"], "the file first, then its new name, then the folder"


def test_two_threads_write_aside_under_different_names(tmp_path: Path):
    names = [aside(tmp_path / "file").name]
    thread = threading.Thread(target=lambda: names.append(aside(tmp_path / "file").name))
    thread.start()
    thread.join()
    assert len(set(names)) == 2
    assert all(name.startswith(TEMPORARY) for name in names)


# What interruptions leave behind


def test_sweep_removes_files_and_folders_of_dead_writers_and_nothing_else(tmp_path: Path):
    own = aside(tmp_path / "file")
    own.write_bytes(b"half")
    dead = abandoned(tmp_path / "step-00000001")
    (dead / "inside").mkdir(parents=True)
    kept = ["file", f"{TEMPORARY}made-by-somebody-else", ".hidden"]
    for name in kept:
        (tmp_path / name).write_bytes(b"whole")
    sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


def test_sweep_leaves_what_living_processes_and_threads_are_writing(tmp_path: Path):
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        file = tmp_path / "file"
        living = [abandoned(file, pid=os.getppid()), abandoned(file, pid=os.getpid(), thread=thread.native_id)]
        for path in living:
            path.write_bytes(b"half")
        sweep(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted(living)
    finally:
        stop.set()
        thread.join()


def test_sweep_removes_what_an_earlier_process_with_a_living_id_left(tmp_path: Path):
    old = abandoned(tmp_path / "file", pid=os.getppid())
    old.write_bytes(b"half")
    before = psutil.Process(os.getppid()).create_time() - 3600
    os.utime(old, (before, before))
    sweep(tmp_path)
    assert os.listdir(tmp_path) == []


def test_sweep_leaves_what_another_machine_writes_for_a_day(tmp_path: Path):
    fresh, old = (abandoned(tmp_path / name, host="0123abcd") for name in ("fresh", "old"))
    for path in (fresh, old):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000, time.time() - 90_000))
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [fresh]


# JSON with a checksum


def test_a_document_comes_back_as_it_was_written_with_nan_as_null(tmp_path: Path):
    path = tmp_path / "file.json"
    write_json(path, {"b": [1, 2.5, {"c": None}], "a": math.nan, "é": "ü", "big": 2**70})
    assert read_json(path) == {"b": [1, 2.5, {"c": None}], "a": None, "é": "ü", "big": 2**70}


@pytest.mark.parametrize(
    "data", [{"a": 2}, {"a": 1, "b": 0}, {}, {"a": 1, "sha256": None}, {"a": 1, "sha256": "0" * 64}, {"a": True}]
)
def test_a_document_with_other_content_than_was_written_is_refused(tmp_path: Path, data: dict):
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    path.write_text(json.dumps({"sha256": json.loads(path.read_text())["sha256"], **data}))
    with pytest.raises(InputError, match=r"file.json must match its checksum; it was changed or damaged"):
        read_json(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"junk", b"\xff\xfe\x00", b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": 1e999}', b'{"a": 1}{']
    + [b'{"a": 1' + b"0" * n + b"}" for n in (309, 5000)],
)
def test_what_is_no_json_is_refused_by_the_files_name(tmp_path: Path, content: bytes):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    for read in (read_object, read_json):
        with pytest.raises(InputError, match=r"file.json must be JSON; it is truncated or damaged"):
            read(path)


def test_deep_nesting_is_refused_and_does_not_crash(tmp_path: Path):
    path = tmp_path / "file.json"
    path.write_bytes(b"[" * 100_000)
    with pytest.raises(InputError, match=r"file.json must be JSON"):
        read_object(path)


@pytest.mark.parametrize("content", ["[]", "3", "null", '"text"'])
def test_json_that_is_no_object_is_refused(tmp_path: Path, content: str):
    path = tmp_path / "file.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"file.json must hold a JSON object"):
        read_object(path)


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"nothing.json must be readable; No such file"):
        read_json(tmp_path / "nothing.json")
    with pytest.raises(InputError, match="must be readable; Is a directory"):
        read_json(tmp_path)


# Lines with a checksum


def write_lines(path: Path) -> list[bytes]:
    lines = [json_line(line).encode() for line in LINES]
    path.write_bytes(b"".join(lines))
    return lines


def same(found: list[dict], wanted: list[dict]) -> bool:
    """Equality under which NaN is NaN."""
    return repr(found) == repr(wanted)


def test_lines_come_back_as_they_were_written_nan_included(tmp_path: Path):
    path = tmp_path / "lines.jsonl"
    write_lines(path)
    assert same(read_json_lines(path), LINES)


def test_no_file_and_an_empty_file_have_no_lines(tmp_path: Path):
    path = tmp_path / "lines.jsonl"
    assert read_json_lines(path) == []
    path.write_bytes(b"")
    assert read_json_lines(path) == []


def test_a_torn_last_line_is_dropped_and_only_that_one(tmp_path: Path):
    path = tmp_path / "lines.jsonl"
    *whole, last = write_lines(path)
    for length in range(len(last) - 1):
        path.write_bytes(b"".join(whole) + last[:length])
        assert same(read_json_lines(path), LINES[:2])
    path.write_bytes(b"".join(whole) + last[:-1])
    assert same(read_json_lines(path), LINES), "only the end of the line is missing: nothing of it is lost"


@pytest.mark.parametrize("junk", [b"\n", b"\x00\xff\n", b"{}\n", b"[1]\n", b"[" * 100_000 + b"\n", b'{"step": 2}\n'])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_damage_of_a_whole_line_is_told_with_its_number(tmp_path: Path, junk: bytes, place: int):
    path = tmp_path / "lines.jsonl"
    lines = write_lines(path)
    path.write_bytes(b"".join([*lines[:place], junk, *lines[place:]]))
    with pytest.raises(InputError, match=rf"lines.jsonl line {place + 1} must match its checksum"):
        read_json_lines(path)


def test_a_flipped_bit_never_gives_other_numbers(tmp_path: Path):
    path = tmp_path / "lines.jsonl"
    content = b"".join(write_lines(path))
    ends = [position for position, byte in enumerate(content) if byte == ord("\n")]
    refused = 0
    for position in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            line = sum(end < position for end in ends) + 1
            faults: list[str] = []
            with gathering(faults):
                found = read_json_lines(path)
            if faults:
                refused += 1
                assert f"line {line} " in faults[0] or position in ends
            else:
                torn = position == len(content) - 1
                assert same(found, LINES) or (torn and same(found, LINES[:2]))
    assert refused > 7 * len(content)


def test_a_line_without_end_is_refused_and_not_read_to_its_end(tmp_path: Path):
    path = tmp_path / "lines.jsonl"
    write_lines(path)
    with open(path, "ab") as file:
        file.truncate(2**40)  # a hole: it takes no room on disk, and would take all memory
    with pytest.raises(InputError, match=r"lines.jsonl line 4 must match its checksum"):
        read_json_lines(path)


def test_a_document_of_a_terabyte_is_refused_and_not_read(tmp_path: Path):
    path = tmp_path / "file.json"
    with open(path, "wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match=r"file.json must have at most 67108864 bytes; it has more"):
        read_object(path)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("read", [read_object, read_json, read_json_lines])
def test_a_pipe_or_a_device_is_refused_and_keeps_nobody_waiting(tmp_path: Path, read: Callable[[Path], object]):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("pipe", "device"):
        with pytest.raises(InputError, match=f"{name} must be readable; Not a file"):
            read(tmp_path / name)


def test_lines_that_cannot_be_read_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="must be readable; Is a directory"):
        read_json_lines(tmp_path)


def test_files_and_folders_can_be_synced(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"content")
    files.sync(tmp_path / "file")
    files.sync(tmp_path)
    with pytest.raises(FileNotFoundError):
        files.sync(tmp_path / "nothing")
