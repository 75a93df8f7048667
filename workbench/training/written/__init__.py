"""Losses and gradients of plain transformers, with the blocks' backward pass written out."""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch

from workbench.models.config import TransformerConfig
from workbench.models.prompt import plan_of
from workbench.models.transformer import Transformer
from workbench.training.config import RunConfig
from workbench.training.flat import FlatLayout
from workbench.training.gradients import Found, Leaves, Parts
from workbench.training.written import differentiated, read_in, read_out
from workbench.training.written.blocks import Blocks, WrittenBlocks, obstacle
from workbench.training.written.read_in import ReadIn
from workbench.training.written.read_out import ReadOut

__all__ = ["Written", "WrittenBlocks", "kernels_for", "obstacle"]


MakeBlocks = Callable[[TransformerConfig, FlatLayout, Callable[[Any], Any]], Blocks]
"""From a model's config, the layout of its weights, and the compiler of small pieces."""


MOST_PROMPTS = 2**16 - 1
"""Of an update with ``narrow`` or ``wide``, whose attention has a program for each in the second axis of a grid."""


def too_long(model: TransformerConfig, n_rows: int) -> bool:
    """Whether a model's rows are too many for kernels, which count the numbers of one of its layers in 32 bits."""
    return n_rows * max(3 * model.n_heads * model.head_width, model.mlp_width, model.d_model) >= 2**31


def kernels_for(config: RunConfig) -> MakeBlocks | None:
    """Blocks as kernels that can run a config on its device, or None."""
    model, train = config.model, config.train
    n_positions = plan_of(model).n_positions(model.n_context) if model.n_context else model.n_ctx or 0
    if not train.device.startswith("cuda") or train.precision == "float64" or obstacle(model):
        return None
    if find_spec("triton") is None:
        return None
    from workbench.training.written import kernels, narrow, wide

    if kernels.obstacle(n_positions, model.head_width) or too_long(model, train.n_batch * n_positions):
        return None
    if train.precision != "bf16" or train.n_batch > MOST_PROMPTS:
        return partial(WrittenBlocks, pieces=kernels)
    if not narrow.obstacle(model, n_positions):
        return narrow.NarrowBlocks
    capability, _ = torch.cuda.get_device_capability(train.device)
    return partial(WrittenBlocks, pieces=kernels if wide.obstacle(model, capability) else wide)


_OF_TOKENS = 3
"""Parts of a batch of tokens, all of whose positions may count."""


class Written:
    """As ``Autograd``, for models that ``obstacle`` lets through.

    The read-in of tokens, and read-outs but the plainest, stay with automatic differentiation: a small part, and of
    many kinds.
    """

    def __init__(
        self,
        model: Transformer,
        layout: FlatLayout,
        n_replicas: int,
        compiler: Callable[[Any], Any],
        blocks: MakeBlocks,
    ) -> None:
        self.model = model
        self.blocks = blocks(model.config, layout, compiler)
        begin = ReadIn if read_in.suits(model) else differentiated.ReadIn
        end = ReadOut if read_out.suits(model) else differentiated.ReadOut
        self._read_in = begin(model, layout, n_replicas, compiler)
        self._read_out = end(model, layout, n_replicas, compiler)

    def __call__(self, leaves: Leaves, parts: Parts) -> Found:
        """Losses ``[replica]``, and gradients with respect to the two parts of the weights."""
        maps, rest = (leaf.detach() for leaf in leaves)
        stream, prompts = self._read_in.forward(rest, *parts)
        read, kept = self.blocks.forward(stream, maps, rest, self._every(parts))
        losses, d_read, d_rest = self._read_out(rest, read, *parts)
        d_stream, d_maps = self.blocks.backward(d_read, kept, maps, rest, d_rest)
        self._read_in.backward(d_stream, prompts, d_rest)
        return losses, (d_maps, d_rest)

    def _every(self, parts: Parts) -> int:
        """How far apart the positions are where the output is read; nothing after the blocks mixes them."""
        return 1 if len(parts) - 1 == _OF_TOKENS or self.model.plan.layout.sequence else 2
