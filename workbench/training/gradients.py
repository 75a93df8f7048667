"""Losses and gradients of all replicas by automatic differentiation."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.models.transformer import Transformer
from workbench.training.flat import FlatLayout
from workbench.training.loss import batch_of
from workbench.training.replicas import over

Parts = tuple[Tensor, ...]
Leaves = tuple[Float[Tensor, "replica maps"], Float[Tensor, "replica rest"]]
Found = tuple[Float[Tensor, " replica"], Leaves]
Differentiate = Callable[[Leaves, Parts], Found]


class Autograd:
    """Losses and gradients of one forward and backward pass.

    Args:
        model: Gives the arithmetic; its own weights are not used.
        layout: Of the flat weights.
        n_replicas: Rows of the flat weights.
        compiler: Applied to the forward pass.
    """

    def __init__(self, model: Transformer, layout: FlatLayout, n_replicas: int, compiler: Callable[[Any], Any]) -> None:
        self.model, self.layout = model, layout
        for block in model.layers:  # scaled_dot_product_attention is slow over replicas on CPUs, and wrong on CUDA
            block.attn.exact = n_replicas > 1
        self._losses = compiler(over(n_replicas, self._loss))

    def __call__(self, leaves: Leaves, parts: Parts) -> Found:
        """Losses ``[replica]``, and gradients with respect to the two parts of the weights."""
        maps, rest = (leaf.detach().requires_grad_() for leaf in leaves)
        with torch.enable_grad():
            losses = self._losses(maps, rest, *parts)
            d_maps, d_rest = torch.autograd.grad(losses.sum(), (maps, rest), materialize_grads=True)
        return losses.detach(), (d_maps, d_rest)

    def _loss(self, maps: Tensor, rest: Tensor, *parts: Tensor) -> Float[Tensor, ""]:
        *data, weights = parts
        batch = batch_of(tuple(data))
        output = torch.func.functional_call(self.model, self.layout.split(maps, rest), (self.model.encode(batch),))
        return (self.model.losses(output, batch) * weights).sum()


def bind(model: Transformer, layout: FlatLayout, leaves: Leaves) -> tuple[Leaves, dict[str, Tensor]]:
    """Make a model's weights views of the flat ones; room for their gradients, and views of it by name."""
    room = torch.zeros_like(leaves[0]), torch.zeros_like(leaves[1])
    weights, gradients = (layout.split(maps[0], rest[0]) for maps, rest in (leaves, room))
    for name, parameter in model.named_parameters():
        parameter.data = weights[name]
    return room, gradients


class Bound:
    """The same for one model run line by line: its weights are views of the flat ones, and nothing is cut or gathered.

    Args:
        model: Gives the arithmetic, and is given these weights.
        layout: Of the flat weights.
        leaves: The weights, one row; they may change, but not move.
    """

    def __init__(self, model: Transformer, layout: FlatLayout, leaves: Leaves) -> None:
        self.model = model
        self._gradients, into = bind(model, layout, leaves)
        self._parameters = dict(model.named_parameters())
        self._into = [into[name] for name in self._parameters]

    def __call__(self, leaves: Leaves, parts: Parts) -> Found:  # noqa: ARG002  # it has them
        """Losses ``[1]``, and gradients that are overwritten at the next call."""
        *data, weights = (part[0] for part in parts)
        batch = batch_of(tuple(data))
        with torch.enable_grad():
            output = self.model(self.model.encode(batch))
            loss = (self.model.losses(output, batch) * weights).sum()
            found = torch.autograd.grad(loss, list(self._parameters.values()), materialize_grads=True)
        torch._foreach_copy_(self._into, found)  # pyright: ignore[reportPrivateImportUsage]
        return loss.detach()[None], self._gradients


class Sharded:
    """The same over several CPU threads, each with its share of the prompts and a core of its own.

    Small updates are many short operations: two threads inside each cost more than they bring, two threads beside
    each other do not wait for one another.
    """

    def __init__(self, workers: Sequence[Differentiate]) -> None:
        self.workers = workers
        self._threads = ThreadPoolExecutor(len(workers), "shard", initializer=torch.set_num_threads, initargs=(1,))

    def __call__(self, leaves: Leaves, parts: Parts) -> Found:
        """Losses and gradients, summed over the shards in their order."""
        n = len(self.workers)
        shards = zip(*(part.tensor_split(n, 1) for part in parts), strict=True)
        jobs = [self._threads.submit(work, leaves, shard) for work, shard in zip(self.workers, shards, strict=True)]
        losses, gradients = zip(*(job.result() for job in jobs), strict=True)
        d_maps, d_rest = (torch.stack(each).sum(0) for each in zip(*gradients, strict=True))
        return torch.stack(losses).sum(0), (d_maps, d_rest)
