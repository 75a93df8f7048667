"""``mesascope train``."""

import json
import re
import shutil
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.helpers import tiny_config, tiny_run
from workbench.cli import train
from workbench.errors import FailedElsewhere, ProcessGone
from workbench.runs import RunFolder
from workbench.tasks import LinearRegression
from workbench.training.config import TrainConfig
from workbench.training.loop import MemoryRanOut, TrainingFailed
from workbench.training.program import Program

SIZES = "--task.d-input 2 --task.n-context 4 --model.n-layers 2 --model.d-model 8 --model.n-heads 2"
SHORT = "--train.n-steps 12 --train.n-batch 8 --train.d-start None --train.warmup-steps 0"
TINY = [*SIZES.split(), *SHORT.split()]


def train_tiny(call: Call, *words: object):
    return call("train", "linear_regression", *TINY, *words)


def test_training_makes_a_run_and_says_what_came_out(call: Call, root: Path):
    answer = train_tiny(call, "--out", "new")
    assert answer.status == 0
    folder = RunFolder.open(root / "new")
    assert folder.status().state == "finished"
    last = folder.metrics()[-1]
    assert re.search(rf"^finished {folder.path} at step 12: loss {last['loss']:.3f}, over least squares ", answer.out)
    assert f"next: mesascope agree {folder.path}" in answer.out
    assert answer.err.startswith(f"run {folder.path}\n")


def test_options_reach_task_model_and_training(call: Call, root: Path):
    train_tiny(call, "--out", "new", "--model.mlp", "relu", "--train.lr", "0.01", "--task.noise-std", "0.5")
    config = RunFolder.open(root / "new").config()
    assert (config["model"]["mlp"], config["train"]["lr"], config["task"]["noise_std"]) == ("relu", 0.01, 0.5)
    assert (config["model"]["d_input"], config["model"]["n_context"]) == (2, 4)


def test_training_says_one_json_document_on_request(call: Call, root: Path):
    answer = train_tiny(call, "--out", "new", "--json")
    found = answer.document
    folder = RunFolder.open(root / "new")
    last = folder.metrics()[-1]
    assert found == {
        "schema": "mesascope/train/1",
        "run": "new",
        "path": str(folder.path),
        "state": "finished",
        **{name: last[name] for name in ("step", "loss", "excess", "seconds")},
    }


def test_a_preset_gives_the_settings_and_options_win(call: Call, root: Path):
    call("train", "linear_regression", "--preset", "demo", *TINY, "--out", "new")
    config = RunFolder.open(root / "new").config()
    assert config["train"]["lr"] == LinearRegression.presets["demo"]["train"]["lr"] != TrainConfig().lr
    assert config["train"]["n_steps"] == 12, "from the option"


FEW = ("--preset", "demo", "--model.n-layers", 1, "--model.d-model", 8, "--train.n-batch", 8, "--train.n-steps", 20)


def test_a_run_too_short_for_its_preset_is_noted_in_one_line_and_trained(call: Call, root: Path):
    answer = call("train", "linear_regression", *FEW, "--out", "new", "--json")
    assert answer.document["state"] == "finished"
    (notice,) = [line for line in answer.err.splitlines() if line.startswith("notice: ")]
    for part in ("train.n_steps 20", "train.warmup_steps 68", "train.d_start 2, train.d_every 33", "2 of 4 input"):
        assert part in notice
    way_out = ("--train.warmup-steps", 1, "--train.d-every", 9)
    assert all(" ".join(map(str, pair)) in notice for pair in zip(way_out[::2], way_out[1::2], strict=True))
    assert "notice" not in call("train", "linear_regression", *FEW, *way_out, "--out", "other").err
    assert "notice" not in call("train", "--resume", "new").err, "nothing of it can be changed"


def test_a_run_without_a_name_gets_one_from_date_task_and_config(call: Call, root: Path):
    name = train_tiny(call, "--json").document["run"]
    assert re.fullmatch(r"\d{8}-\d{6}-linear_regression-[0-9a-f]{8}", name)
    assert (root / name).is_dir()


