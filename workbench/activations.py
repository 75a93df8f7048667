"""Run a model on prompts and hand back the activations that an analysis names."""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.batch import RegressionBatch
from workbench.models.transformer import Transformer


@torch.no_grad()
def query_streams(
    model: Transformer, batch: RegressionBatch, *, final_norm: bool = False
) -> Float[Tensor, "layer batch context d_model"]:
    """The residual stream where each label is predicted: layer 0 the embedding, layer l the stream after block l.

    Args:
        model: A transformer over (x, y) examples.
        batch: Prompts.
        final_norm: Whether every layer goes through the model's final norm first. The two readings differ; the
            Hugging Face convention mixes them (raw below, normalised at the top).
    """
    if not model.plan.causal:
        prefixes = [batch.prefix(n + 1) for n in range(batch.n_context)]
        streams = torch.cat([_streams(model, prefix) for prefix in prefixes], 2)
    else:
        streams = _streams(model, batch)
    return model.ln_final(streams) if final_norm else streams


def _streams(model: Transformer, batch: RegressionBatch) -> Float[Tensor, "layer batch scored d_model"]:
    names = ["blocks.0.hook_resid_pre"]
    names += [f"blocks.{layer}.hook_resid_post" for layer in range(model.config.n_layers)]
    prompt = model.encode(batch)
    _, cache = model.run_with_cache(prompt, names_filter=names)
    read_at = model.plan.read_positions(prompt.shape[1])
    return torch.stack([cache[name][:, read_at] for name in names])
