"""Both ends of a model by automatic differentiation, for blocks whose passes are written out."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.batch import RegressionBatch
from workbench.models.transformer import Transformer
from workbench.training.flat import FlatLayout
from workbench.training.loss import batch_of
from workbench.training.replicas import over
from workbench.training.written.blocks import Read, Stream

Rest = Float[Tensor, "replica rest"]

_FEW = 4
"""So few outputs are summed in the kernel of the norm before: a product of matrices would take several more."""


class ReadIn:
    """Prompts to the stream before the first block, of all replicas; arguments as those of ``read_in.ReadIn``."""

    def __init__(self, model: Transformer, layout: FlatLayout, n_replicas: int, compiler: Callable[[Any], Any]) -> None:
        self.model, self.layout = model, layout
        self._embed = compiler(over(n_replicas, self._embedded))

    def forward(self, rest: Rest, *parts: Tensor) -> tuple[Stream, Any]:
        """The stream, and what the backward pass needs."""
        weights = rest.detach().requires_grad_()
        with torch.enable_grad():
            stream = self._embed(weights, *parts)
        return stream.detach(), (stream, weights)

    def backward(self, d_stream: Stream, kept: Any, d_rest: Rest) -> None:
        """Add the gradient of the weights."""
        stream, weights = kept
        (found,) = torch.autograd.grad(stream, weights, d_stream)
        d_rest.add_(found)

    def _embedded(self, rest: Tensor, *parts: Tensor) -> Tensor:
        *data, _ = parts
        prompt = self.model.encode(batch_of(tuple(data)))
        weights = self.layout.outside(rest)
        return torch.func.functional_call(self.model, weights, (prompt,), {"stop_at_layer": 0})


class ReadOut:
    """The stream after the last block to losses; arguments as those of ``read_out.ReadOut``."""

    def __init__(self, model: Transformer, layout: FlatLayout, n_replicas: int, compiler: Callable[[Any], Any]) -> None:
        self.model, self.layout = model, layout
        self._losses = compiler(over(n_replicas, self._loss))

    def __call__(self, rest: Rest, stream: Read, *parts: Tensor) -> tuple[Float[Tensor, " replica"], Read, Rest]:
        """Losses, and gradients of the stream and of the weights."""
        weights, stream = (tensor.detach().requires_grad_() for tensor in (rest, stream))
        with torch.enable_grad():
            losses = self._losses(weights, stream, *parts)
            d_stream, d_rest = torch.autograd.grad(losses.sum(), (stream, weights))
        return losses.detach(), d_stream, d_rest

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