def test_a_run_lies_in_the_runs_folder_which_may_be_anywhere(call: Call, root: Path, tmp_path: Path):
    outside = train_tiny(call, "--out", tmp_path / "elsewhere" / "new")
    assert outside.status == 2
    assert "must lie in the runs folder" in outside.err
    assert not (tmp_path / "elsewhere").exists()
    assert train_tiny(call, "--out", root / "inside").status == 0
    assert RunFolder.open(root / "inside").status().state == "finished"
    assert train_tiny(call, "--out", "new", "--runs", tmp_path / "others").status == 0
    assert RunFolder.open(tmp_path / "others" / "new").status().state == "finished"


@pytest.mark.parametrize("form", [["--config", "{}"], ["--config={}"]])
def test_a_runs_config_reproduces_the_run(call: Call, root: Path, form: list[str]):
    words = [word.format(root / "tiny" / "config.json") for word in form]
    assert call("train", "linear_regression", *words, "--out", "again").status == 0
    first, again = RunFolder.open(root / "tiny"), RunFolder.open(root / "again")
    assert again.config() == first.config()
    assert again.weights_sha256() == first.weights_sha256()


def test_options_beside_a_config_win_and_the_models_shapes_follow_the_task(call: Call, root: Path):
    config = root / "tiny" / "config.json"
    answer = call(
        *("train", "linear_regression", "--config", config, "--task.d-input", 3, "--train.seed", 5, "--out", "other")
    )
    assert answer.status == 0, answer.err
    found = RunFolder.open(root / "other").config()
    assert (found["task"]["d_input"], found["model"]["d_input"], found["train"]["seed"]) == (3, 3, 5)
    assert found["train"]["n_steps"] == 12


def test_a_stopped_run_goes_on_and_ends_like_one_that_was_not_stopped(
    call: Call, root: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        real = Program.update

        def update(program: Program):
            if not program.step.is_meta and program.step == 5:  # memory is estimated with shapes alone
                raise KeyboardInterrupt
            real(program)

        patch.setattr(Program, "update", update)
        answer = call("train", "linear_regression", "--config", root / "tiny" / "config.json", "--out", "stopped")
    assert answer.status == 130
    assert answer.err.endswith("mesascope train: interrupted\n")
    assert call("train", "--resume", "stopped").status == 0
    assert RunFolder.open(root / "stopped").weights_sha256() == RunFolder.open(root / "tiny").weights_sha256()


def test_a_stopped_run_names_the_step_where_it_goes_on_and_that_of_its_loss(
    call: Call, root: Path, monkeypatch: pytest.MonkeyPatch
):
    real = Program.update

    def update(program: Program) -> None:
        real(program)
        if not program.step.is_meta and program.step == 7:  # memory is estimated with shapes alone
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Program, "update", update)
    answer = call("train", "linear_regression", "--config", root / "tiny" / "config.json", "--out", "stopped")
    assert answer.status == 130
    folder = RunFolder.open(root / "stopped")
    assert (folder.checkpoint_steps()[-1], folder.metrics()[-1]["step"]) == (7, 6)
    loss = folder.metrics()[-1]["loss"]
    told = rf"^stopped {folder.path} at step 7: loss {loss:.3f}, over least squares \S+ at step 6, \d:\d\d$"
    assert re.search(told, answer.out, re.MULTILINE), answer.out
    assert f"next: mesascope train --resume {folder.path}\n" in answer.out


def test_going_on_with_a_finished_run_says_that_nothing_is_left(call: Call, root: Path):
    before = RunFolder.open(root / "tiny").weights_sha256()
    assert call("train", "--resume", root / "tiny", "--json").document["state"] == "finished"
    answer = call("train", "--resume", "tiny")
    assert answer.status == 0
    told = f"nothing is left to train: {root / 'tiny'} already finished at step 12: loss "
    assert answer.out.startswith(told)
    assert RunFolder.open(root / "tiny").weights_sha256() == before


