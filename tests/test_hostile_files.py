"""Files of a run that somebody made on purpose, their checksums matching: refused, fast, and nothing is run."""

import copy
import hashlib
import json
import pickle
import resource
import shutil
import struct
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
import pytest
import torch

from tests.helpers import NOBODY
from workbench.cli import main
from workbench.configs import gathering
from workbench.errors import InputError
from workbench.files import read_json, write_json
from workbench.opened import open_run
from workbench.runs import RunFolder
from workbench.training.loop import train

LAST = "checkpoints/step-00000012"
WEIGHTS, STATE, MANIFEST = (f"{LAST}/{name}" for name in ("model.safetensors", "train_state.pt", "MANIFEST.json"))
RESULT = "results/agreement/0123456789abcdef.json"
SECONDS, MEMORY = 3.0, 200 * 2**20
"""What a refusal may cost. On an idle machine each takes well under a second."""


def plant(folder: RunFolder, name: str, content: bytes) -> None:
    """Put a file into a run and, if it is one of a checkpoint's, make the manifest agree."""
    (folder.path / name).write_bytes(content)
    if name in (WEIGHTS, STATE):
        manifest = folder.path / MANIFEST
        facts = read_json(manifest)
        facts["files"][Path(name).name] = hashlib.sha256(content).hexdigest()
        write_json(manifest, facts)


@contextmanager
def cheaply() -> Iterator[None]:
    """What happens inside must cost little time and memory."""
    with suppress(OSError):  # start anew with the peak of memory; without, only a higher one than before is seen
        Path("/proc/self/clear_refs").write_text("5")
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    yield
    assert time.monotonic() - started < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY


# Pickles


class Touch:
    """A pickle of this makes a file when it is loaded by something that trusts it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def torch_file(value: Any) -> bytes:
    file = BytesIO()
    torch.save({"optimizer": value}, file)
    return file.getvalue()


def older_torch_file(value: Any) -> bytes:
    file = BytesIO()
    torch.save({"optimizer": value}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def array_of_objects(value: Any) -> bytes:
    file = BytesIO()
    np.save(file, np.array([value], dtype=object), allow_pickle=True)
    return file.getvalue()


FORMS: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], object]]] = {
    "a pickle": (partial(pickle.dumps, protocol=2), pickle.loads),
    "a torch file": (torch_file, lambda content: torch.load(BytesIO(content), weights_only=False)),
    "an older torch file": (older_torch_file, lambda content: torch.load(BytesIO(content), weights_only=False)),
    "a numpy file": (array_of_objects, lambda content: np.load(BytesIO(content), allow_pickle=True)),
}
ANY_FILE = ["config.json", "env.json", "status.json", "metrics.jsonl", "claim.json", MANIFEST, WEIGHTS, STATE, RESULT]


def read_everything(folder: RunFolder) -> list[str]:
    """What is told when everything of a run is read."""
    readers = [folder.config, folder.env, folder.status, folder.metrics, folder.last_metrics, folder.claim]
    readers += [folder.release, folder.weights, folder.train_state, partial(folder.results, "agreement")]
    faults: list[str] = []
    for read in readers:
        with gathering(faults):
            read()
    return faults


@pytest.mark.parametrize(("write", "load"), FORMS.values(), ids=FORMS)
def test_a_planted_pickle_is_refused_wherever_it_lies_and_not_run(
    run: RunFolder, tmp_path: Path, write: Callable[[Any], bytes], load: Callable[[bytes], object]
):
    touched = tmp_path / "touched"
    content = write(Touch(touched))
    assert read_everything(run) == []
    for name in ANY_FILE:
        copied = RunFolder(Path(shutil.copytree(run.path, tmp_path / "copy")))
        plant(copied, name, content)
        assert any(Path(name).name in fault for fault in read_everything(copied)), f"{name} was read"
        shutil.rmtree(copied.path)
    (tmp_path / "config.json").write_bytes(content)
    assert main(["train", "linear_regression", "--config", str(tmp_path / "config.json")]) == 2
    assert not touched.exists()
    load(content)  # the control: whoever trusts it does touch the file
    assert touched.exists()


def test_training_does_not_go_on_from_a_planted_pickle(run: RunFolder, tmp_path: Path):
    plant(run, STATE, torch_file(Touch(tmp_path / "touched")))
    with pytest.raises(InputError, match=r"train_state.pt must hold tensors and plain .*nothing in it was run"):
        train(run)


# Training states


@dataclass(frozen=True)
class Stored:
    """A tensor as an archive describes it, which may be a lie."""

    shape: tuple[int, ...] = (1,)
    strides: tuple[int, ...] = (1,)
    offset: int = 0
    record: str = "0"
    n_numbers: int = 1

    def __reduce__(self) -> tuple[Any, ...]:
        return torch._utils._rebuild_tensor_v2, (
            Memory(self),
            self.offset,
            self.shape,
            self.strides,
            False,
            OrderedDict(),
        )


@dataclass(frozen=True)
class Memory:
    """Where the numbers of a tensor lie."""

    of: Stored


class Archiver(pickle.Pickler):
    """Writes pickles as torch does."""

    def persistent_id(self, obj: Any) -> Any:
        return (
            ("storage", torch.FloatStorage, obj.of.record, "cpu", obj.of.n_numbers) if isinstance(obj, Memory) else None
        )


class Call:
    """A pickle of this calls what torch lets be called."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.called = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.called


