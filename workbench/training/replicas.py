"""R runs of one shape as one: which configs fit together, and functions over all of them."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from workbench.configs import to_data
from workbench.errors import InputError
from workbench.training.config import RunConfig, TrainConfig

_REAL = ("lr", "lr_final", "weight_decay", "momentum", "decay_fraction", "clip_norm")
_WHOLE = ("warmup_steps", "d_start", "d_every", "n_start", "n_every", "n_add")
_FREE = (*_REAL, *_WHOLE, "betas", "seed", "n_threads")
"""Settings of training that replicas need not share; an update reads them from tensors."""
_NO_LIMIT = 1e300


def over(n_replicas: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of one replica, over all: plain for one, which then runs the kernels of a single model."""
    if n_replicas > 1:
        return torch.func.vmap(function)

    def alone(*arguments: Any) -> Any:
        return tree_map(lambda tensor: tensor[None], function(*tree_map(lambda tensor: tensor[0], arguments)))

    return alone


def check_same_program(configs: Sequence[RunConfig]) -> None:
    """Refuse configs that cannot be trained as one program.

    Raises:
        InputError: With a field that would have to be equal.
    """
    first = _fixed(configs[0])
    for config in configs[1:]:
        other = _fixed(config)
        for name, value in first.items():
            if other.get(name) != value:
                raise InputError(
                    f"{name} must be equal in all models of an ensemble; got {value!r} and {other.get(name)!r}. They "
                    f"may differ in train.{', train.'.join(_FREE)} and in numbers of the task that are not whole."
                )


def program_key(config: RunConfig) -> str:
    """Equal for configs that can be trained as one program."""
    return repr(_fixed(config))


def _fixed(config: RunConfig) -> dict[str, Any]:
    """Everything that decides the program, by its place."""
    task = {
        f"task.{field.name}": getattr(config.task, field.name)
        for field in fields(cast(Any, config.task))
        if field.type is not float
    }
    model = {f"model.{name}": value for name, value in to_data(config.model).items()}
    settings = config.train
    train = {f"train.{name}": value for name, value in to_data(settings).items() if name not in _FREE}
    for name in ("d_start", "n_start"):
        train[f"whether train.{name} is given"] = getattr(settings, name) is not None
    return {"task": config.task.name, **task, **model, **train}


def train_numbers(configs: Sequence[RunConfig], device: torch.device) -> dict[str, Tensor]:
    """The numbers of the training configs that an update reads, one per replica, in float64 or int64."""
    filled = [_filled(config) for config in configs]
    real = {name: [getattr(each, name) for each in filled] for name in _REAL}
    real |= {f"beta_{i + 1}": [each.betas[i] for each in filled] for i in (0, 1)}
    whole = {name: [getattr(each, name) for each in filled] for name in _WHOLE}
    return {name: torch.tensor(values, dtype=torch.float64, device=device) for name, values in real.items()} | {
        name: torch.tensor(values, dtype=torch.int64, device=device) for name, values in whole.items()
    }


def _filled(config: RunConfig) -> TrainConfig:
    """The training config with a number where None means no limit."""
    settings, shape = config.train, config.task.model_shape()
    return replace(
        settings,
        clip_norm=_NO_LIMIT if settings.clip_norm is None else settings.clip_norm,
        d_start=settings.d_start or shape.get("d_input", 1),
        n_start=settings.n_start or shape.get("n_context", 1),
    )


def task_numbers(configs: Sequence[RunConfig], device: torch.device) -> dict[str, Tensor]:
    """The numbers in which the tasks differ, one per replica."""
    values = {
        field.name: [getattr(config.task, field.name) for config in configs]
        for field in fields(cast(Any, configs[0].task))
    }
    return {
        name: torch.tensor(each, dtype=torch.float32, device=device)
        for name, each in values.items()
        if any(value != each[0] for value in each)
    }
