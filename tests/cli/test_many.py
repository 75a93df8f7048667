"""``mesascope train`` with many runs: ``--vary``, and ``--resume`` with several."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Call
from tests.cli.test_train import TINY
from workbench.cli.many import _best
from workbench.runs import RunFolder, run_names
from workbench.training import many
from workbench.training.program import Program


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes are tested with the library."""
    monkeypatch.setattr(many, "n_cores", lambda: 1)


def vary(call: Call, *values: str, words: tuple[object, ...] = ("--out", "sweep")):
    given = [word for each in values for word in ("--vary", each)]
    return call("train", "linear_regression", *TINY, *given, *words)


def test_varied_fields_make_a_run_for_every_combination(call: Call, root: Path):
    answer = vary(call, "train.seed=0..1", "train.lr=1e-3,3e-3", "task.noise-std=0,0.5")
    assert answer.status == 0, answer.err
    names = [f"sweep-{i:03d}" for i in range(8)]
    assert run_names(root) == [*names, "tiny"]
    configs = [RunFolder.open(root / name).config() for name in names]
    found = [(c["train"]["seed"], c["train"]["lr"], c["task"]["noise_std"]) for c in configs]
    assert found == [(seed, lr, noise) for seed in (0, 1) for lr in (1e-3, 3e-3) for noise in (0.0, 0.5)]
    assert {RunFolder.open(root / name).status().state for name in names} == {"finished"}
    assert {"train.seed", "train.lr", "task.noise_std"} <= set(answer.out.split()), "what differs has a column"
    assert "8 finished\n" in answer.out
    assert "training 8 runs (8 done): step 96/96" in answer.err


def test_a_varied_run_is_one_like_any_other(call: Call, root: Path):
    vary(call, "train.seed=4")
    call("train", "linear_regression", *TINY, "--train.seed", 4, "--out", "alone")
    one, other = RunFolder.open(root / "sweep-000"), RunFolder.open(root / "alone")
    assert one.config() == other.config()
    assert one.env().keys() == other.env().keys()
    assert one.env()["n_threads"] == 1
    assert one.checkpoint_steps() == other.checkpoint_steps()


def test_one_document_tells_of_every_run(call: Call, root: Path):
    found = vary(call, "train.seed=0..1", words=("--out", "sweep", "--json")).document
    assert found["schema"] == "mesascope/train-many/1"
    for i, told in enumerate(found["runs"]):
        last = RunFolder.open(root / f"sweep-00{i}").metrics()[-1]
        assert told == {
            "run": f"sweep-00{i}",
            "path": str(root / f"sweep-00{i}"),
            "state": "finished",
            **{name: last[name] for name in ("step", "loss", "excess", "seconds")},
            "error": None,
        }


def test_runs_too_short_for_their_settings_are_noted_in_one_line(call: Call, root: Path):
    settings = TINY[: TINY.index("--train.warmup-steps")]
    answer = call("train", "linear_regression", *settings, "--vary", "train.warmup_steps=0,200,100", "--out", "sweep")
    (notice,) = [line for line in answer.err.splitlines() if line.startswith("notice: ")]
    assert notice.startswith("notice: 2 of 3 runs are short; of the first, train.n_steps 12 is short for")
    assert "train.warmup_steps 200" in notice


def test_varied_runs_without_a_name_get_one(call: Call, root: Path):
    found = vary(call, "train.seed=0..1", words=("--json",)).document
    for i, told in enumerate(found["runs"]):
        assert re.fullmatch(rf"\d{{8}}-\d{{6}}-linear_regression-[0-9a-f]{{8}}-00{i}", told["run"])


def test_a_failed_run_is_told_by_name_and_the_others_finish(call: Call, root: Path):
    explosive = ("--train.optimizer", "sgd", "--train.clip-norm", "None", "--train.checkpoint-every", 1)
    answer = vary(call, "train.lr=1e12,1e-3", words=("--out", "sweep", *explosive))
    assert answer.status == 1
    assert "1 finished, 1 failed\n" in answer.out
    assert re.search(r"^sweep-000 failed: TrainingFailed: the (loss|weights) .* the last checkpoint", answer.err, re.M)
    assert f"next: mesascope agree {root / 'sweep-001'}" in answer.out
    answer = call("train", "--resume", "sweep-*", "--json")
    assert answer.status == 1
    assert [told["state"] for told in answer.document["runs"]] == ["failed", "finished"]
    assert answer.document["runs"][0]["error"].startswith("TrainingFailed: the ")


def test_what_comes_next_is_the_run_nearest_to_least_squares_not_that_of_the_least_noise():
    def told(name: str, loss: float | None, excess: float | None) -> dict[str, Any]:
        return {"run": name, "loss": loss, "excess": excess}

    quiet, noisy = told("quiet", 0.3, 0.2), told("noisy", 0.9, 0.1)
    assert _best([quiet, noisy]) is noisy
    assert _best([quiet, noisy, told("likelihood", 0.4, None)]) is quiet


