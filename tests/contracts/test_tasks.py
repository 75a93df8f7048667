"""What holds for every task."""

import pytest
import torch

from workbench.models import Transformer, TransformerConfig
from workbench.tasks import TASKS
from workbench.training.config import preset_config

every_task = pytest.mark.parametrize("task_class", TASKS.values(), ids=list(TASKS))


def tensors(batch) -> list[torch.Tensor]:
    own = [value for value in vars(batch).values() if isinstance(value, torch.Tensor)]
    return own + list(batch.latents.values())


@every_task
def test_equal_generator_states_give_equal_batches(task_class):
    task = task_class()
    one, same = (task.sample(5, torch.Generator().manual_seed(7)) for _ in range(2))
    other = task.sample(5, torch.Generator().manual_seed(8))
    assert all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(same), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))


@every_task
def test_a_prompt_depends_on_its_number_and_not_on_its_batch(task_class):
    task = task_class()
    many = task.prompts(3, "stream", 0, 90)
    few = task.prompts(3, "stream", 62, 5)
    for a, b in zip(tensors(many), tensors(few), strict=True):
        torch.testing.assert_close(a[62:67], b, rtol=0, atol=0)


@every_task
def test_streams_and_seeds_do_not_overlap(task_class):
    task = task_class()
    first = tensors(task.prompts(3, "stream", 0, 4))[0]
    for seed, stream, start in ((4, "stream", 0), (3, "other", 0), (3, "stream", 4), (3, "stream", 64)):
        assert not torch.equal(first, tensors(task.prompts(seed, stream, start, 4))[0])


@every_task
def test_every_latent_has_the_batch_axis(task_class):
    batch = task_class().sample(3, torch.Generator().manual_seed(0))
    assert all(value.shape[0] == 3 for value in batch.latents.values())
    part = batch.prompts(1, 3)
    assert part.n_batch == 2
    assert all(value.shape[0] == 2 for value in part.latents.values())


@every_task
def test_a_model_of_the_tasks_shape_takes_its_prompts(task_class):
    task = task_class()
    config = TransformerConfig(n_layers=1, d_model=8, n_heads=2).shaped(task.model_shape())
    batch = task.sample(2, torch.Generator().manual_seed(0))
    assert torch.isfinite(Transformer(config).predict(batch)).all()


@every_task
def test_every_preset_makes_a_run(task_class):
    assert {"demo", "small", "paper"} <= set(task_class.presets)
    for preset in task_class.presets:
        assert preset_config(task_class.name, preset).resolved().task.name == task_class.name


@every_task
def test_moving_a_batch_changes_type_and_nothing_else(task_class):
    batch = task_class().sample(2, torch.Generator().manual_seed(0))
    for before, after in zip(tensors(batch), tensors(batch.to(dtype=torch.float64)), strict=True):
        assert after.dtype == (torch.float64 if before.is_floating_point() else before.dtype)
        assert torch.equal(before.double(), after.double())
