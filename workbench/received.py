"""Runs of models that were trained elsewhere: checkpoints of weights, without what training needs beside them."""

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.environment import environment
from workbench.errors import InputError
from workbench.files import aside, sweep, sync
from workbench.run_names import check_name
from workbench.runs import RunFolder, taken
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
    check_name(path.name)
    if os.path.lexists(path):
        raise taken(path)
    unfinished = aside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        folder = RunFolder.create(
            unfinished / path.name, config.to_data(), {**environment(config.train.seed), "origin": dict(origin)}
        )
        step = 0
        for step, weights in checkpoints:
            folder.save_checkpoint(step, weights, {})
        for result in results:
            folder.save_result(*result)
        folder.write_status(FINISHED if finished else STOPPED, step, config.train.n_steps)
        os.rename(folder.path, path)
        sync(path.parent)
    except OSError as error:
        if os.path.lexists(path):  # another process was faster
            raise taken(path) from error
        raise InputError(f"{path} must be writable; {error.strerror}.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return RunFolder(path)
