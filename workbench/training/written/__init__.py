"""Losses and gradients of plain transformers, with the blocks' backward pass written out."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from workbench.batch import RegressionBatch
from workbench.models.config import TransformerConfig
from workbench.models.prompt import plan_of
from workbench.models.transformer import Transformer
from workbench.training.config import RunConfig
from workbench.training.flat import FlatLayout
from workbench.training.gradients import Found, Leaves, Parts
from workbench.training.loss import batch_of
from workbench.training.replicas import over
from workbench.training.written import read_in
from workbench.training.written.blocks import Blocks, WrittenBlocks, obstacle
from workbench.training.written.read_in import ReadIn

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


_FEW = 4
"""So few outputs are summed in the kernel of the norm before: a product of matrices would take several more."""

_OF_TOKENS = 3
"""Parts of a batch of tokens, all of whose positions may count."""


class Written:
    """As ``Autograd``, for models that ``obstacle`` lets through.

    Read-out and loss, and the read-in of tokens, stay with automatic differentiation: a small part, and of many kinds.
    """

    def __init__(
        self,
        model: Transformer,
        layout: FlatLayout,
        n_replicas: int,
        compiler: Callable[[Any], Any],
        blocks: MakeBlocks,
    ) -> None:
        self.model, self.layout = model, layout
        self.blocks = blocks(model.config, layout, compiler)
        self._embed = (
            ReadIn(model, layout, n_replicas, compiler)
            if read_in.suits(model)
            else compiler(over(n_replicas, self._embedded))
        )
        self._head = compiler(over(n_replicas, self._loss))

    def __call__(self, leaves: Leaves, parts: Parts) -> Found:
        """Losses ``[replica]``, and gradients with respect to the two parts of the weights."""
        maps, rest = (leaf.detach().requires_grad_() for leaf in leaves)
        with torch.enable_grad():
            stream = self._embed(rest, *parts)
            losses = self._head(rest, self.blocks(stream, maps, rest, self._every(parts)), *parts)
            d_maps, d_rest = torch.autograd.grad(losses.sum(), (maps, rest))
        return losses.detach(), (d_maps, d_rest)

    def _every(self, parts: Parts) -> int:
        """How far apart the positions are where the output is read; nothing after the blocks mixes them."""
        return 1 if len(parts) - 1 == _OF_TOKENS or self.model.plan.layout.sequence else 2

    def _embedded(self, rest: Tensor, *parts: Tensor) -> Tensor:
        *data, _ = parts
        prompt = self.model.encode(batch_of(tuple(data)))
        weights = self.layout.outside(rest)
        return torch.func.functional_call(self.model, weights, (prompt,), {"stop_at_layer": 0})

    def _loss(self, rest: Tensor, stream: Tensor, *parts: Tensor) -> Tensor:
        *data, counted = parts
        batch, model = batch_of(tuple(data)), self.model
        weights = self.layout.outside(rest)
        if isinstance(batch, RegressionBatch):
            losses = model.losses_where_read(self._said(weights, stream), batch)
        else:
            losses = model.losses(self._said(weights, stream), batch)
        return (losses * counted).sum()

    def _said(self, weights: Mapping[str, Tensor], stream: Tensor) -> Tensor:
        """The output where the stream is given."""
        model = self.model
        if model.d_out > _FEW:
            return torch.func.functional_call(
                model, dict(weights), (stream,), {"start_at_layer": model.config.n_layers}
            )
        norm = {name: weights[f"ln_final.{name}"] for name, _ in model.ln_final.named_parameters()}
        normed = torch.func.functional_call(model.ln_final, norm, (stream,))
        return (normed[..., None, :] * weights["unembed.weight"]).sum(-1) + weights["unembed.bias"]
