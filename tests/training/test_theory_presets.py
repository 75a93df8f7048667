"""The presets of theory papers: they start, alone and as ensembles, and learn what theory says where that is quick."""

import pytest
import torch

from workbench.tasks import TASKS
from workbench.tasks.theory_presets import (
    ANISOTROPIC_REGRESSION,
    LINEAR_DYNAMICS,
    LINEAR_REGRESSION,
    MULTI_TASK_REGRESSION,
    NONLINEAR_REGRESSION,
    SINE_REGRESSION,
)
from workbench.theory.one_step import optimum
from workbench.training.checking import check_trainable
from workbench.training.config import RunConfig, preset_config, run_config_from_data
from workbench.training.program import Program

OF_PAPERS = {
    "linear_regression": LINEAR_REGRESSION,
    "anisotropic_regression": ANISOTROPIC_REGRESSION,
    "nonlinear_regression": NONLINEAR_REGRESSION,
    "sine_regression": SINE_REGRESSION,
    "multi_task_regression": MULTI_TASK_REGRESSION,
    "linear_dynamics": LINEAR_DYNAMICS,
}
PRESETS = [(task, preset) for task, presets in OF_PAPERS.items() for preset in presets]


def config_of(task: str, preset: str, **train: object) -> RunConfig:
    data = preset_config(task, preset).to_data()
    return run_config_from_data({**data, "train": {**data["train"], **train}}).resolved()


@pytest.mark.parametrize(("task", "preset"), PRESETS)
def test_presets_can_be_trained_and_need_nothing_that_their_task_lacks(task, preset):
    assert preset in TASKS[task].presets
    check_trainable(config_of(task, preset))


QUICK = [
    ("linear_regression", "zhang"),
    ("linear_regression", "von_oswald_copying"),
    ("linear_regression", "von_oswald_tied"),
    ("anisotropic_regression", "ahn"),
    ("anisotropic_regression", "ahn_gd_plus_plus"),
    ("multi_task_regression", "he_superposition"),
    ("sine_regression", "von_oswald"),
]


@pytest.mark.parametrize(("task", "preset"), QUICK)
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_an_ensemble_takes_the_steps_that_each_model_takes_alone(task, preset):
    configs = [config_of(task, preset, seed=seed, n_batch=8, precision="float64") for seed in (0, 1)]
    together = Program(configs)
    for _ in range(2):
        together.update()
    for replica, config in enumerate(configs):
        alone = Program([config])
        for _ in range(2):
            alone.update()
        for name, weight in alone.weights_of(0).items():
            torch.testing.assert_close(together.weights_of(replica)[name], weight, rtol=1e-6, atol=1e-9)
            assert weight.isfinite().all()


def test_a_layer_of_linear_attention_learns_the_best_step():
    config = config_of("linear_regression", "zhang", n_steps=200, n_batch=256, lr=0.02)
    program = Program([config])
    for _ in range(config.train.n_steps):
        program.update()
    weights = program.weights_of(0)
    d, gamma = config.task.model_shape()["d_input"], optimum(config.task.law())
    product = -weights["blocks.0.attn.qkv.values"][d, d] * weights["blocks.0.attn.qkv.keys"][:d, :d].double()
    assert ((product - gamma).norm() / gamma.norm()).item() < 0.05
