"""Learning rate and curriculum as pure functions of the step."""

import math

from workbench.training.config import TrainConfig


def learning_rate(step: int, config: TrainConfig) -> float:
    """The learning rate of update ``step``, 0-based: warm-up, plateau, decay to ``lr_final``."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    n_decay = max(1, round(config.decay_fraction * config.n_steps))
    done = max(0.0, (step - (config.n_steps - n_decay)) / n_decay)
    left = {
        "constant": 1.0,
        "linear": 1.0 - done,
        "cosine": (1.0 + math.cos(math.pi * done)) / 2,
    }[config.schedule]
    return warm * (config.lr_final + (config.lr - config.lr_final) * left)


def d_active(step: int, d_input: int, config: TrainConfig) -> int:
    """Input coordinates in use at an update: one more every ``d_every`` (Garg et al. 2022, appendix A.2)."""
    start = d_input if config.d_start is None else config.d_start
    return min(d_input, start + step // config.d_every)


def n_active(step: int, n_context: int, config: TrainConfig) -> int:
    """Examples scored at an update: ``n_add`` more every ``n_every`` (Garg et al. 2022, appendix A.2)."""
    start = n_context if config.n_start is None else config.n_start
    return min(n_context, start + config.n_add * (step // config.n_every))