def interrupt(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    real = Program.update

    def update(program: Program) -> None:
        real(program)
        if not program.step.is_meta and program.step == at:  # memory is estimated with shapes alone
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Program, "update", update)


@pytest.mark.parametrize("words", [["sweep-*"], ["sweep-000", "sweep-001", "sweep-002"], ["runs/sweep-*", "sweep-001"]])
def test_stopped_runs_go_on_together(call: Call, root: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]):
    with monkeypatch.context() as patch:
        interrupt(patch, 5)
        answer = vary(call, "train.seed=0..2")
    assert answer.status == 130
    assert "3 stopped\n" in answer.out
    paths = " ".join(str(root / f"sweep-00{i}") for i in range(3))
    assert f"next: mesascope train --resume {paths}\n" in answer.out
    answer = call("train", "--resume", *words)
    assert (answer.status, "3 finished\n" in answer.out) == (0, True), answer
    assert "nothing is left" not in answer.err
    answer = call("train", "--resume", *words)
    assert (answer.status, "3 finished\n" in answer.out) == (0, True), answer
    assert "nothing is left to train in 3 of them\n" in answer.err
    vary(call, "train.seed=0..2", words=("--out", "whole"))
    for i in range(3):
        one, other = (RunFolder.open(root / f"{name}-00{i}") for name in ("sweep", "whole"))
        assert one.weights_sha256() == other.weights_sha256()


def test_a_pattern_with_one_run_goes_on_with_it(call: Call, root: Path):
    assert call("train", "--resume", "ti*", "--json").document["schema"] == "mesascope/train/1"


LR = ("train", "linear_regression")
BAD = [
    ((*LR, "--vary", "train.sed=1"), "--vary: Unknown field of train 'sed'. Did you mean 'seed'"),
    ((*LR, "--vary", "train.seed=0..x"), r"--vary train.seed must be a range FIRST\.\.LAST .*; got 0\.\.x\. Write"),
    ((*LR, "--vary", "train.lr=1e-3,0"), "--vary train.lr=0: lr must be a finite number greater than 0; got 0"),
    ((*LR, "--vary", "train.lr=1,2", "--vary", "train.lr=3"), "--vary must name a field once"),
    ((*LR, "--train.n-steps", "9", "--vary", "train.n_steps=1,2"), "--train.n-steps must be left out beside --vary"),
    ((*LR, "--model.no-causal", "--vary", "model.causal=True"), "--model.causal must be left out beside --vary"),
    ((*LR, "--vary", "train.device=cpu,abacus"), "train.device must be a device of this machine; got 'abacus'"),
    ((*LR, "--vary", "task.w-scale=1,1e300"), "the first loss must be finite"),
    ((*LR, "--vary"), "--vary"),
    ((*LR, "--vary", "train.seed=0..1", "--out", "x" * 98), "a run name must be"),
    ((*LR, "--vary", "train.seed=0..1", "--out", "a/b"), "must lie in the runs folder"),
    (("train", "--vary", "train.seed=0..1"), "Unrecognized options: --vary"),
    (("train", "--resume", "tiny", "--vary", "train.seed=1"), "a resumed run keeps its settings.*; got --vary"),
    (("train", "--resume", "tiny", "nothing"), "no run at .*nothing; known in .*: tiny"),
    (("train", "--resume", "no*"), r"no run in .* has a name like 'no\*'"),
    (("train", "--resume", "../runs/*"), "a run must lie in the runs folder"),
    ((*LR, "--train.engine", "graph"), "train.engine must fit the device; got 'graph', but a CUDA graph needs a CUDA"),
    ((*LR, "--train.precision", "tf32"), "train.precision must be float32 or float64 on the cpu; got 'tf32'"),
    ((*LR, "--train.precision", "bf16"), "train.precision .* 'bf16', which is for accelerators. Use float32"),
]


@pytest.mark.parametrize(("words", "told"), BAD, ids=[" ".join(words)[:60] for words, _ in BAD])
def test_wrong_input_is_told_in_one_line_and_nothing_is_made(call: Call, root: Path, words: tuple[str, ...], told: str):
    before = sorted(root.parent.rglob("*"))
    answer = call(*words)
    assert (answer.status, answer.out) == (2, ""), answer
    assert answer.err.count("\n") == 1, answer.err
    assert answer.err.startswith("mesascope train: ")
    assert re.search(told, answer.err), answer.err
    assert sorted(root.parent.rglob("*")) == before


def test_names_that_are_taken_are_refused_before_any_run_is_made(call: Call, root: Path):
    (root / "sweep-001").mkdir()
    (root / "sweep-001" / "config.json").write_text(json.dumps({}))
    answer = vary(call, "train.seed=0..1")
    assert answer.status == 2
    assert "run 'sweep-001' exists already" in answer.err
    assert not (root / "sweep-000").exists()
