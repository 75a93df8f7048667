"""A run folder opened for analysis: its task, its model at any checkpoint, its kept results."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.run_names import run_path
from workbench.runs import RunFolder

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

        Raises:
            InputError: If there is no such checkpoint, or it is damaged.
        """
        from workbench.training.building import build_model, load_weights

        weights = self.folder.weights(step)
        model = build_model(self.config)
        load_weights(model, weights)
        return model.eval()

    def untrained_model(self) -> "Transformer":
        """The model as it was before the first update: the control of every score."""
        from workbench.training.building import build_model

        return build_model(self.config).eval()


def open_run(run: str | Path, root: str | Path = "runs") -> Run:
    """Open a run for analysis.

    Args:
        run: Its name inside ``root``, or the path to its folder.
        root: The runs folder.

    Raises:
        InputError: If there is no such run; the message lists the known ones.
    """
    return Run(RunFolder.open(run_path(run, root)))
