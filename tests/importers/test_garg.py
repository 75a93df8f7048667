"""Garg et al.'s checkpoints: the same numbers out, and one clear line for whatever is wrong with a folder."""

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.importers.garg_folder import N_TOKENS, SIZES, GargFolder
from tests.test_hostile_files import HOSTILE_STATES, Touch, cheaply
from workbench.agreement.config import AgreementConfig
from workbench.analyses import agree
from workbench.batch import RegressionBatch
from workbench.errors import InputError
from workbench.files import read_json
from workbench.importers import garg
from workbench.importers.garg import Imported, import_garg
from workbench.importers.garg_config import CONFIG, read_config
from workbench.opened import open_run
from workbench.runs import run_names
from workbench.tasks import LinearRegression
from workbench.training.building import build_model
from workbench.training.loop import train
from workbench.training.schedule import d_active, n_active

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture(autouse=True)
def no_global_draws():
    """torch's own layers draw from the global generator as they are built; put it back."""
    state = torch.random.get_rng_state()
    yield
    torch.random.set_rng_state(state)


@pytest.fixture
def theirs(tmp_path: Path) -> GargFolder:
    """A folder of theirs, complete."""
    folder = GargFolder(tmp_path / "theirs")
    folder.write()
    return folder


def imported(folder: GargFolder, name: str = "garg") -> Imported:
    return import_garg(folder.path, folder.path.parent / "runs" / name)


# The same numbers


