"""Constructed models, built when asked for and made into runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.configs import digest
from workbench.models.constructions import CONSTRUCTIONS, TOKEN_CONSTRUCTIONS, Construction, TokenConstruction
from workbench.models.transformer import Transformer
from workbench.received import receive
from workbench.registry import find
from workbench.runs import RunFolder
from workbench.tasks import TASKS, BigramBackcopy, Task, TokenTask
from workbench.tasks.chains import law_of
from workbench.training.config import RunConfig, TrainConfig
from workbench.zoo.recipes import Recipe

KIND = "constructed"
_COUNTING = "counting"


def build(recipe: Recipe) -> Transformer:
    """The model, in float64."""
    shape, settings = task_of(recipe).model_shape(), settings_of(recipe)
    if recipe.construction in TOKEN_CONSTRUCTIONS:
        return TOKEN_CONSTRUCTIONS[recipe.construction].build(shape["d_vocab"], shape["n_ctx"], **settings)
    return CONSTRUCTIONS[recipe.construction].build(shape["d_input"], shape["n_context"], recipe.n_layers, **settings)


def construction_of(recipe: Recipe) -> Construction | TokenConstruction:
    """The record of its construction."""
    return find({**CONSTRUCTIONS, **TOKEN_CONSTRUCTIONS}, recipe.construction, "construction")


def task_of(recipe: Recipe) -> Task:
    """The law of its prompts."""
    own = dict(recipe.task)
    return find(TASKS, own.pop("name"), "task")(**own)


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """The construction's own settings: those of the recipe, matrices as tensors, and what the task decides."""
    own = {name: _tensor(value) if _is_matrix(value) else value for name, value in recipe.settings.items()}
    task = task_of(recipe)
    if isinstance(task, TokenTask):
        own["start"] = task.first_token()
    if isinstance(task, BigramBackcopy):
        own |= {"triggers": task.triggers(), "bigram": _rows(task)}
    return own


def get(recipe: Recipe, path: Path) -> RunFolder:
    """A run folder of the model, in float64, complete or not there at all.

    Raises:
        InputError: If the folder exists or cannot be written.
    """
    model, construction = build(recipe), construction_of(recipe)
    config = RunConfig(task_of(recipe), model.config, TrainConfig(n_steps=1, precision="float64")).resolved()
    origin = {
        "kind": KIND,
        "name": recipe.name,
        "sha256": checksum(recipe),
        "notes": recipe.notes,
        "construction": construction.name,
        "algorithm": algorithm_of(construction),
        "settings": dict(recipe.settings),
        "source": construction.source,
    }
    return receive(path, config, origin, [(0, {name: p.detach() for name, p in model.named_parameters()})])


def checksum(recipe: Recipe) -> str:
    """Of all that decides the weights, short of the program."""
    parts = (recipe.construction, recipe.n_layers, dict(recipe.task), dict(recipe.settings))
    return digest(dict(zip(("construction", "n_layers", "task", "settings"), parts, strict=True)))


def algorithm_of(construction: Construction | TokenConstruction) -> str | None:
    """The reference algorithm's name; what is said on tokens is found by counting."""
    return construction.algorithm if isinstance(construction, Construction) else _COUNTING


def listed(recipe: Recipe) -> Mapping[str, Any]:
    """What programs are told of a constructed model; how exact it is is measured."""
    from workbench.zoo.exactness import exactness

    construction, model, off = construction_of(recipe), build(recipe), exactness(recipe)
    return {
        "name": recipe.name,
        "constructed": True,
        "construction": construction.name,
        "label": construction.label,
        "algorithm": algorithm_of(construction),
        "source": construction.source,
        "task": dict(recipe.task),
        "settings": dict(recipe.settings),
        "n_layers": model.config.n_layers,
        "n_heads": model.config.n_heads,
        "d_model": model.config.d_model,
        "n_params": sum(parameter.numel() for parameter in model.parameters()),
        "error_float64": off.float64,
        "error_float32": off.float32,
        "errs_by": (isinstance(construction, Construction) and construction.error) or "rounding",
        "notes": recipe.notes,
        "sha256": checksum(recipe),
        "command": f"mesascope zoo get {recipe.name}",
    }


def _rows(task: BigramBackcopy) -> Tensor:
    """What follows each token where nothing is copied: behind the start token the unigram law without triggers."""
    law = law_of(task.counts, torch.device("cpu"))
    first = law.unigram.masked_fill(law.triggers(task.n_triggers), 0.0)
    return F.pad(torch.cat([law.bigram, first[None] / first.sum()]), (0, 1))


def _tensor(value: Any) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _is_matrix(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], list)
