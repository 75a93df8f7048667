"""Small runs that tests share."""

from dataclasses import replace
from pathlib import Path

from workbench.files import TEMPORARY, aside
from workbench.models.config import TransformerConfig
from workbench.runs import RunFolder
from workbench.tasks import LinearRegression
from workbench.training.config import RunConfig, TrainConfig


def tiny_config(**train: object) -> RunConfig:
    """A run config that trains in a fraction of a second."""
    settings = {"n_steps": 12, "n_batch": 8, "log_every": 2, "checkpoint_every": 4, "checkpoints_per_decade": 0}
    return RunConfig(
        LinearRegression(d_input=2, n_context=4),
        TransformerConfig(n_layers=2, d_model=8, n_heads=2),
        TrainConfig(**{**settings, **train}),  # type: ignore[arg-type]
    ).resolved()


def tiny_run(root: Path, name: str = "tiny", config: RunConfig | None = None, **train: object) -> RunFolder:
    """An untrained run folder."""
    config = config or tiny_config()
    if train:
        config = replace(config, train=replace(config.train, **train))  # type: ignore[arg-type]
    return RunFolder.create(root / name, config.to_data(), {"schema": "mesascope/env/1"})


NOBODY = 2**22 + 1
"""An id that no process or thread can have."""


def abandoned(path: Path, host: str | None = None, pid: int = NOBODY, thread: int = NOBODY) -> Path:
    """Where another writer, by default one that is gone, writes what will become ``path``.

    Args:
        path: What it writes.
        host: Mark of its machine, eight hexadecimal digits; this one's by default.
        pid: Its process.
        thread: Its thread.
    """
    here = aside(path).name.removeprefix(TEMPORARY)[:8]
    return path.with_name(f"{TEMPORARY}{host or here}-{pid}-{thread}-{path.name}")
