"""Constructed models: built when asked for, held against their algorithm, and made into runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import baselines
from workbench.activations import query_streams
from workbench.batch import RegressionBatch
from workbench.configs import digest
from workbench.models.constructions import CONSTRUCTIONS
from workbench.models.transformer import Transformer
from workbench.received import receive
from workbench.registry import find
from workbench.runs import RunFolder
from workbench.tasks import TASKS, Task
from workbench.training.config import RunConfig, TrainConfig
from workbench.zoo.recipes import Recipe

KIND = "constructed"
N_PROMPTS = 32


@dataclass(frozen=True)
class Exactness:
    """How far a constructed model is from its algorithm: the largest difference at any layer, prompt and prefix.

    Attributes:
        float64: Over one plus the largest prediction.
        float32: The same with weights and arithmetic in float32.
    """

    float64: float
    float32: float


def build(recipe: Recipe) -> Transformer:
    """The model, in float64."""
    task, settings = task_of(recipe), _settings(recipe)
    shape = task.model_shape()
    return CONSTRUCTIONS[recipe.construction].build(shape["d_input"], shape["n_context"], recipe.n_layers, **settings)


def task_of(recipe: Recipe) -> Task:
    """The law of its prompts."""
    own = dict(recipe.task)
    return find(TASKS, own.pop("name"), "task")(**own)


@torch.no_grad()
def held(model: Transformer, batch: RegressionBatch) -> Float[Tensor, "layer batch context"]:
    """What the model's own read-out predicts from every layer, the embedding first, float64."""
    return model.unembed(model.ln_final(query_streams(model, batch)))[..., 0].double()


def reference(recipe: Recipe, batch: RegressionBatch) -> Float[Tensor, "layer batch context"]:
    """What the algorithm predicts where each layer should hold it."""
    construction, n_layers = CONSTRUCTIONS[recipe.construction], recipe.n_layers
    assert construction.algorithm is not None
    options = construction.options(n_layers, **_settings(recipe))
    if not construction.iterative:
        said = baselines.predict(construction.algorithm, batch.xs, batch.ys, **options)
        return torch.cat([torch.zeros_like(said).expand(n_layers, -1, -1), said[None]])
    steps = [construction.steps(layer) for layer in range(n_layers + 1)]
    said = baselines.predict(construction.algorithm, batch.xs, batch.ys, steps=[s or 0 for s in steps], **options)
    is_silent = torch.tensor([step is None for step in steps])
    return said.masked_fill(is_silent[:, None, None], 0.0)


def exactness(recipe: Recipe, n_prompts: int = N_PROMPTS) -> Exactness:
    """The model beside its algorithm on fresh prompts of its law."""
    batch = task_of(recipe).prompts(0, "exactness", 0, n_prompts)
    assert isinstance(batch, RegressionBatch)
    batch, model = batch.to(dtype=torch.float64), build(recipe)
    expected = reference(recipe, batch)
    off = [
        (held(model.to(dtype), batch.to(dtype=dtype)) - expected).abs().max() / (1 + expected.abs().max())
        for dtype in (torch.float64, torch.float32)
    ]
    return Exactness(*(difference.item() for difference in off))


def get(recipe: Recipe, path: Path) -> RunFolder:
    """A run folder of the model, in float64, complete or not there at all.

    Raises:
        InputError: If the folder exists or cannot be written.
    """
    model = build(recipe)
    config = RunConfig(task_of(recipe), model.config, TrainConfig(n_steps=1, precision="float64")).resolved()
    construction = CONSTRUCTIONS[recipe.construction]
    origin = {
        "kind": KIND,
        "name": recipe.name,
        "sha256": checksum(recipe),
        "notes": recipe.notes,
        "construction": construction.name,
        "algorithm": construction.algorithm,
        "settings": dict(recipe.settings),
        "source": construction.source,
    }
    return receive(path, config, origin, [(0, {name: p.detach() for name, p in model.named_parameters()})])


def checksum(recipe: Recipe) -> str:
    """Of all that decides the weights, short of the program."""
    parts = (recipe.construction, recipe.n_layers, dict(recipe.task), dict(recipe.settings))
    return digest(dict(zip(("construction", "n_layers", "task", "settings"), parts, strict=True)))


def listed(recipe: Recipe) -> Mapping[str, Any]:
    """What programs are told of a constructed model."""
    construction, model, off = CONSTRUCTIONS[recipe.construction], build(recipe), exactness(recipe)
    return {
        "name": recipe.name,
        "constructed": True,
        "construction": construction.name,
        "label": construction.label,
        "algorithm": construction.algorithm,
        "source": construction.source,
        "task": dict(recipe.task),
        "settings": dict(recipe.settings),
        "n_layers": model.config.n_layers,
        "n_heads": model.config.n_heads,
        "d_model": model.config.d_model,
        "n_params": sum(parameter.numel() for parameter in model.parameters()),
        "error_float64": off.float64,
        "error_float32": off.float32,
        "errs_by": construction.error or "rounding",
        "notes": recipe.notes,
        "sha256": checksum(recipe),
        "command": f"mesascope zoo get {recipe.name}",
    }


def _settings(recipe: Recipe) -> dict[str, Any]:
    """The construction's own settings; matrices as tensors."""
    return {
        name: torch.tensor(value, dtype=torch.float64) if _is_matrix(value) else value
        for name, value in recipe.settings.items()
    }


def _is_matrix(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], list)
