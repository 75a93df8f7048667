"""Values of fields and every combination of them."""

import re

import pytest

from tests.helpers import tiny_config
from workbench.errors import InputError
from workbench.training.config import preset_config
from workbench.training.varying import differing, variation, varied

BASE = preset_config("linear_regression", "demo")


@pytest.mark.parametrize(
    ("text", "field", "values"),
    [
        ("train.seed=0..3", "train.seed", [0, 1, 2, 3]),
        ("train.seed=5", "train.seed", [5]),
        ("train.seed=7,0..2", "train.seed", [7, 0, 1, 2]),
        ("task.fixed-seed=-1..1", "task.fixed_seed", [-1, 0, 1]),
        ("train.lr=1e-3,3e-3", "train.lr", [0.001, 0.003]),
        ("train.lr=1", "train.lr", [1.0]),
        ("task.noise-std=0, 0.5", "task.noise_std", [0.0, 0.5]),
        ("train.clip-norm=None,1", "train.clip_norm", [None, 1.0]),
        ("model.causal=True,false", "model.causal", [True, False]),
        ("model.mlp=relu,gelu", "model.mlp", ["relu", "gelu"]),
        ("train.betas=0.9 0.99,0.8 0.9", "train.betas", [(0.9, 0.99), (0.8, 0.9)]),
    ],
)
def test_values_are_those_of_the_fields_type(text: str, field: str, values: list[object]):
    part, _, name = field.partition(".")
    found = [getattr(getattr(config, part), name) for config in varied(BASE, [variation(text)])]
    assert found == values
    assert list(map(type, found)) == list(map(type, values))


def test_every_combination_is_one_config_the_last_field_changing_fastest():
    texts = ["train.seed=0..1", "train.lr=0.1,0.2", "task.noise-std=0,1"]
    configs = varied(BASE, [variation(text) for text in texts])
    found = [(config.train.seed, config.train.lr, config.task.noise_std) for config in configs]
    assert found == [(seed, lr, noise) for seed in (0, 1) for lr in (0.1, 0.2) for noise in (0.0, 1.0)]
    assert all(config.model.d_input == 4 for config in configs), "resolved"


def test_shapes_of_the_model_follow_the_task():
    configs = varied(BASE, [variation("task.d-input=2,3"), variation("train.d-start=None")])
    assert [config.model.d_input for config in configs] == [2, 3]


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["train.seed"], "--vary must be FIELD=VALUES, such as train.seed=0..7 .*; got 'train.seed'"),
        (["seed=1"], "--vary must be FIELD=VALUES"),
        (["train.=1"], "--vary must be FIELD=VALUES"),
        (["train.seed="], "--vary must be FIELD=VALUES"),
        (["tain.seed=1"], "--vary must name a field of task, model, train; got tain.seed"),
        (["train.sed=1"], "--vary: Unknown field of train 'sed'. Did you mean 'seed'"),
        (["task.name=linear_regression"], "--vary: Unknown field of task 'name'"),
        (["train.seed=1.5"], r"--vary train.seed=1.5: .*seed must be a whole number; got 1.5"),
        (["train.lr=fast"], "--vary train.lr=fast: .*lr must be a number"),
        (["train.lr=nan"], "--vary train.lr=nan: .*lr must be a finite number greater than 0; got nan"),
        (
            ["train.betas=0.9"],
            r"--vary train.betas=0.9: .* by spaces: --vary 'train.betas=0\.9\S* 0\.9\S*'\.$",
        ),
        (["train.seed=0,1", "train.lr=-1"], "--vary train.seed=0, train.lr=-1: lr must be"),
        (["task.d-input=0"], "--vary task.d_input=0: d_input must be"),
        (["task.d-input=1"], "--vary task.d_input=1: train.d_start must be at most the task's 1"),
        (["train.seed=3..1"], r"--vary train.seed must count up.*; got 3\.\.1. Write train.seed=1\.\.3"),
        (["train.seed=0..99999"], r"--vary train.seed must count up to 10000 values at most; got 0\.\.99999"),
        *(
            (
                [f"train.seed={item}"],
                rf"--vary train.seed must be a range FIRST\.\.LAST .*; got {re.escape(item)}\. Write",
            )
            for item in ("0..", "..7", "..", "0...7", "0..7..2", "a..b", "0.5..2", "0 .. 7", "0..1e3", f"0..{10**15}")
        ),
        (["train.seed=1,0..,3"], r"--vary train.seed must be a range .*; got 0\.\.\. Write train.seed=0\.\.7"),
        (["train.seed=1,1"], "--vary must give different values"),
        (["train.seed=1,,2"], "--vary must give a value between commas"),
        (["train.seed=0..9", "train.seed=3"], "--vary must name a field once; got train.seed twice"),
        (["train.seed=0..9999", "train.lr=1,2"], "--vary must make at most 10000 runs; got 20000"),
    ],
)
def test_what_does_not_fit_is_refused(texts: list[str], told: str):
    with pytest.raises(InputError, match=told):
        varied(BASE, [variation(text) for text in texts])


def test_the_fields_in_which_configs_differ():
    configs = [tiny_config(), tiny_config(lr=0.5), tiny_config(seed=3)]
    assert differing(configs) == {"train.seed": [0, 0, 3], "train.lr": [1e-3, 0.5, 1e-3]}
    assert differing(configs[:1]) == {}