def test_a_loss_that_explodes_is_a_failure_told_in_one_line(call: Call, root: Path):
    answer = train_tiny(
        *(call, "--out", "new", "--train.optimizer", "sgd", "--train.lr", 1e12, "--train.clip-norm", "None"),
        *("--train.checkpoint-every", "1", "--json"),
    )
    assert answer.status == 1
    assert answer.out == ""
    *notes, told = answer.err.splitlines()
    assert told.startswith("mesascope train failed: TrainingFailed: the loss is nan at step ")
    assert "the last checkpoint is kept" in told
    assert all(line.startswith(("run ", "training ")) for line in notes)
    folder = RunFolder.open(root / "new")
    assert folder.status().state == "failed"
    assert all(weight.isfinite().all() for weight in folder.weights().values())


def test_the_state_of_every_run_is_in_its_environment_record(call: Call, root: Path):
    train_tiny(call, "--out", "new")
    env = RunFolder.open(root / "new").env()
    assert env["schema"] == "mesascope/env/1"
    assert {"python", "torch", "mesascope"} <= env["versions"].keys()
    assert env["seed"] == 0
    assert len(env["config_sha256"]) == 64


# Wrong input: one line, status 2, and nothing new in the runs folder

LR = ("train", "linear_regression")
BAD = [
    (("train",), "train needs a TASK or --resume RUN; known tasks: .*linear_regression"),
    (("train", "linear_regresion"), "Unknown task 'linear_regresion'. Did you mean 'linear_regression'"),
    (("train", "nothing", "--help"), "Unknown task 'nothing'"),
    (("train", "linear_regresion", "--config", "config.json"), "Unknown task 'linear_regresion'"),
    ((*LR, "--preset", "dmo"), "Unknown preset of linear_regression 'dmo'. Did you mean 'demo'.*demo, small, paper"),
    ((*LR, "--task.d-input", "0"), "d_input must be a whole number of at least 1; got 0"),
    ((*LR, "--task.d-input", "-3"), "d_input must be"),
    ((*LR, "--task.d-input", "two"), "d-input.*'two'"),
    ((*LR, "--task.d-input", "2.5"), "d-input.*'2.5'"),
    ((*LR, "--task.n-context", "0"), "n_context must be a whole number of at least 1; got 0"),
    ((*LR, "--task.noise-std", "-1"), "noise_std must be at least 0; got -1.0"),
    ((*LR, "--task.noise-std", "inf"), "noise_std must be at least 0; got inf"),
    ((*LR, "--task.weights", "dense"), "'dense'.*gaussian"),
    ((*LR, "--train.lr", "nan"), "lr must be a finite number greater than 0; got nan"),
    ((*LR, "--train.lr", "0"), "lr must be a finite number greater than 0; got 0"),
    ((*LR, "--train.n-steps", "1" + "0" * 30), "n_steps must be a whole number from 1 to 10.9"),
    ((*LR, "--train.n-steps", "9" * 5000), "n-steps"),
    ((*LR, "--train.seed", "-1"), "seed must be a whole number from 0"),
    ((*LR, "--train.optimizer", "lion"), "'lion'.*adam"),
    (
        (*LR, "--train.device", "abacus"),
        "train.device must be a device of this machine; got 'abacus' .* Try cpu; for GPUs see docs/training.md",
    ),
    ((*LR, "--train.d-start", "99"), "train.d_start must be at most the task's 8; got 99"),
    ((*LR, "--model.n-heads", "5"), r"n_heads must divide d_model 96; got 5 \(or give d_head\)"),
    ((*LR, "--model.mlp", "swish"), "swish"),
    ((*LR, "--model.d-input", "3"), "model.d_input must be the task's 8; got 3. Leave it out"),
    ((*LR, "--model.output", "logits"), "model.(output|d_vocab) must be"),
    ((*LR, "--model.n-ctx", "3"), "model.n_ctx must be at least 40"),
    ((*LR, "--train.lr", "1", "--train.lr=2"), "--train.lr must be given once, with all that it takes; got it 2 times"),
    ((*LR, "--model.causal", "--model.no-causal"), "--model.causal must be given once"),
    (("train", "--resume", "tiny", "--resume", "tiny"), "--resume must be given once, with all that it takes"),
    ((*LR, "--model.causal", "False"), "--model.causal must .* got False. Write --model.causal or --model.no-causal.$"),
    ((*LR, "--model.no_causal=yes"), "--model.no_causal must .* got yes. Write --model.causal or --model.no-causal.$"),
    ((*LR, "--out", "twice", "twice"), "Unrecognized options: twice"),
    ((*LR, "--train.n-step", "4"), "--train.n-step.* Perhaps you meant --train.n-steps"),
    ((*LR, "--colour", "red"), "Unrecognized options: --colour"),
    ((*LR, "--train.n-steps"), "--train.n-steps"),
    ((*LR, "more"), "more"),
    ((*LR, "--config"), "--config"),
    ((*LR, "--config", "--json"), "--config"),
    ((*LR, "--config", "nothing.json"), "nothing.json must be readable; No such file"),
    ((*LR, "--config", "."), "must be readable; Is a directory"),
    ((*LR, "--out", "tiny"), "run 'tiny' exists already"),
    ((*LR, "--out", "../new"), "a run must lie in the runs folder"),
    ((*LR, "--out", "runs/../new"), "a run must lie in the runs folder"),
    ((*LR, "--out", "new run"), "a run name must be"),
    ((*LR, "--out", ".hidden"), "a run name must be"),
    ((*LR, "--out", "x" * 5000), "a run name must be"),
    ((*LR, "--out", "a/" + "x" * 5000 + "/b"), "File name too long|must lie in the runs folder"),
    ((*LR, "--out", ""), "a run name must be"),
    ((*LR, "--out", "a/b"), "must lie in the runs folder"),
    ((*LR, "--runs", "", "--out", "y"), "the runs folder must be named"),
    ((*LR, "--train.n-batch", str(2**53)), r"train.n_batch \d+ needs more than 8 EiB on cpu, .* n_batch \d+ would fit"),
    ((*LR, "--model.d-model", str(2**40)), "the model needs more than 8 EiB with one prompt at a time on cpu"),
    ((*LR, "--task.n-context", str(2**40)), "the model needs more than 8 EiB with one prompt at a time on cpu"),
    ((*LR, "--train.device", "meta"), "train.device must be a device of this machine"),
    ((*LR, "--task.noise-std", "1e200"), "the first loss must be finite"),
    ((*LR, "--task.w-scale", "1e300"), "the first loss must be finite"),
    ((*LR, "--model.init-std", "1e300"), "the first loss must be finite"),
    ((*LR, "--model.output", "logits"), "model.output must be the task's 'scalar'"),
    ((*LR, "--model.no-causal", "--train.n-start", "2"), "n_start must be left out without causal mask"),
    ((*LR, "--model.positions", "rotary", "--model.d-head", "3"), "d_head must be even with rotary positions"),
    ((*LR, "--resume", "tiny"), "--resume must stand without a TASK"),
    (("train", "--resume", "nothing"), "no run at .*nothing; known in .*: tiny"),
    (("train", "--resume", "../runs/tiny"), "a run must lie in the runs folder"),
    (("train", "--resume", "tiny", "--train.lr", "1"), "a resumed run keeps its settings.*; got --train.lr. Leave out"),
    (("train", "--train.n_steps=9", "--resume=tiny"), "a resumed run keeps its settings.*; got --train.n_steps. Leave"),
    (("train", "--resume", "tiny", "--model.no-causal", "--out", "b"), "keeps .*; got --model.no-causal, --out. Leave"),
    (("train", "--resume", "tiny", "--preset", "demo"), "a resumed run keeps its settings.*; got --preset. Leave"),
    (("train", "--resume", "tiny", "--config=config.json"), "a resumed run keeps its settings.*; got --config. Leave"),
    (("train", "--resume", "tiny", "--colour", "red"), "Unrecognized options: --colour"),
    (("train", "--train.lr", "1"), "Unrecognized options: --train.lr"),
    (("train", "--resume"), "--resume"),
]


