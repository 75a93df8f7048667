"""Files of a run that were damaged: refused by name, or read as what was written; never as other numbers."""

import math
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dashboards.figures.training import training_figure
from tests.helpers import tiny_run
from workbench.configs import gathering
from workbench.errors import InputError
from workbench.runs import RunFolder
from workbench.training.loop import train

STEPS = [0, 4, 8, 12]
LAST = "checkpoints/step-00000012"


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
    f"{LAST}/MANIFEST.json": read_sha256,
    f"{LAST}/model.safetensors": read_weights,
    f"{LAST}/train_state.pt": read_train_state,
    "results/agreement/0123456789abcdef.json": read_results,
}


def test_every_file_of_a_finished_run_is_checked_here(finished: RunFolder):
    found = {str(p.relative_to(finished.path)) for p in finished.path.rglob("*") if p.is_file()}
    last = {name for name in found if not name.startswith("checkpoints") or name.startswith(LAST)}
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


def flips(content: bytes) -> list[bytes]:
    """The content with one flipped bit, in each of its first 100 bytes and at 150 places over all of it."""
    places = sorted({*range(0, len(content), max(1, len(content) // 150)), *range(min(100, len(content)))})
    return [content[:i] + bytes([content[i] ^ (1 << (i % 8))]) + content[i + 1 :] for i in places]


def cuts(content: bytes) -> list[bytes]:
    """Twenty beginnings of the content."""
    return [content[: part * len(content) // 20] for part in range(20)]


@pytest.mark.parametrize("name", CHECKED)
def test_a_flipped_bit_anywhere_is_refused_by_the_files_name(run: RunFolder, name: str):
    read, path = CHECKED[name], run.path / name
    reference, damaged = read(run), flips(path.read_bytes())
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        refused += refused_or_the_same(run, name, read, reference)
    # A flip may turn 1e-07 into 1E-07, which is the same number; in binary files nothing is equal but the same.
    assert refused >= len(damaged) - (2 if name.endswith(".json") else 0)


@pytest.mark.parametrize("name", CHECKED)
def test_a_truncated_file_is_refused_by_its_name(run: RunFolder, name: str):
    read, path = CHECKED[name], run.path / name
    reference = read(run)
    for content in cuts(path.read_bytes()):
        path.write_bytes(content)
        assert refused_or_the_same(run, name, read, reference), f"{len(content)} bytes of the file were accepted"


@pytest.mark.parametrize("name", [name for name in CHECKED if "step-" in name])
def test_a_missing_file_of_a_checkpoint_is_refused_or_the_checkpoint_is_not_there(run: RunFolder, name: str):
    (run.path / name).unlink()
    if name.endswith("MANIFEST.json"):
        assert run.checkpoint_steps() == STEPS[:-1]
    else:
        with pytest.raises(InputError, match=f"{Path(name).name} must match its checksum"):
            CHECKED[name](run)


def test_the_rest_of_a_run_can_be_read_when_one_checkpoint_is_damaged(run: RunFolder):
    (run.path / LAST / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="Delete the folder step-00000012 to fall back on an earlier checkpoint"):
        run.weights()
    assert run.weights(8).keys()
    shutil.rmtree(run.path / LAST)
    assert run.checkpoint_steps() == STEPS[:-1]
    assert run.resolve_step(None) == 8


def test_a_damaged_claim_never_lets_a_second_process_in(tmp_path: Path):
    folder = tiny_run(tmp_path)
    folder.claim()
    path = folder.path / "claim.json"
    claim = path.read_bytes()
    for content in (claim, *flips(claim), *cuts(claim)):
        path.write_bytes(content)
        with pytest.raises(
            InputError, match=rf"by process {os.getpid()}\.|claim.json must (match its checksum|be JSON)"
        ):
            folder.claim()
    path.unlink()
    folder.claim()


# Metrics: lines, each with a checksum of its own


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
    for beginning in cuts(content):
        path.write_bytes(beginning)
        found = run.metrics()
        assert found == reference[: len(found)], "a cut file holds the first lines and nothing else"


@pytest.mark.parametrize("left", ["nothing", "a torn line", "everything and a torn line"])
def test_a_stopped_run_with_torn_metrics_goes_on_and_tears_nothing_more(tmp_path: Path, left: str):
    folder = tiny_run(tmp_path, log_every=1)
    assert train(folder, lambda progress: progress.step == 6 and signal.raise_signal(signal.SIGINT)) == "stopped"
    path = folder.path / "metrics.jsonl"
    content = path.read_bytes()
    path.write_bytes(
        {"nothing": b"", "a torn line": content[:40], "everything and a torn line": content + content[:40]}[left]
    )
    assert train(folder) == "finished"
    first = 1 if left.startswith("everything") else 7
    assert [line["step"] for line in folder.metrics()] == list(range(first, 13))
    assert len(path.read_bytes().splitlines()) == 13 - first


def test_junk_in_the_metrics_of_a_stopped_run_is_told_with_its_line_and_costs_no_checkpoint(tmp_path: Path):
    folder = tiny_run(tmp_path, log_every=1)
    train(folder, lambda progress: progress.step == 6 and signal.raise_signal(signal.SIGINT))
    path = folder.path / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"\x00\xff junk\n", *lines[3:]]))
    with pytest.raises(InputError, match=r"metrics.jsonl line 4 must match its checksum.* Delete that line"):
        train(folder)
    assert folder.status().state == "failed"
    path.write_bytes(b"".join(lines))
    assert train(folder) == "finished"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_kept_as_it_is_and_leaves_a_gap_in_the_curve(tmp_path: Path, value: float):
    folder = tiny_run(tmp_path)
    losses = [1.0, value, 0.5]
    for step, loss in enumerate(losses, 1):
        folder.append_metrics({"step": step, "loss": loss, "excess": value})
    assert repr([line["loss"] for line in folder.metrics()]) == repr(losses)
    [curve] = training_figure(folder.metrics()).data
    assert list(curve.y) == [1.0, None, 0.5]
