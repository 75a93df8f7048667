"""Run a model on prompts and hand back the activations that an analysis names."""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.batch import RegressionBatch
from workbench.models.transformer import Transformer


@torch.no_grad()
def query_streams(model: Transformer, batch: RegressionBatch) -> Float[Tensor, "layer batch context d_model"]:
    """The residual stream where each label is predicted: layer 0 the embedding, layer l the stream after block l.

    Args:
        model: A transformer over (x, y) examples.
        batch: Prompts.
    """
    if model.plan.causal:
        return _streams(model, batch)
    return torch.cat([_streams(model, batch.prefix(n + 1)) for n in range(batch.n_context)], 2)


def _streams(model: Transformer, batch: RegressionBatch) -> Float[Tensor, "layer batch scored d_model"]:
    names = ["blocks.0.hook_resid_pre"]
    names += [f"blocks.{layer}.hook_resid_post" for layer in range(model.config.n_layers)]
    prompt = model.encode(batch)
    _, cache = model.run_with_cache(prompt, names_filter=names)
    read_at = model.plan.read_positions(prompt.shape[1])
    return torch.stack([cache[name][:, read_at] for name in names])
