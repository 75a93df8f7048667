"""What holds for every task."""

import re
from dataclasses import fields, replace
from typing import Literal, get_origin, get_type_hints

import pytest
import torch

from workbench import baselines
from workbench.configs import with_values
from workbench.errors import InputError
from workbench.models import Transformer, TransformerConfig
from workbench.tasks import TASKS, RegressionTask
from workbench.tasks.draws import NumberedDraws, stream_key
from workbench.training.config import preset_config
from workbench.training.loss import parts_of

every_task = pytest.mark.parametrize("task_class", TASKS.values(), ids=list(TASKS))


regression = pytest.mark.parametrize(
    "task_class", [each for each in TASKS.values() if issubclass(each, RegressionTask)], ids=lambda each: each.name
)
"""Tasks with (x, y) examples."""


def is_mean(samples: torch.Tensor, expected: torch.Tensor | float) -> bool:
    """Whether the mean over the first axis may be that: no entry is five standard errors away."""
    deviation = samples.std(0) / len(samples) ** 0.5
    return bool(((samples.mean(0) - expected).abs() <= 5 * deviation + 1e-6).all())


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


@every_task
def test_replicas_whose_numbers_differ_draw_what_each_draws_alone(task_class):
    """An ensemble holds tensors where a task has numbers that are not whole."""
    names = [f.name for f in fields(task_class) if f.type is float]
    task = task_class()
    values = torch.stack([torch.tensor([getattr(task, name) * factor for name in names]) for factor in (1.0, 0.5)])
    key = torch.tensor(stream_key(0, "test"))

    def draw(row):
        numbers = dict(zip(names, row, strict=True))
        return parts_of(with_values(task, numbers).draw(NumberedDraws(key, torch.arange(4))))

    together = torch.func.vmap(draw)(values)
    for replica in range(2):
        for both, one in zip(together, draw(values[replica]), strict=True):
            torch.testing.assert_close(both[replica], one, rtol=1e-5, atol=1e-5)


@every_task
def test_a_draw_and_its_yardstick_read_no_number_so_that_memory_can_be_told_beforehand(task_class):
    """On the meta device, where tensors are shapes alone: as under a capture, no value may be looked at."""
    task = task_class()
    with torch.device("meta"):
        parts = parts_of(task.draw(NumberedDraws(torch.zeros((), dtype=torch.int64), torch.arange(3))))
        ridge = task.least_squares_ridge()
    assert all(part.is_meta and len(part) == 3 for part in parts)
    assert not isinstance(ridge, torch.Tensor)


@regression
def test_labels_are_next_inputs_where_it_says_so_and_have_the_shape_that_models_get(task_class):
    task = task_class()
    batch, shape = task.prompts(0, "test", 0, 3), task.model_shape()
    assert batch.xs.shape == (3, shape["n_context"], shape["d_input"])
    assert batch.ys.shape[2:] == ((shape["d_output"],) if shape["output"] == "vector" else ())
    follows = batch.xs.shape[-1:] == batch.ys.shape[2:] and torch.equal(batch.xs[:, 1:], batch.ys[:, :-1])
    assert follows == task_class.next_input


@regression
def test_facts_are_the_moments_of_what_is_drawn(task_class):
    task = task_class()
    batch = task.prompts(0, "facts", 0, 8192).to(dtype=torch.float64)
    latents = batch.latents
    fits = latents["linear_fit"] if "linear_fit" in latents else latents["w"]
    ys = batch.ys if batch.ys.ndim == 3 else batch.ys[..., None]
    fits = fits if fits.ndim == 3 else fits[:, None]
    assert len(task.facts()) == (0 if task_class.next_input else ys.shape[-1])
    for label, facts in enumerate(task.facts()):
        y, w = ys[..., label], fits[:, label]
        x, square = batch.xs, batch.xs.square().sum(-1)
        assert is_mean((x[..., :, None] * x[..., None, :]).mean(1), facts.input_covariance)
        assert is_mean(w[:, :, None] * w[:, None, :], facts.fit_covariance)
        assert is_mean(y.square().mean(1), facts.label_variance)
        assert is_mean((y.square() * square).mean(1), facts.label_times_square)
        assert is_mean((y - (x * w[:, None]).sum(-1)).square().mean(1), facts.linear_floor)
        assert is_mean(((y - (x * w[:, None]).sum(-1))[..., None] * x).mean(1), 0.0), "w is no best fit"


@regression
@pytest.mark.parametrize("noise_std", [0.0, 0.5])
def test_what_is_called_bayes_is_the_conditional_mean(task_class, noise_std):
    """E[b (y - b)] = 0 for the posterior mean b, at every context position."""
    task = replace(task_class(), noise_std=noise_std)
    batch = task.prompts(0, "bayes", 0, 1024).to(dtype=torch.float64)
    for label, reference in enumerate(task.bayes()):
        y = batch.ys[..., label] if batch.ys.ndim == 3 else batch.ys
        said = baselines.predict(reference.name, batch.xs, y, **reference.options)
        known = torch.arange(batch.n_context) > batch.xs.shape[-1] + 2
        told = (said * (y - said))[:, ~known | (noise_std > 0)]
        assert is_mean(told, 0.0)
        if label == 0 and noise_std:
            assert is_mean((y - said)[:, -1].square(), 0.0) is False, "noise cannot be foretold"


LISTED = [
    (name, field.name)
    for name, task in TASKS.items()
    for field in fields(task)
    if get_origin(get_type_hints(task)[field.name]) is Literal
]


@pytest.mark.parametrize(("name", "field"), LISTED)
@pytest.mark.parametrize("value", ["gausian", ["gaussian"], None])
def test_a_value_that_a_field_does_not_list_is_refused_in_python_too(name: str, field: str, value: object):
    held = with_values(TASKS[name](), {field: value})  # tests check types before a task could
    with pytest.raises(InputError, match=rf"^{field} must be one of [a-z_, ]+; got {re.escape(repr(value))}\.$"):
        held.__post_init__()


def test_some_tasks_list_values():
    assert len(LISTED) > 12
