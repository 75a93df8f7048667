"""Influence: how much each label of the context moves a prediction."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp, vmap

from workbench.agreement.readers import LayerReader, said
from workbench.batch import RegressionBatch

_TOKENS = 128
"""Tokens of one pass, about."""
_AT_ONCE = 48
"""Labels whose influence is followed in one pass."""


@torch.no_grad()
def model_influence(read: LayerReader, batch: RegressionBatch) -> Float[Tensor, "row batch context example"]:
    """The derivative by each label y_j of what every layer and the output say at each prefix i: 0 for j >= i.

    Forward-mode derivatives: following one label through the model costs little more than a forward pass and gives
    its influence on all layers and prefixes at once, so that the whole costs about ``2 context`` forward passes.
    Reverse mode would need a backward pass for every prefix and layer. A model without the causal mask is run on each
    prefix alone, which costs ``context / 2`` times as much.

    Args:
        read: What is said, and by which model.
        batch: Prompts, of the model's type and on its device.
    """
    step = max(1, _TOKENS // (2 * batch.n_context))
    with read.model.exact():  # scaled_dot_product_attention has no forward-mode derivative
        return torch.cat([_influence(read, batch.prompts(i, i + step)) for i in range(0, batch.n_batch, step)], 1)


def _influence(read: LayerReader, batch: RegressionBatch) -> Float[Tensor, "row batch context example"]:
    def moved(direction: Tensor) -> Tensor:
        return jvp(
            lambda ys: said(read, RegressionBatch(batch.xs, ys)), (batch.ys,), (direction.expand_as(batch.ys).clone(),)
        )[1]

    directions = torch.eye(batch.n_context, dtype=batch.ys.dtype, device=batch.ys.device)[:, None]
    return vmap(moved, out_dims=-1, chunk_size=_AT_ONCE)(directions).cpu()
