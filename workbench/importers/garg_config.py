"""The ``config.yaml`` of Garg et al.'s code: read, checked, and said as a run config of ours."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.configs import from_data, gathering, is_count, is_finite
from workbench.errors import InputError, must, refuse_faults
from workbench.importers.garg_tasks import GARG_TASKS
from workbench.importers.plain_yaml import read_yaml
from workbench.models.config import TransformerConfig
from workbench.registry import find, unknown
from workbench.tasks import LinearRegression
from workbench.training.config import RunConfig, TrainConfig

CONFIG = "config.yaml"
_LONGEST_TOLD = 1500
_BESIDE = ("config", "inherit", "out_dir", "test_run", "wandb")
"""Keys on which no number depends. What ``inherit`` names has been merged in when their code writes the file."""


@dataclass(frozen=True)
class GargModel:
    """Part ``model``: a GPT-2 between two linear maps."""

    family: str
    n_dims: int
    n_positions: int
    n_embd: int
    n_layer: int
    n_head: int

    def __post_init__(self) -> None:
        limits = {"n_dims": 10**6, "n_positions": 10**4, "n_embd": 10**6, "n_layer": 1000, "n_head": 10**6}
        sizes = {name: getattr(self, name) for name in limits}
        is_gpt2 = self.family == "gpt2"
        refuse_faults(
            [
                must("model.family", "be gpt2, the only one that can be imported", self.family, is_gpt2),
                *(
                    must(f"model.{name}", f"be from 1 to {limit}", sizes[name], is_count(sizes[name], 1, limit))
                    for name, limit in limits.items()
                ),
                must(
                    "model.n_head",
                    f"divide n_embd {self.n_embd}",
                    self.n_head,
                    self.n_head < 1 or self.n_embd % self.n_head == 0,
                ),
            ]
        )


@dataclass(frozen=True)
class Ramp:
    """A size that grows by ``inc`` every ``interval`` updates, from ``start`` to ``end``."""

    start: int
    end: int
    inc: int
    interval: int

    @property
    def fault(self) -> str:
        """What is wrong with it, or ""."""
        grows = self.start == self.end or (self.start < self.end and is_count(self.inc))
        return must("", "start at 1 or more and grow to its end", self.start, is_count(self.start) and grows) or must(
            ".interval", "be at least 1", self.interval, is_count(self.interval)
        )


@dataclass(frozen=True)
class Curriculum:
    """Part ``training.curriculum``."""

    dims: Ramp
    points: Ramp

    def __post_init__(self) -> None:
        ramps = {"dims": self.dims, "points": self.points}
        refuse_faults(f"training.curriculum.{name}{ramp.fault}" for name, ramp in ramps.items() if ramp.fault)


@dataclass(frozen=True)
class Training:
    """Part ``training`` but for ``task_kwargs``, with the defaults of their schema."""

    task: str
    curriculum: Curriculum
    data: str = "gaussian"
    batch_size: int = 64
    learning_rate: float = 3e-4
    train_steps: int = 1000
    save_every_steps: int = 1000
    keep_every_steps: int = -1
    num_tasks: int | None = None
    num_training_examples: int | None = None
    resume_id: str | None = None

    def __post_init__(self) -> None:
        counts = {"batch_size": 2**53, "train_steps": 10**9}
        sizes = {name: getattr(self, name) for name in counts}
        is_known = self.data == "gaussian"
        refuse_faults(
            [
                must("training.data", "be gaussian, the only law that can be imported", self.data, is_known),
                *(
                    must(f"training.{name}", f"be from 1 to {limit}", sizes[name], is_count(sizes[name], 1, limit))
                    for name, limit in counts.items()
                ),
                must(
                    "training.learning_rate", "be above 0", self.learning_rate, is_finite(self.learning_rate, above=0)
                ),
            ]
        )


@dataclass(frozen=True)
class GargConfig:
    """A whole config.

    Attributes:
        model: Its sizes.
        training: What it was trained on, and how.
        task: The task of ours with the same law.
        text: The file.
    """

    model: GargModel
    training: Training
    task: LinearRegression
    text: str = field(repr=False)

    def run_config(self) -> RunConfig:
        """The same model, task and training as a run config."""
        dims, points = self.training.curriculum.dims, self.training.curriculum.points
        ramp: dict[str, Any] = {}
        if dims.start < dims.end and self._dims_fit:
            ramp |= {"d_start": dims.start, "d_every": dims.interval}
        if points.start < points.end:
            ramp |= {"n_start": points.start, "n_every": points.interval, "n_add": points.inc}
        every = self.training.keep_every_steps
        train = TrainConfig(
            n_steps=self.training.train_steps,
            n_batch=self.training.batch_size,
            lr=self.training.learning_rate,
            checkpoint_every=every if every > 0 else None,
            checkpoints_per_decade=0,
            **ramp,
        )
        model = TransformerConfig(
            n_layers=self.model.n_layer,
            d_model=self.model.n_embd,
            n_heads=self.model.n_head,
            mlp="gelu_tanh",
            layout="interleaved_shared",
            init_std=0.02,
            n_ctx=2 * self.model.n_positions,
        )
        return RunConfig(self.task, model, train).resolved()

    @property
    def _dims_fit(self) -> bool:
        """Whether input coordinates come into use one at a time, as our curriculum has it."""
        return self.training.curriculum.dims.inc == 1

    @property
    def notes(self) -> list[str]:
        """What the run config does not say as the original did."""
        notes = []
        if self.training.num_tasks is not None:
            notes.append(
                f"trained on {self.training.num_tasks} fixed w (num_tasks), which the files do not hold: prompts here "
                "are drawn with fresh ones"
            )
        if self.training.num_training_examples is not None:
            notes.append(
                f"trained on {self.training.num_training_examples} fixed prompts (num_training_examples), which the "
                "files do not hold: prompts here are fresh ones"
            )
        dims = self.training.curriculum.dims
        if dims.start < dims.end and not self._dims_fit:
            notes.append(f"its curriculum of dimensions rose by {dims.inc} at a time; config.json has none")
        notes.append(
            "the untrained control starts from normal weights of standard deviation 0.02, as GPT-2; their two "
            "outer maps began by torch's own rule"
        )
        return notes


def read_config(path: Path) -> GargConfig:
    """The config in a file.

    Raises:
        InputError: With all faults that can be told together, after the file's name.
    """
    text, data = read_yaml(path)
    try:
        return _from_data(text, data)
    except InputError as error:
        told = " ".join(str(error).split())
        told = told if len(told) <= _LONGEST_TOLD else told[:_LONGEST_TOLD] + "..."
        if "must be given" in told and data.get("inherit"):
            told += " Files under 'inherit' are not followed: write their values into this one."
        raise InputError(f"{path}: {told}") from error


def _from_data(text: str, data: Mapping[str, Any]) -> GargConfig:
    parts = ("model", "training")
    faults = [unknown("key", key, (*parts, *_BESIDE)) for key in data if key not in (*parts, *_BESIDE)]
    model, training, kwargs = None, None, None
    with gathering(faults):
        model = from_data(GargModel, _part(data, "model"), "model")
    with gathering(faults):
        settings = {**_part(data, "training")}
        given = {**_part(settings, "task_kwargs", "training.", {})}
        settings.pop("task_kwargs", None)
        kind = find(GARG_TASKS, settings.get("task"), "training.task that can be imported")
        with gathering(faults):
            training = from_data(Training, _as_numbers(settings, "learning_rate"), "training")
        with gathering(faults):
            kwargs = from_data(kind, _as_numbers(given, "scale", "noise_std"), "training.task_kwargs")
            refuse_faults([_scale_fault(kwargs.scale)])
    refuse_faults(faults)
    assert model, "every fault is told"
    assert training, "every fault is told"
    assert kwargs, "every fault is told"
    refuse_faults(_sizes_faults(model, training.curriculum))
    return GargConfig(model, training, kwargs.task(model.n_dims, training.curriculum.points.end), text)


def _scale_fault(scale: float) -> str:
    return must("training.task_kwargs.scale", "be above 0", scale, is_finite(scale, above=0))


def _sizes_faults(model: GargModel, curriculum: Curriculum) -> list[str]:
    dims, points = curriculum.dims.end, curriculum.points.end
    within = points <= model.n_positions
    return [
        must("training.curriculum.dims.end", f"be model.n_dims {model.n_dims}", dims, dims == model.n_dims),
        must("training.curriculum.points.end", f"be at most model.n_positions {model.n_positions}", points, within),
    ]


def _part(data: Mapping[str, Any], name: str, where: str = "", default: Any = None) -> Mapping[str, Any]:
    found = data.get(name, default)
    if found is None:
        raise InputError(f"{where}{name} must be given")
    if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
        raise InputError(f"{where}{name} must hold named values; got {type(found).__name__}")
    return found


def _as_numbers(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The values with numbers such as 1e-4, which YAML 1.1 takes for texts, read as numbers."""
    found = dict(data)
    for name in names:
        if isinstance(found.get(name), str):
            with suppress(ValueError):
                found[name] = float(found[name])
    return found
