"""Small runs that tests share."""

from dataclasses import replace
from pathlib import Path

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
