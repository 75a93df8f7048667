"""A run folder opened for analysis: its task, its model at any checkpoint, its kept results."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import InputError
from workbench.run_names import run_path
from workbench.runs import RunFolder, run_inside

if TYPE_CHECKING:
    from workbench.models.transformer import Transformer
    from workbench.tasks import Task
    from workbench.training.config import RunConfig


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        folder: Its files.
    """

    folder: RunFolder

    @cached_property
    def config(self) -> "RunConfig":
        """What reproduces the run.

        Raises:
            InputError: If config.json is damaged, of a newer schema, or names what this program does not know.
        """
        from workbench.training.config import run_config_from_data

        return run_config_from_data(self.folder.config())

    def task(self) -> "Task":
        """The task that the model was trained on."""
        return self.config.task

    def model(self, step: int | None = None) -> "Transformer":
        """The model at a checkpoint, the last one if ``step`` is None, in evaluation mode.

        It stands on the device that trained it, or on the CPU where there is no such device.

        Raises:
            InputError: If there is no such checkpoint, or it is damaged.
        """
        from workbench.training.building import load_weights

        weights = self.folder.weights(step)
        model = self.untrained_model()
        load_weights(model, weights)
        return model

    def untrained_model(self) -> "Transformer":
        """The model as it was before the first update: the control of every score."""
        from workbench.training.building import build_model, on_this_machine

        return build_model(on_this_machine(self.config)).eval()


def open_run(run: str | Path, root: str | Path = "runs") -> Run:
    """Open a run for analysis, or a model of the zoo, which then becomes a run of that name inside ``root``.

    A constructed model is built on the spot.

    Args:
        run: Its name inside ``root``, the path to its folder, or the name of a model of the zoo. What stands in
            ``root`` goes before the zoo.
        root: The runs folder.

    Raises:
        InputError: If there is no such run; the message lists the known ones.
    """
    path = run_path(run, root)
    if len(Path(run).parts) == 1:
        _fetch(path)
    try:
        return Run(RunFolder.open(path))
    except InputError as error:
        raise _with_zoo(error) from None


def open_inside(root: Path, name: str) -> RunFolder:
    """The run of that name directly inside ``root``, or the model of the zoo, wherever the name comes from.

    Raises:
        InputError: If the name is not a run name, leads elsewhere, or there is no such run.
    """
    _fetch(root / name)
    return run_inside(root, name)


def _fetch(path: Path) -> None:
    """Put the model of the zoo of that name there, if there is one and nothing else stands there."""
    if os.path.lexists(path):
        return
    from workbench import zoo

    if path.name in zoo.known():
        zoo.get_once(path.name, path)


def _with_zoo(error: InputError) -> InputError:
    from workbench import zoo

    return InputError(f"{error} In the zoo: {', '.join(zoo.known()) or 'none'}.")