def archive(state: Any, record: bytes = bytes(4), compression: int = ZIP_STORED, more: int = 0) -> ZipFile:
    """A torch file of a state and one record of numbers, open for additions."""
    pickled = BytesIO()
    Archiver(pickled, protocol=2).dump(state)
    file = ZipFile(BytesIO(), "w", compression, compresslevel=1)
    content = {"data.pkl": pickled.getvalue(), "byteorder": b"little", "data/0": record, "version": b"3\n"}
    for name, data in {**content, **{f"data/{i}": b"" for i in range(1, 1 + more)}}.items():
        file.writestr(f"archive/{name}", data)
    return file


def bytes_of(file: ZipFile) -> bytes:
    buffer = cast(BytesIO, file.fp)
    file.close()
    return buffer.getvalue()


def with_a_record_twice() -> bytes:
    file = archive({"a": Stored()})
    with warnings.catch_warnings(action="ignore"):
        file.writestr("archive/data/0", struct.pack("<f", 1.0))
    return bytes_of(file)


def with_overlapping_records() -> bytes:
    file = archive({"a": Stored((2**18,), n_numbers=2**18)}, bytes(2**20))
    record = file.getinfo("archive/data/0")
    for i in range(1, 100):
        file.filelist.append(copy.copy(record))
        file.filelist[-1].filename = f"archive/data/{i}"
    return bytes_of(file)


BIG = 2**26
HOSTILE_STATES: dict[str, Callable[[], bytes]] = {
    "a shape of 2^60": lambda: bytes_of(archive({"a": Stored((2**60,))})),
    "a shape of 2^60 in four bytes": lambda: bytes_of(archive({"a": Stored((2**60,), (0,))})),
    "a shape larger than its record": lambda: bytes_of(archive({"a": Stored((2,))})),
    "a negative shape": lambda: bytes_of(archive({"a": Stored((-1,))})),
    "a negative offset": lambda: bytes_of(archive({"a": Stored(offset=-1)})),
    "an offset beyond the end": lambda: bytes_of(archive({"a": Stored(offset=2**40)})),
    "a record of 2^60 numbers": lambda: bytes_of(archive({"a": Stored(n_numbers=2**60)})),
    "no such record": lambda: bytes_of(archive({"a": Stored(record="1")})),
    "another file as record": lambda: bytes_of(archive({"a": Stored(record="../data.pkl")})),
    "a record twice": with_a_record_twice,
    "overlapping records": with_overlapping_records,
    "a compressed record of 256 MB": lambda: bytes_of(
        archive({"a": Stored((BIG,), n_numbers=BIG)}, bytes(4 * BIG), ZIP_DEFLATED)
    ),
    "half a gigabyte of zeros on request": lambda: bytes_of(archive({"a": Call(bytearray, 2**29)})),
    "a tensor on request": lambda: bytes_of(archive({"a": Call(torch.Tensor, 2**29)})),
    "a long pickle": lambda: bytes_of(archive({"a": [None] * 2**21})),
    "a hundred thousand records": lambda: bytes_of(archive({"a": Stored()}, more=100_000)),
    "a list": lambda: bytes_of(archive([Stored()])),
    "a type": lambda: bytes_of(archive({"a": torch.FloatStorage})),
    "bytes": lambda: b"junk",
    "nothing": lambda: b"",
    "a beginning": lambda: b"PK\x03\x04junk",
    "a pickle": lambda: b"\x80\x02]q\x00.",
}


