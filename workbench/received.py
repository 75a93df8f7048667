"""Runs of models that were trained elsewhere: checkpoints of weights, without what training needs beside them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.environment import environment
from workbench.new_runs import new_run
from workbench.runs import RunFolder
from workbench.training.config import RunConfig

if TYPE_CHECKING:
    from torch import Tensor

FINISHED, STOPPED = "finished", "stopped"


def receive(
    path: Path,
    config: RunConfig,
    origin: Mapping[str, Any],
    checkpoints: "Iterable[tuple[int, Mapping[str, Tensor]]]",
    *,
    finished: bool = True,
    results: Iterable[tuple[str, str, Mapping[str, Any]]] = (),
) -> RunFolder:
    """A new run with these checkpoints, complete or not there at all, whenever this process is killed.

    Args:
        path: Where it will stand.
        config: What describes task, model and training.
        origin: Where the weights come from, for env.json; the run cannot be trained on.
        checkpoints: Steps and weights, the steps rising; may be read while they are written.
        finished: Whether the last checkpoint is the end of the training.
        results: Analysis, key and content of what was found of it elsewhere.

    Raises:
        InputError: If the name is not a run name, the folder exists, or it cannot be written.
    """
    with new_run(path) as place:
        env = {**environment(config.train.seed), "origin": dict(origin)}
        folder = RunFolder.create(place, config.to_data(), env)
        step = 0
        for step, weights in checkpoints:
            folder.save_checkpoint(step, weights, {})
        for result in results:
            folder.save_result(*result)
        folder.write_status(FINISHED if finished else STOPPED, step, config.train.n_steps)
    return RunFolder(path)