@pytest.mark.parametrize(("words", "told"), BAD, ids=[" ".join(words)[:60] for words, _ in BAD])
def test_wrong_input_is_told_in_one_line_and_nothing_is_made(call: Call, root: Path, words: tuple[str, ...], told: str):
    before = sorted(root.parent.rglob("*"))
    answer = call(*words)
    assert answer.status == 2, answer
    assert answer.out == ""
    assert answer.err.count("\n") == 1, answer.err
    assert answer.err.startswith("mesascope train: ")
    assert re.search(told, answer.err), answer.err
    assert sorted(root.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"optimiser": "adam"}, "Unknown key of run config 'optimiser'. .*Known: model, train"),
        ({"train": {"n_step": 3}}, "Unknown key of .*train 'n_step'. Did you mean 'n_steps'"),
        ({"train": {"lr": "fast"}}, "lr must be a number"),
        ({"train": {"lr": -1.0}, "model": {"n_layers": 0}}, "n_layers must be .*; lr must be"),
        ({"model": {"d_input": 3}}, "model.d_input must be the task's 2; got 3"),
        ({"schema": "mesascope/run/2"}, "schema must be at most 'mesascope/run/1'.* Update mesascope"),
        ({"schema": None}, "schema must be 'mesascope/run/1'; got None"),
        ({"task": {"name": "nothing"}}, "Unknown task 'nothing'"),
        ({"task": ["linear_regression"]}, "task must be an object"),
    ],
)
def test_a_wrong_config_file_is_told_in_one_line_by_its_name(call: Call, root: Path, change: dict, told: str):
    path = root.parent / "config.json"
    path.write_text(json.dumps({**tiny_config().to_data(), **change}))
    answer = call("train", "linear_regression", "--config", "config.json")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith("mesascope train: --config config.json: ")
    assert answer.err.count("\n") == 1
    assert re.search(told, answer.err), answer.err
    assert [path.name for path in root.iterdir()] == ["tiny"]


