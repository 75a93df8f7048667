"""How many CPU threads a run trains with."""

import torch

from workbench.training.config import RunConfig

_LEAST_PRODUCTS = 2**24
"""Multiplications of the blocks' forward pass that a thread should have: it runs all of Python's part of an update as
well, some 1.5 ms, and Python runs in one thread at a time."""


def sensible_threads(config: RunConfig) -> int:
    """CPU threads for a run: the configured number, else torch's own choice, if each has enough to do."""
    train = config.train
    if train.n_threads is not None:
        return train.n_threads
    enough = train.n_batch * _products_per_prompt(config) // _LEAST_PRODUCTS
    return max(1, min(torch.get_num_threads(), train.n_batch, enough))


def _products_per_prompt(config: RunConfig) -> int:
    model = config.model
    n_positions = model.n_ctx or 2 * (model.n_context or 1)
    per_token = model.d_model * (4 * model.n_heads * model.head_width + 2 * model.mlp_width)
    return n_positions * model.n_layers * per_token
