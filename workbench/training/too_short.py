"""What a run is too short for: a warm-up that leaves no room, a curriculum that never ends."""

import torch

from workbench.training.config import RunConfig, TrainConfig
from workbench.training.schedule import d_active, learning_rate, n_active

_ENOUGH = 0.9
"""Part of train.lr that a run reaches at least: warm-up and decay over a whole run take a little off the peak."""
_N_LOOKED_AT = 1001
"""Updates at which the learning rate is looked at."""


def too_short(config: RunConfig) -> str:
    """One line on what a resolved config's updates do not reach, with the way out; "" where they reach everything.

    Nothing of it is wrong input: such a run trains, but not as its settings were meant.
    """
    shape, train = config.task.model_shape(), config.train
    faults = [
        _never_at_peak(train),
        _never_whole(train, "d", shape.get("d_input"), "input coordinates"),
        _never_whole(train, "n", shape.get("n_context"), "examples"),
    ]
    told = "; ".join(fault for fault in faults if fault)
    return told and f"train.n_steps {train.n_steps} is short for other settings of this run: {told}."


def _never_at_peak(train: TrainConfig) -> str:
    """What is to be told of the learning rate, or ""."""
    if train.warmup_steps == 0:
        return ""
    steps = torch.linspace(0, train.n_steps - 1, min(train.n_steps, _N_LOOKED_AT), dtype=torch.float64).long()
    top = learning_rate(steps, train).max().item() / train.lr
    if top >= _ENOUGH and train.warmup_steps <= train.n_steps:
        return ""
    decay = "" if train.schedule == "constant" else f" and train.decay_fraction {train.decay_fraction:g}"
    return (
        f"with train.warmup_steps {train.warmup_steps}{decay} the learning rate reaches {top:.0%} of train.lr at most "
        f"(give --train.warmup-steps {train.n_steps // 20})"
    )


def _never_whole(train: TrainConfig, part: str, whole: int | None, what: str) -> str:
    """What is to be told of the curriculum of ``d`` or ``n``, or ""."""
    start, every = getattr(train, f"{part}_start"), getattr(train, f"{part}_every")
    if start is None or whole is None:
        return ""
    add, active = (1, d_active) if part == "d" else (train.n_add, n_active)
    last = int(active(train.n_steps - 1, whole, train))
    if last == whole:
        return ""
    most = (train.n_steps - 1) // -((start - whole) // add)
    lower = f"--train.{part}-every {most} or " if most else ""
    added = "" if part == "d" else f", train.n_add {add}"
    return (
        f"with train.{part}_start {start}, train.{part}_every {every}{added} the last update uses {last} of {whole} "
        f"{what} (give {lower}--train.{part}-start None)"
    )
