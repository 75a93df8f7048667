"""Learning rate and curriculum as pure functions of the step, in tensors: a captured step never changes.

The numbers of the config may be tensors themselves, one per replica.
"""

import math
from typing import Any

import torch
from torch import Tensor

from workbench.training.config import TrainConfig


def learning_rate(step: int | Tensor, config: TrainConfig) -> Tensor:
    """The learning rate of update ``step``, 0-based, in float64: warm-up, plateau, decay to ``lr_final``."""
    done_steps = _tensor(step).double()
    warm = ((done_steps + 1) / _tensor(config.warmup_steps).clamp(min=1)).clamp(max=1.0)
    n_decay = (_tensor(config.decay_fraction).double() * config.n_steps).round().clamp(min=1)
    done = ((done_steps - (config.n_steps - n_decay)) / n_decay).clamp(min=0.0)
    left = {
        "constant": torch.ones_like,
        "linear": lambda done: 1.0 - done,
        "cosine": lambda done: (1.0 + (math.pi * done).cos()) / 2,
    }[config.schedule](done)
    return warm * (config.lr_final + (config.lr - config.lr_final) * left)


def d_active(step: int | Tensor, d_input: int, config: TrainConfig) -> Tensor:
    """Input coordinates in use at an update: one more every ``d_every`` (Garg et al. 2022, appendix A.2)."""
    start = d_input if config.d_start is None else config.d_start
    return (start + _tensor(step) // config.d_every).clamp(max=d_input)


def n_active(step: int | Tensor, n_context: int, config: TrainConfig) -> Tensor:
    """Examples scored at an update: ``n_add`` more every ``n_every`` (Garg et al. 2022, appendix A.2)."""
    start = n_context if config.n_start is None else config.n_start
    return (start + config.n_add * (_tensor(step) // config.n_every)).clamp(max=n_context)


def _tensor(value: Any) -> Tensor:
    return torch.as_tensor(value)