@pytest.mark.parametrize("make", HOSTILE_STATES.values(), ids=HOSTILE_STATES)
def test_a_hostile_training_state_is_refused_fast_and_without_memory(run: RunFolder, make: Callable[[], bytes]):
    plant(run, STATE, make())
    with cheaply(), pytest.raises(InputError, match=r"train_state.pt must hold tensors and plain values only"):
        run.train_state()


def test_a_state_that_holds_itself_is_read_once(run: RunFolder):
    endless: list[Any] = [1.5]
    endless.append(endless)
    plant(run, STATE, torch_file(endless))
    with cheaply():
        assert run.train_state()["optimizer"][1][1][0] == 1.5


def test_an_archive_made_by_hand_is_read_if_nothing_is_wrong_with_it(run: RunFolder):
    plant(run, STATE, bytes_of(archive({"a": Stored((2, 2), (2, 1), n_numbers=4)}, struct.pack("<4f", 1, 2, 3, 4))))
    assert run.train_state()["a"].tolist() == [[1, 2], [3, 4]]


# Weights


def header(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode() + b"\0" * 4


def tensor_header(**fields: Any) -> bytes:
    return header(json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **fields}}))


TENSOR = '{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
HOSTILE_WEIGHTS = {
    "a shape of 2^60": tensor_header(shape=[2**60]),
    "a product of shapes that overflows": tensor_header(shape=[2**33, 2**33]),
    "a negative shape": tensor_header(shape=[-1]),
    "negative offsets": tensor_header(data_offsets=[-4, 0]),
    "offsets beyond the end": tensor_header(data_offsets=[0, 2**40]),
    "an unknown dtype": tensor_header(dtype="PICKLE"),
    "a dtype that torch lacks": tensor_header(dtype="F4", shape=[8]),
    "a header length of 2^60": struct.pack("<Q", 2**60) + b"{}",
    "a header length of 100 MB": struct.pack("<Q", 10**8) + b" " * 1000,
    "a name twice": header(f'{{"a": {TENSOR}, "a": {TENSOR}}}'),
    "deep nesting": header("[" * 100_000),
    "no header": b"abc",
    "nothing": b"",
}


LONG_HEADERS = {
    "100 MB of spaces": lambda: header("{}" + " " * (10**8 - 2)),
    "a million names": lambda: header("{" + ",".join(f'"{i}": {TENSOR}' for i in range(10**6)) + "}"),
}


@pytest.mark.parametrize(
    "make",
    [*(partial(bytes, content) for content in HOSTILE_WEIGHTS.values()), *LONG_HEADERS.values()],
    ids=[*HOSTILE_WEIGHTS, *LONG_HEADERS],
)
def test_a_hostile_weights_file_is_refused_fast_and_without_memory(run: RunFolder, make: Callable[[], bytes]):
    plant(run, WEIGHTS, make())
    with cheaply(), pytest.raises(InputError, match=r"model.safetensors must be a safetensors file of weights"):
        run.weights()


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
    plant(run, WEIGHTS, save(changed))
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
    path = run.path / LAST / "MANIFEST.json"
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


@pytest.mark.parametrize("pid", [-1, 0, NOBODY, 2**70])
def test_a_pid_that_no_process_can_have_is_a_dead_one(run: RunFolder, pid: int):
    path = run.path / "status.json"
    write_json(path, {**read_json(path), "state": "running", "pid": pid, "pid_started": 1.0})
    assert run.status().state == "killed"


def test_a_config_that_somebody_edited_is_refused(run: RunFolder):
    path = run.path / "config.json"
    path.write_text(path.read_text().replace('"seed":0', '"seed":1'))
    with pytest.raises(InputError, match=r"config.json must match its checksum in env.json"):
        run.config()
