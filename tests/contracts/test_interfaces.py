"""What programs may rely on: the library as its page shows it, line by line."""

from pathlib import Path

import pytest
import torch
from transformer_lens import ActivationCache

import workbench
from tests.helpers import tiny_run
from workbench.models import Transformer
from workbench.tasks import LinearRegression
from workbench.training.loop import train

N, CONTEXT, D, LAYERS, HEADS, WIDTH = 256, 4, 2, 2, 2, 8


@pytest.fixture(autouse=True)
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trained run ``runs/demo`` here."""
    monkeypatch.chdir(tmp_path)
    train(tiny_run(Path("runs"), "demo"))


@pytest.fixture
def batch():
    return workbench.open_run("runs/demo").task().sample(n_batch=N, generator=torch.Generator().manual_seed(0))


def test_a_run_gives_its_task_and_its_models():
    run = workbench.open_run("runs/demo")
    task, model = run.task(), run.model()
    assert isinstance(task, LinearRegression)
    assert isinstance(model, Transformer)
    assert isinstance(run.model(step=4), Transformer)
    assert isinstance(workbench.open_run("demo").model(), Transformer)


def test_a_task_samples_prompts(batch):
    assert batch.xs.shape == (N, CONTEXT, D)
    assert batch.ys.shape == (N, CONTEXT)
    assert batch.xs.dtype == batch.ys.dtype == torch.float32
    assert batch.latents["w"].shape == (N, D)


def test_a_model_predicts_every_label(batch):
    model = workbench.open_run("runs/demo").model()
    predictions = model.predict(batch)
    assert predictions.shape == (N, CONTEXT)
    assert predictions.dtype == torch.float32
    assert not predictions.requires_grad


def test_a_prediction_does_not_depend_on_its_label_or_later_examples(batch):
    model = workbench.open_run("runs/demo").model()
    predictions = model.predict(batch)
    for i in range(CONTEXT):
        ys, xs = batch.ys.clone(), batch.xs.clone()
        ys[:, i:] += 1
        xs[:, i + 1 :] += 1
        changed = model.predict(type(batch)(xs, ys))
        torch.testing.assert_close(changed[:, : i + 1], predictions[:, : i + 1])
        assert i == CONTEXT - 1 or not torch.allclose(changed[:, i + 1 :], predictions[:, i + 1 :])


def test_a_model_gives_output_and_activations(batch):
    model = workbench.open_run("runs/demo").model()
    output, cache = model.run_with_cache(model.encode(batch))
    assert isinstance(cache, ActivationCache)
    assert output.shape == (N, 2 * CONTEXT, 1)
    assert cache["resid_post", LAYERS - 1].shape == (N, 2 * CONTEXT, WIDTH)
    assert cache["pattern", 0].shape == (N, HEADS, 2 * CONTEXT, 2 * CONTEXT)


def test_reference_algorithms_predict_and_give_their_weights(batch):
    by_step = workbench.baselines.predict("newton", batch.xs, batch.ys, steps=[0, 1, 2])
    assert (by_step.shape, by_step.dtype) == ((3, N, CONTEXT), torch.float64)
    ols = workbench.baselines.predict("ols", batch.xs, batch.ys)
    assert (ols.shape, ols.dtype) == ((N, CONTEXT), torch.float64)
    weights = workbench.baselines.weights("gd", batch.xs, batch.ys, steps=[1, 4], step_size=0.01)
    assert (weights.shape, weights.dtype) == ((2, N, CONTEXT, D), torch.float64)
    torch.testing.assert_close(ols[:, D:], batch.ys[:, D:].double(), rtol=0.0, atol=1e-3)  # no noise: it knows w


def test_prediction_0_has_no_examples(batch):
    for name in ("ols", "zero"):
        assert (workbench.baselines.predict(name, batch.xs, batch.ys)[:, 0] == 0).all()


def test_sim_e_compares_predictions(batch):
    a = workbench.baselines.predict("ols", batch.xs, batch.ys)
    b = workbench.baselines.predict("newton", batch.xs, batch.ys, steps=[3])[0]
    zero = workbench.baselines.predict("zero", batch.xs, batch.ys)
    found = workbench.agreement.sim_e(a, b, batch.ys)
    assert found.shape == ()
    assert -1 <= found.item() <= 1
    assert workbench.agreement.sim_e(zero, zero, batch.ys).item() == pytest.approx(1.0)


def test_the_attributes_of_the_library_are_listed():
    for name in ("open_run", "baselines", "agreement"):
        assert name in dir(workbench)
        assert getattr(workbench, name)