@pytest.mark.parametrize(
    ("sizes", "n_tokens"),
    [
        (SIZES, N_TOKENS),
        ({"n_dims": 1, "n_positions": 5, "n_embd": 8, "n_layer": 1, "n_head": 1}, N_TOKENS),
        ({"n_dims": 20, "n_positions": 101, "n_embd": 64, "n_layer": 3, "n_head": 2}, 50257),  # their tiny one
        ({"n_dims": 5, "n_positions": 11, "n_embd": 64, "n_layer": 2, "n_head": 8}, N_TOKENS),
        pytest.param(
            {"n_dims": 20, "n_positions": 101, "n_embd": 256, "n_layer": 12, "n_head": 8},
            50257,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["2 layers", "1 layer of 1 head", "their tiny", "8 heads", "their standard"],
)
def test_predictions_are_those_of_the_original(
    tmp_path: Path, generator: torch.Generator, sizes: Mapping[str, Any], n_tokens: int
):
    folder = GargFolder(tmp_path / "theirs", sizes, n_tokens=n_tokens)
    folder.config["training"]["curriculum"]["points"] = {"start": 3, "end": 5, "inc": 1, "interval": 9}
    folder.write()
    imported(folder)
    run = open_run("garg", tmp_path / "runs")
    batch = run.task().sample(32, generator)
    original, model = folder.original(), run.model()
    expected = original(batch.xs, batch.ys)
    assert expected.std() > 0.2  # what is compared is not all zero
    # Both round to float32, and an output of a deep model is a sum of hundreds of terms of size 1.
    tolerance = 1e-5 if sizes["n_layer"] < 12 else 5e-5
    torch.testing.assert_close(model.predict(batch), expected, rtol=0, atol=tolerance)
    with model.exact():
        torch.testing.assert_close(model.predict(batch), expected, rtol=0, atol=tolerance)
    # In float64 nothing but the map itself can differ.
    double = RegressionBatch(batch.xs.double(), batch.ys.double())
    expected = original.double()(double.xs, double.ys)
    torch.testing.assert_close(model.double().predict(double), expected, rtol=0, atol=1e-11)


def test_every_weight_of_theirs_matters(theirs: GargFolder, generator: torch.Generator):
    """The control of the test above: a change of any tensor changes the predictions."""
    batch = LinearRegression(d_input=3, n_context=5).sample(4, generator)
    before = theirs.original()(batch.xs, batch.ys)
    weights = theirs.state_dict()
    for i, name in enumerate(key for key in weights if not key.endswith(("attn.bias", "masked_bias", "wte.weight"))):
        changed = {
            **weights,
            name: weights[name] + torch.linspace(0.1, 0.2, weights[name].numel()).reshape(weights[name].shape),
        }
        theirs.write_state(changed)
        imported(theirs, f"changed-{i}")
        found = open_run(f"changed-{i}", theirs.path.parent / "runs").model().predict(batch)
        # A bias of the keys alone shifts all scores of a query alike; c_attn's holds those of queries and values too.
        assert (found - before).abs().max() > 1e-4, name


def test_a_label_enters_through_the_first_column_of_the_read_in(theirs: GargFolder):
    imported(theirs)
    model = open_run("garg", theirs.path.parent / "runs").model()
    xs, ys = torch.zeros(1, 2, 3), torch.tensor([[2.0, 0.0]])
    embedded = model(model.encode(RegressionBatch(xs, ys)), stop_at_layer=0)
    weights = theirs.state_dict()
    at = weights["_backbone.wpe.weight"]
    expected = weights["_read_in.weight"][:, 0] * 2 + weights["_read_in.bias"] + at[1]
    torch.testing.assert_close(embedded[0, 1], expected)


# The run


def test_the_run_has_their_model_task_and_training(theirs: GargFolder):
    imported(theirs)
    config = open_run("garg", theirs.path.parent / "runs").config
    assert config.task == LinearRegression(d_input=3, n_context=5)
    assert (config.model.n_layers, config.model.d_model, config.model.n_heads) == (2, 16, 2)
    assert (config.model.mlp, config.model.layout, config.model.n_ctx) == ("gelu_tanh", "interleaved_shared", 14)
    assert (config.train.n_steps, config.train.n_batch, config.train.lr) == (501, 64, 1e-4)
    assert (config.train.checkpoint_every, config.train.optimizer) == (100, "adam")
    assert [int(d_active(step, 3, config.train)) for step in (0, 19, 20, 40, 500)] == [1, 1, 2, 3, 3]
    assert [int(n_active(step, 5, config.train)) for step in (0, 29, 30, 500)] == [3, 3, 5, 5]


def test_the_parameters_are_those_of_the_architecture_in_the_config(theirs: GargFolder):
    imported(theirs)
    run = open_run("garg", theirs.path.parent / "runs")
    shapes = {name: parameter.shape for name, parameter in build_model(run.config).named_parameters()}
    assert {name: weight.shape for name, weight in run.folder.weights().items()} == shapes


def test_every_file_of_weights_becomes_a_checkpoint_of_its_number(theirs: GargFolder, generator: torch.Generator):
    theirs.write_extra(100, seed=7)
    theirs.write_extra(200, seed=8)
    found = imported(theirs)
    run = open_run("garg", theirs.path.parent / "runs")
    assert found.steps == (100, 200, 500)
    assert run.folder.checkpoint_steps() == [100, 200, 500]
    batch = run.task().sample(4, generator)
    for step, seed in {100: 7, 200: 8, 500: 0}.items():
        expected = theirs.original(seed)(batch.xs, batch.ys)
        torch.testing.assert_close(run.model(step).predict(batch), expected, rtol=0, atol=1e-5)


def test_extra_checkpoints_do_without_a_state(theirs: GargFolder):
    (theirs.path / "state.pt").unlink()
    theirs.write_extra(100, seed=7)
    assert imported(theirs).steps == (100,)
    assert open_run("garg", theirs.path.parent / "runs").folder.status().state == "stopped"


def test_the_environment_says_where_the_weights_come_from(theirs: GargFolder):
    import hashlib

    (theirs.path / "metrics.json").write_text("{}")
    found = imported(theirs)
    origin = read_json(found.folder.path / "env.json")["origin"]
    assert origin == found.folder.origin
    assert origin["kind"] == "garg"
    assert origin["files"] == {"state.pt": hashlib.sha256((theirs.path / "state.pt").read_bytes()).hexdigest()}
    assert yaml.safe_load(origin["config_yaml"]) == theirs.config
    assert "not read: metrics.json" in found.notes
    assert found.folder.status().state == "finished"


def test_training_cannot_go_on_and_says_so_without_touching_the_run(theirs: GargFolder):
    folder = imported(theirs).folder
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"it came as weights alone.*Train anew: mesascope train TASK --config"):
        train(folder)
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before


def test_layers_of_an_imported_run_are_compared(theirs: GargFolder):
    imported(theirs)
    record = agree(
        open_run("garg", theirs.path.parent / "runs"), AgreementConfig(n_fit=64, n_prompts=16, n_resamples=10)
    )
    assert record["checkpoint"] == 500
    assert len(record["layers"]) == 3


# Tasks


@pytest.mark.parametrize(
    ("training", "task"),
    [
        ({"task_kwargs": {"scale": 2}}, LinearRegression(3, 5, w_scale=2.0)),
        (
            {"task": "sparse_linear_regression", "task_kwargs": {"sparsity": 2}},
            LinearRegression(3, 5, weights="sparse", n_nonzero=2),
        ),
        ({"task": "sparse_linear_regression"}, LinearRegression(3, 5, weights="sparse", n_nonzero=3)),
        (
            {"task": "noisy_linear_regression", "task_kwargs": {"noise_std": 0.5, "renormalize_ys": False}},
            LinearRegression(3, 5, noise_std=0.5),
        ),
    ],
)
def test_a_task_of_theirs_becomes_the_one_of_the_same_law(
    tmp_path: Path, training: Mapping[str, Any], task: LinearRegression
):
    folder = GargFolder(tmp_path / "theirs", training=training)
    folder.write_config()
    assert read_config(folder.path / CONFIG).task == task


@pytest.mark.parametrize(
    ("training", "told"),
    [
        ({"num_tasks": 64}, "trained on 64 fixed w"),
        ({"num_training_examples": 1000}, "trained on 1000 fixed prompts"),
        (
            {
                "curriculum": {
                    "dims": {"start": 1, "end": 3, "inc": 2, "interval": 9},
                    "points": {"start": 5, "end": 5, "inc": 1, "interval": 9},
                }
            },
            "its curriculum of dimensions rose by 2 at a time",
        ),
        ({}, "standard deviation 0.02"),
    ],
)
def test_what_the_run_cannot_say_is_noted(tmp_path: Path, training: Mapping[str, Any], told: str):
    folder = GargFolder(tmp_path / "theirs", training=training)
    folder.write_config()
    assert any(told in note for note in read_config(folder.path / CONFIG).notes)


@pytest.mark.parametrize("written", ["1e-4", "1.0e-4", "0.0001", "1E-4"])
def test_a_rate_is_a_number_however_yaml_reads_it(theirs: GargFolder, written: str):
    text = yaml.dump(theirs.config).replace("learning_rate: 0.0001", f"learning_rate: {written}")
    theirs.write_config(text)
    assert read_config(theirs.path / CONFIG).training.learning_rate == 1e-4


def test_missing_settings_take_the_defaults_of_their_schema(theirs: GargFolder):
    kept = ("task", "curriculum")
    theirs.config["training"] = {name: theirs.config["training"][name] for name in kept}
    theirs.write_config()
    training = read_config(theirs.path / CONFIG).training
    assert (training.batch_size, training.learning_rate, training.train_steps) == (64, 3e-4, 1000)


# What is refused


def refused(folder: GargFolder, told: str) -> None:
    """An import is refused in one line, and leaves nothing."""
    with pytest.raises(InputError, match=told) as caught:
        imported(folder, "refused")
    assert "\n" not in str(caught.value)
    assert not list((folder.path.parent / "runs").glob("*"))


def changed(where: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one place of a config; None takes it out."""

    def change(config: dict[str, Any]) -> None:
        *parents, last = where.split(".")
        for name in parents:
            config = config[name]
        if value is None:
            del config[last]
        else:
            config[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (changed("model", None), "model must be given"),
        (changed("model", 3), "model must hold named values; got int"),
        (changed("model", {1: 2}), "model must hold named values"),
        (changed("model.n_dims", None), r"model.n_dims must be given. Files under 'inherit' are not followed"),
        (changed("model.n_embd", "wide"), "model.n_embd must be a whole number; got 'wide'"),
        (changed("model.n_embd", True), "model.n_embd must be a whole number; got True"),
        (changed("model.n_layer", 0), "model.n_layer must be from 1 to 1000; got 0"),
        (changed("model.n_layer", 10**15), "model.n_layer must be from 1 to 1000"),
        (changed("model.n_positions", 10**7), "model.n_positions must be from 1 to 10000"),
        (changed("model.n_head", 3), "model.n_head must divide n_embd 16; got 3"),
        (changed("model.n_head", 0), "model.n_head must be from 1"),
        (changed("model.family", "lstm"), "model.family must be gpt2, the only one that can be imported; got 'lstm'"),
        (changed("model.attention_type", "relu"), "Unknown key of model 'attention_type'"),
        (changed("gpu", 1), r"Unknown key 'gpu'.*Known: model, training, config, inherit"),
        (changed("training", None), "training must be given"),
        (changed("training.task", None), r"Unknown training.task that can be imported None"),
        (
            changed("training.task", "relu_2nn_regression"),
            r"'relu_2nn_regression'.* Known: linear_regression, sparse_linear_regression, noisy_linear_regression",
        ),
        (changed("training.task", ["a"]), "Unknown training.task"),
        (changed("training.data", "uniform"), "training.data must be gaussian, the only law"),
        (changed("training.learning_rate", "fast"), "training.learning_rate must be a number"),
        (changed("training.learning_rate", 0.0), "training.learning_rate must be above 0; got 0.0"),
        (changed("training.learning_rate", float("nan")), "training.learning_rate must be above 0"),
        (changed("training.batch_size", 0), "training.batch_size must be from 1"),
        (changed("training.train_steps", 10**10), "training.train_steps must be from 1 to 1000000000"),
        (changed("training.more", 1), "Unknown key of training 'more'"),
        (changed("training.task_kwargs", [1]), "training.task_kwargs must hold named values; got list"),
        (changed("training.task_kwargs", {"sparsity": 3}), "Unknown key of training.task_kwargs 'sparsity'"),
        (changed("training.task_kwargs", {"scale": 0}), "training.task_kwargs.scale must be above 0"),
        (changed("training.curriculum", None), "training.curriculum must be given"),
        (changed("training.curriculum.points", None), "training.curriculum.points must be given"),
        (changed("training.curriculum.points.end", 8), "points.end must be at most model.n_positions 7; got 8"),
        (changed("training.curriculum.dims.end", 2), "dims.end must be model.n_dims 3; got 2"),
        (changed("training.curriculum.dims.start", 4), "curriculum.dims must start at 1 or more and grow to its end"),
        (changed("training.curriculum.dims.inc", 0), "curriculum.dims must start at 1 or more and grow to its end"),
        (changed("training.curriculum.dims.interval", 0), "curriculum.dims.interval must be at least 1; got 0"),
        (changed("training.train_steps", 500), "steps below training.train_steps 500 of config.yaml; got step 500"),
    ],
)
def test_a_config_that_cannot_be_is_refused(theirs: GargFolder, change: Callable[[dict[str, Any]], None], told: str):
    change(theirs.config)
    theirs.write_config()
    refused(theirs, told)


@pytest.mark.parametrize(
    ("training", "told"),
    [
        (
            {"task": "noisy_linear_regression", "task_kwargs": {"renormalize_ys": True}},
            "training.task_kwargs.renormalize_ys must be false",
        ),
        ({"task": "noisy_linear_regression", "task_kwargs": {"noise_std": -1}}, "noise_std must be at least 0"),
        (
            {"task": "sparse_linear_regression", "task_kwargs": {"sparsity": 4}},
            "training.task_kwargs.sparsity must be from 1 to n_dims 3; got 4",
        ),
    ],
)
def test_a_law_that_no_task_here_has_is_refused(tmp_path: Path, training: Mapping[str, Any], told: str):
    folder = GargFolder(tmp_path / "theirs", training=training)
    folder.write()
    refused(folder, told)


def test_faults_are_told_together_after_the_files_name(theirs: GargFolder):
    theirs.config["model"]["n_embd"] = "wide"
    theirs.config["training"]["task_kwargs"] = {"slope": 1}
    theirs.config["more"] = 1
    theirs.write_config()
    refused(
        theirs, r"theirs/config.yaml: Unknown key 'more'.*model.n_embd must be.*Unknown key of .*task_kwargs 'slope'"
    )


def bomb() -> str:
    lines = ["a0: &a0 [lol, lol, lol]"]
    lines += [f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(30)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model: [", "must be YAML of plain values"),
        ("", "must hold named values; got NoneType"),
        ("- 1", "must hold named values; got list"),
        ("a: !!python/object/apply:os.system ['true']", "must be YAML of plain values; nothing in it was run"),
        ("a: !!python/name:os.system", "must be YAML of plain values; nothing in it was run"),
        ("a: !munch.Munch {}", "must be YAML of plain values"),
        (bomb(), "must be YAML of plain values; .*it has aliases; write their values out"),
        ("[" * 60_000, "must be YAML of plain values; .*nests more than 20 levels deep"),
        ("\n".join(" " * i + "a:" for i in range(300)), "nests more than 20 levels deep"),
        ("{a: " * 10_000, "nests more than 20 levels deep"),
        ("? " * 10_000, "nests more than 20 levels deep"),
        ("- " * 10_000, "nests more than 20 levels deep"),
        ("a: " + "9" * 50_000, "must be YAML of plain values"),
        ("a: \0", "must be YAML of plain values"),
        ("a: " + "b" * 2**16, "config.yaml must have at most 65536 bytes"),
    ],
    ids=[
        "cut",
        "empty",
        "list",
        "call",
        "function",
        "munch",
        "bomb",
        "deep",
        "indented",
        "braces",
        "questions",
        "dashes",
        "digits",
        "zero",
        "long",
    ],
)
def test_yaml_that_is_no_config_is_refused_fast(theirs: GargFolder, text: str, told: str):
    theirs.write_config(text)
    with cheaply():
        refused(theirs, told)


def test_yaml_that_is_no_text_is_refused(theirs: GargFolder):
    (theirs.path / CONFIG).write_bytes(b"a: \xff\xfe")
    refused(theirs, "must be YAML of plain values")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (CONFIG, r"config.yaml must be readable; No such file"),
        ("state.pt", "must hold state.pt or a model_<step>.pt; it holds config.yaml"),
    ],
)
def test_a_missing_file_is_told_by_name(theirs: GargFolder, name: str, told: str):
    (theirs.path / name).unlink()
    refused(theirs, told)


@pytest.mark.parametrize("name", [CONFIG, "state.pt", "model_100.pt"])
def test_a_pipe_or_folder_is_no_file(theirs: GargFolder, name: str):
    (theirs.path / name).unlink(missing_ok=True)
    (theirs.path / name).mkdir()
    refused(theirs, f"{name} must be readable; Is a directory")
    (theirs.path / name).rmdir()
    os.mkfifo(theirs.path / name)
    refused(theirs, f"{name} must be readable; Not a file")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda w: w.pop("_read_in.weight"),
            r"state.pt must hold the weights of the model in config.yaml; _read_in.weight is missing\.",
        ),
        (lambda w: w.update({"_extra": torch.zeros(1)}), "_extra is unknown"),
        (lambda w: w.update({"_backbone.h.2.ln_1.weight": torch.zeros(16)}), "_backbone.h.2.ln_1.weight is unknown"),
        (
            lambda w: w.update({"_backbone.h.0.attn.c_attn.weight": torch.zeros(48, 16)}),
            r"h.0.attn.c_attn.weight must be of shape \[16, 48\], and is of \[48, 16\]",
        ),
        (
            lambda w: w.update({"_backbone.wpe.weight": torch.zeros(7, 16)}),
            r"_backbone.wpe.weight must be of shape \[14, 16\], and is of \[7, 16\]",
        ),
        (
            lambda w: w.update({"_read_in.bias": torch.zeros(16, dtype=torch.int64)}),
            "_read_in.bias must be a tensor of numbers",
        ),
        (lambda w: w.update({"_read_in.bias": "zero"}), "_read_in.bias must be a tensor of numbers"),
        (lambda w: w["_read_in.bias"].fill_(float("nan")), "_read_in.bias must be finite"),
        (
            lambda w: w.update({"_read_in.bias": w["_read_in.bias"].double().fill_(1e300)}),
            "_read_in.bias must be finite in float32",
        ),
        (
            lambda w: [w.pop(name) for name in list(w) if "h.1." in name],
            r"h.1.attn.c_attn.weight is missing; .* and 8 more",
        ),
    ],
)
def test_weights_of_another_model_are_refused(theirs: GargFolder, change: Callable[[dict[str, Any]], Any], told: str):
    weights = dict(theirs.state_dict())
    change(weights)
    theirs.write_state(weights)
    refused(theirs, told)


@pytest.mark.parametrize("step", [-1, True, 1.5, "many", None])
def test_a_state_of_no_step_is_refused(theirs: GargFolder, step: Any):
    theirs.write_state(train_step=step)
    refused(theirs, "must hold a model_state_dict and a whole number train_step; it holds model_state_dict, optimizer")


def test_a_state_dict_alone_is_no_state(theirs: GargFolder):
    torch.save(theirs.state_dict(), theirs.path / "state.pt")
    refused(theirs, "must hold a model_state_dict and a whole number train_step; it holds _read_in.weight")


def test_two_files_of_one_step_must_agree(theirs: GargFolder):
    theirs.write_extra(500, seed=0)
    assert imported(theirs, "agreeing").steps == (500,)
    theirs.write_extra(500, seed=1)
    with pytest.raises(InputError, match=r"model_500.pt must hold the weights of state.pt.*they differ"):
        imported(theirs, "refused")


@pytest.mark.parametrize("name", ["state.pt", "model_100.pt"])
@pytest.mark.parametrize("older", [False, True])
def test_a_planted_pickle_is_refused_and_not_run(theirs: GargFolder, tmp_path: Path, name: str, older: bool):
    touched = tmp_path / "touched"
    state = {"model_state_dict": {"a": Touch(touched)}, "train_step": 1}
    torch.save(state, theirs.path / name, _use_new_zipfile_serialization=not older)
    refused(theirs, f"{name} must be a torch file of tensors and plain values alone; .*nothing in it was run")
    assert not touched.exists()
    torch.load(theirs.path / name, weights_only=False)  # the control: whoever trusts it does touch the file
    assert touched.exists()


@pytest.mark.parametrize("make", HOSTILE_STATES.values(), ids=HOSTILE_STATES)
def test_a_hostile_state_is_refused_fast_and_without_memory(theirs: GargFolder, make: Callable[[], bytes]):
    (theirs.path / "state.pt").write_bytes(make())
    with cheaply():
        refused(theirs, r"state.pt must be a torch file of tensors")


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8])
def test_a_bit_that_flipped_on_the_way_is_told(theirs: GargFolder, part: float):
    path = theirs.path / "state.pt"
    content = bytearray(path.read_bytes())
    number = theirs.state_dict()["_backbone.h.1.mlp.c_proj.weight"].numpy().tobytes()
    place = content.index(number) + int(part * len(number))
    content[place] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)  # the control: torch does not notice
    refused(theirs, r"state.pt must match its own checksums; .*data/\d+ in it was damaged. Copy it anew")


def test_a_file_beyond_any_model_is_refused(theirs: GargFolder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(garg, "_LARGEST_FILE", (theirs.path / "state.pt").stat().st_size - 1)
    refused(theirs, r"state.pt must have at most \d+ bytes; it has more")


def test_a_file_that_changes_meanwhile_is_told(theirs: GargFolder, monkeypatch: pytest.MonkeyPatch):
    theirs.write_extra(100, seed=1)
    plain, seen = garg.read_bytes, []

    def writing(path: Path, at_most: int) -> bytes:
        content = plain(path, at_most)
        seen.append(path.name)
        return content + bytes(seen.count("model_100.pt") > 1)

    monkeypatch.setattr(garg, "read_bytes", writing)
    refused(theirs, r"model_100.pt must not change while it is read")


def test_a_place_that_is_taken_is_left_alone(theirs: GargFolder):
    imported(theirs)
    before = {p: p.stat().st_mtime_ns for p in (theirs.path.parent / "runs").rglob("*")}
    with pytest.raises(InputError, match=r"run 'garg' exists already at .*choose another name"):
        imported(theirs)
    assert {p: p.stat().st_mtime_ns for p in (theirs.path.parent / "runs").rglob("*")} == before


def test_a_fault_in_a_later_file_leaves_nothing(theirs: GargFolder):
    (theirs.path / "model_900000000.pt").write_bytes(b"junk")
    refused(theirs, "got step 900000000")
    (theirs.path / "model_900000000.pt").unlink()
    (theirs.path / "model_100.pt").write_bytes(b"junk")
    refused(theirs, "model_100.pt must be a torch file")


KILLED = """
    import os, sys
    from pathlib import Path
    from workbench.importers.garg import import_garg
    from workbench.runs import RunFolder

    source, path, method = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    plain = getattr(RunFolder, method)
    def then_die(*arguments):
        plain(*arguments)
        os.kill(os.getpid(), 9)
    setattr(RunFolder, method, then_die)
    import_garg(source, path)
"""


@pytest.mark.parametrize("method", ["save_checkpoint", "write_status"])
def test_what_is_killed_on_the_way_leaves_no_run_and_is_swept(theirs: GargFolder, method: str):
    theirs.write_extra(100, seed=1)
    runs = theirs.path.parent / "runs"
    words = [sys.executable, "-c", textwrap.dedent(KILLED), str(theirs.path), str(runs / "garg"), method]
    done = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert run_names(runs) == []
    assert all(re.match(r"\.tmp-", path.name) for path in runs.iterdir())
    assert imported(theirs).steps == (100, 500)
    assert [path.name for path in runs.iterdir()] == ["garg"]
