"""Arms of an experiment: a recipe with a few settings changed, trained with several seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError
from workbench.opened import Run
from workbench.runs import RunFolder, has_traces

if TYPE_CHECKING:
    from workbench.training.config import RunConfig
    from workbench.training.loop import Report


@dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
        name: Its name, part of the names of its runs.
        task: Registry name of the task.
        presets: Preset of the task at each scale: ``small`` for a CPU, ``paper`` as published.
        changes: What differs from the preset, by field: ``{"train.optimizer": "sgd"}``.
        at: Further changes at one scale.
        n_seeds: Seeds, from 0 on.
    """

    name: str
    task: str
    presets: Mapping[str, str]
    changes: Mapping[str, Any] = field(default_factory=dict)
    at: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    n_seeds: int = 3

    def config(self, scale: str, seed: int, changes: Mapping[str, Any] | None = None) -> "RunConfig":
        """The resolved config of one seed; ``changes`` win over the arm's own.

        Raises:
            InputError: If the arm has no such scale, or a change fits no field.
        """
        from workbench.registry import find
        from workbench.training.config import preset_config
        from workbench.training.varying import changed

        config = preset_config(self.task, find(self.presets, scale, "scale"))
        every = {**self.changes, **self.at.get(scale, {}), **(changes or {}), "train.seed": seed}
        return changed(config, every)


@dataclass(frozen=True)
class Trained:
    """An arm's runs.

    Attributes:
        arm: The arm.
        runs: Those with a checkpoint, by seed; one whose training failed keeps its last good one.
        failed: Why training failed, by seed.
    """

    arm: Arm
    runs: Mapping[int, Run]
    failed: Mapping[int, str]


def train_arms(
    arms: Sequence[Arm],
    root: Path,
    *,
    scale: str = "small",
    prefix: str = "",
    n_seeds: int | None = None,
    changes: Mapping[str, Any] | None = None,
    report: "Report | None" = None,
) -> list[Trained]:
    """Train every seed of every arm that is not trained yet; an arm's seeds are replicas of one program if they can be.

    Args:
        arms: Arms.
        root: The runs folder. Runs are named ``PREFIX``, ``ARM-SCALE-SEED``.
        scale: Key of the arms' presets.
        prefix: Begins all names.
        n_seeds: Seeds of each arm, instead of its own number.
        changes: Settings that win over the arms' own.
        report: Shown progress.

    Raises:
        InputError: If a run of such a name has another config.
    """
    from workbench.training.many import train_many

    folders = {
        (arm.name, seed): _folder(root / f"{prefix}{arm.name}-{scale}-{seed}", arm.config(scale, seed, changes))
        for arm in arms
        for seed in range(n_seeds or arm.n_seeds)
    }
    states = dict(zip(folders, train_many(list(folders.values()), report), strict=True))
    return [_trained(arm, folders, states) for arm in arms]


def _trained(
    arm: Arm, folders: Mapping[tuple[str, int], RunFolder], states: Mapping[tuple[str, int], str | Exception]
) -> Trained:
    own = {seed: folder for (name, seed), folder in folders.items() if name == arm.name}
    errors = {seed: states[arm.name, seed] for seed in own}
    return Trained(
        arm,
        runs={seed: Run(folder) for seed, folder in own.items() if folder.checkpoint_steps()},
        failed={seed: str(error) for seed, error in errors.items() if isinstance(error, Exception)},
    )


def _folder(path: Path, config: "RunConfig") -> RunFolder:
    """The run of that name, made if there is none."""
    from workbench.environment import environment
    from workbench.training.config import run_config_from_data

    if not has_traces(str(path)):
        return RunFolder.create(path, config.to_data(), environment(config.train.seed, 1))
    folder = RunFolder.open(path)
    if run_config_from_data(folder.config()).to_data() != config.to_data():
        raise InputError(f"run {path.name!r} in {path.parent} has other settings. Choose another --out or --runs.")
    return folder


def change(text: str) -> tuple[str, Any]:
    """Field and value that ``train.lr=1e-3`` gives.

    Raises:
        InputError: If it has another form or gives several values.
    """
    from workbench.training.varying import variation

    told = variation(text)
    if len(told.values) != 1:
        raise InputError(f"a change must give one value; got {text!r}.")
    return f"{told.part}.{told.name}", told.values[0]