def test_going_on_with_a_damaged_run_is_told_in_one_line(call: Call, root: Path):
    checkpoint = root / "tiny" / "checkpoints" / "step-00000012"
    for name in ("model.safetensors", "train_state.pt"):
        content = (checkpoint / name).read_bytes()
        (checkpoint / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        answer = call("train", "--resume", "tiny")
        assert answer.status == 2
        *notes, told = answer.err.splitlines()
        assert f"{name} must match its checksum" in told
        assert all(line.startswith("run ") for line in notes)
        (checkpoint / name).write_bytes(content)
    shutil.rmtree(checkpoint)
    assert call("train", "--resume", "tiny").status == 0


@pytest.mark.parametrize("names", [["made-0"], ["made-0", "made-1"]], ids=["one", "several"])
def test_going_on_where_the_device_of_a_run_is_missing_is_refused_in_one_line(call: Call, root: Path, names: list[str]):
    for name in names:
        tiny_run(root, name, device="cuda:99")
    answer = call("train", "--resume", *names)
    assert answer.status == 2
    assert (
        "mesascope train: train.device must be a device of this machine; got 'cuda:99'" in answer.err.splitlines()[-1]
    )
    assert {RunFolder.open(root / name).status().state for name in names} == {"new"}


TOLD = [
    (TrainingFailed("the loss is nan"), False),
    (MemoryRanOut("cuda ran out of memory"), True),
    (FailedElsewhere("process 1 failed"), False),
    (ProcessGone("process 1 is gone"), False),
    (ProcessGone("process 0 is gone", told_here=True), True),
]


@pytest.mark.parametrize(("error", "is_told"), TOLD, ids=lambda value: type(value).__name__)
def test_a_process_behind_the_first_tells_what_it_alone_knows(
    error: RuntimeError, is_told: bool, monkeypatch: pytest.MonkeyPatch
):
    def fail(arguments: object) -> int:
        raise error

    monkeypatch.setattr(train, "leads", lambda: False)
    monkeypatch.setattr(train, "_run", fail)
    with pytest.raises(type(error), match=str(error)) if is_told else nullcontext():
        assert train.run(["linear_regression"]) == train.FAILED
