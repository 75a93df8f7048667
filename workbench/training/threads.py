"""How many CPU threads a run trains with."""

import torch

from workbench.training.config import RunConfig


def sensible_threads(config: RunConfig) -> int:
    """CPU threads for a run: the configured number, else torch's own choice, but no more than prompts."""
    if config.train.n_threads is not None:
        return config.train.n_threads
    return min(torch.get_num_threads(), config.train.n_batch)
