"""Every knob of a training run, and of the run as a whole. Imports no torch by itself."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from workbench.configs import from_data, gathering, is_count, is_finite, literal_faults, to_data
from workbench.errors import InputError, must, refuse_faults
from workbench.models.config import TransformerConfig
from workbench.models.kinds import LAYOUTS
from workbench.models.prompt import plan_of
from workbench.registry import find, is_known, unknown
from workbench.tasks import TASKS, RegressionTask, Task
from workbench.training.optimizers import OPTIMIZERS

SCHEMA = "mesascope/run/1"
_MOST_STEPS = 10**9
_MOST_CHECKPOINTS = 10**6
"""The steps with a checkpoint are listed in memory."""

Precision = Literal["float32", "float64", "tf32", "bf16"]


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. A step is one update."""

    n_steps: int = 10_000
    """Updates in all."""
    n_batch: int = 64
    """Fresh prompts per update."""
    seed: int = 0
    """Seeds the initial weights and the stream of prompts."""
    optimizer: str = "adam"
    """Update rule: adam, adamw, sgd, muon."""
    lr: float = 1e-3
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates of the first and second moments; the first is Muon's momentum too."""
    weight_decay: float = 0.0
    """Decoupled for adamw and muon, added to the gradient for adam and sgd."""
    momentum: float = 0.0
    """Of sgd."""
    warmup_steps: int = 0
    """Updates over which the learning rate rises linearly from 0."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Shape of the learning rate's decay to lr_final."""
    decay_fraction: float = 1.0
    """Last part of all updates over which it decays; before, it is constant."""
    lr_final: float = 0.0
    """Learning rate at the end of the decay."""
    clip_norm: float | None = None
    """Largest global gradient norm; longer gradients are shortened to it."""
    d_start: int | None = None
    """Input coordinates in use at the first step; all if not given."""
    d_every: int = 2000
    """Updates after which one more coordinate comes into use."""
    n_start: int | None = None
    """Examples scored at the first step; all if not given."""
    n_every: int = 2000
    """Updates after which n_add more examples are scored."""
    n_add: int = 2
    """Examples added at a time."""
    checkpoint_every: int | None = 1000
    """Updates between periodic checkpoints; none if not given. The last step always has one."""
    checkpoints_per_decade: int = 4
    """Log-spaced checkpoints per factor of ten in steps, from step 1 on, beside the one at step 0; 0 for none."""
    log_every: int = 20
    """Updates between lines of metrics.jsonl."""
    precision: Precision = "float32"
    """Of weights, data and arithmetic. With tf32 and bf16, for accelerators, weights are float32 and matrix products
    are rounded: all of them to tf32, or those inside the blocks to bfloat16."""
    engine: Literal["auto", "eager", "graph"] = "auto"
    """How an update runs: line by line, or compiled and captured as one CUDA graph. auto takes the graph on an
    accelerator, and says why where it cannot."""
    device: str = "cpu"
    """Where the model trains: cpu, cuda, cuda:1, ..."""
    n_threads: int | None = None
    """CPU threads; chosen for the machine if not given."""

    def __post_init__(self) -> None:
        counts = ("n_batch", "d_every", "n_every", "n_add", "log_every")
        optional = ("d_start", "n_start", "checkpoint_every", "n_threads")
        at_least_0 = ("weight_decay", "momentum", "lr_final")
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        n_steps_fit = is_count(self.n_steps, at_most=_MOST_STEPS)
        refuse_faults(
            [
                must("n_steps", "be a whole number from 1 to 10^9", self.n_steps, n_steps_fit),
                self._many_checkpoints_fault() if n_steps_fit else "",
                *(
                    must(name, "be a whole number from 1 to 2^53", v, is_count(v) or (v is None and name in optional))
                    for name in (*counts, *optional)
                    for v in [values[name]]
                ),
                *(
                    must(name, "be a whole number from 0 to 2^53", values[name], is_count(values[name], 0))
                    for name in ("seed", "warmup_steps")
                ),
                must(
                    "checkpoints_per_decade",
                    "be a whole number from 0 to 1000",
                    self.checkpoints_per_decade,
                    is_count(self.checkpoints_per_decade, 0, 1000),
                ),
                *(
                    must(name, "be at least 0", values[name], is_finite(values[name], at_least=0))
                    for name in at_least_0
                ),
                *literal_faults(self),
                "" if is_known(OPTIMIZERS, self.optimizer) else unknown("optimizer", self.optimizer, OPTIMIZERS),
                must("lr", "be a finite number greater than 0", self.lr, is_finite(self.lr, above=0)),
                must(
                    "betas",
                    "be two numbers of at least 0 and below 1",
                    self.betas,
                    isinstance(self.betas, tuple)
                    and len(self.betas) == 2
                    and all(is_finite(b, at_least=0) and b < 1 for b in self.betas),
                ),
                must(
                    "decay_fraction",
                    "be above 0 and at most 1",
                    self.decay_fraction,
                    is_finite(self.decay_fraction, above=0) and self.decay_fraction <= 1,
                ),
                must(
                    "clip_norm",
                    "be greater than 0",
                    self.clip_norm,
                    self.clip_norm is None or is_finite(self.clip_norm, above=0),
                ),
            ]
        )

    def _many_checkpoints_fault(self) -> str:
        every = self.checkpoint_every
        few = every is None or not is_count(every) or self.n_steps // every <= _MOST_CHECKPOINTS
        least = -(-self.n_steps // _MOST_CHECKPOINTS)
        return must("checkpoint_every", f"be at least {least} with n_steps {self.n_steps}", every, few)


@dataclass(frozen=True)
class RunConfig:
    """A run: task, model and training together reproduce it."""

    task: Task
    model: TransformerConfig = field(default_factory=TransformerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def resolved(self) -> "RunConfig":
        """The config with the model's shapes taken from the task.

        Raises:
            InputError: If the curriculum or the model does not fit the task.
        """
        shape = self.task.model_shape()
        train = self.train
        limits = {"d_start": shape.get("d_input"), "n_start": shape.get("n_context")}
        faults = [
            must(f"train.{name}", f"be at most the task's {limit}", start, limit is not None and start <= limit)
            for name, limit in limits.items()
            for start in [getattr(train, name)]
            if start is not None
        ]
        if train.n_start is not None and not self.model.causal:
            faults.append("train.n_start must be left out without causal mask, which scores the last example only")
        faults.append(_layout_fault(self.task, self.model.layout))
        with gathering(faults):
            model = self.model.shaped(shape)
            faults.append(_length_fault(model))
        refuse_faults(faults)
        return replace(self, model=model)

    def to_data(self) -> dict[str, Any]:
        """Plain JSON data, with the schema and the task's registry name."""
        return {
            "schema": SCHEMA,
            "task": {"name": self.task.name, **to_data(self.task)},
            "model": to_data(self.model),
            "train": to_data(self.train),
        }


def _layout_fault(task: Task, layout: str) -> str:
    """What is wrong with showing a task's prompts in a layout, or ""."""
    follows = isinstance(task, RegressionTask) and task.next_input
    shown = ", ".join(name for name, each in LAYOUTS.items() if not each.sequence)
    rule = f"be one of {shown} for task {task.name!r}, whose labels are not the next inputs"
    return must("model.layout", rule, layout, follows or not LAYOUTS[layout].sequence)


def _length_fault(model: TransformerConfig) -> str:
    """What is wrong with a given ``n_ctx``, or ""."""
    if model.n_ctx is None or model.n_context is None:
        return ""
    n_positions = plan_of(model).n_positions(model.n_context)
    rule = f"be at least {n_positions}, the positions of {model.n_context} examples"
    return must("model.n_ctx", rule, model.n_ctx, model.n_ctx >= n_positions, "or leave it out")


def run_config_from_data(data: Any) -> RunConfig:
    """The run config that ``to_data`` wrote.

    Raises:
        InputError: If the schema, the task, a key or a value is not known or does not fit.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"a run config must be an object; got {type(data).__name__}.")
    check_schema(data.get("schema"), SCHEMA)
    parts = {key: value for key, value in data.items() if key not in ("schema", "task")}
    faults: list[str] = []
    with gathering(faults):
        task = _task_from_data(data.get("task"))
    with gathering(faults):
        rest = from_data(_ModelAndTraining, parts, "run config")
    refuse_faults(faults)
    return RunConfig(task, rest.model, rest.train)


def _task_from_data(data: Any) -> Task:
    if not isinstance(data, Mapping):
        raise InputError(f"task must be an object with a name; got {data!r}.")
    settings = {key: value for key, value in data.items() if key != "name"}
    return from_data(find(TASKS, data.get("name"), "task"), settings, "task")


@dataclass(frozen=True)
class _ModelAndTraining:
    model: TransformerConfig = field(default_factory=TransformerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


def check_schema(found: object, known: str) -> None:
    """Refuse data of another kind, or of a newer version than this program writes.

    Raises:
        InputError: If ``found`` is not ``known`` or an older version of it.
    """
    kind, _, version = known.rpartition("/")
    told = re.fullmatch(rf"{re.escape(kind)}/([0-9]{{1,9}})", found) if isinstance(found, str) else None
    if told is None:
        raise InputError(f"schema must be {known!r}; got {found!r}.")
    if int(told[1]) > int(version):
        raise InputError(f"schema must be at most {known!r}; got {found!r}. Update mesascope to read it.")


def preset_config(task_name: str, preset: str) -> RunConfig:
    """The settings that a task's file gives under a preset name.

    Raises:
        InputError: If the task or the preset is unknown.
    """
    task_class = find(TASKS, task_name, "task")
    preset_data = find(task_class.presets, preset, f"preset of {task_name}")
    named = {**preset_data, "task": {"name": task_name, **preset_data.get("task", {})}}
    return run_config_from_data({"schema": SCHEMA, **named})


def checkpoint_steps(config: TrainConfig) -> list[int]:
    """The steps at which a checkpoint is kept, in order: 0, log-spaced, periodic, last."""
    steps = {0, config.n_steps}
    if config.checkpoint_every is not None:
        steps.update(range(config.checkpoint_every, config.n_steps, config.checkpoint_every))
    if config.checkpoints_per_decade:
        n = math.floor(math.log10(config.n_steps) * config.checkpoints_per_decade)
        steps.update(round(10 ** (i / config.checkpoints_per_decade)) for i in range(n + 1))
    return sorted(step for step in steps if step <= config.n_steps)
