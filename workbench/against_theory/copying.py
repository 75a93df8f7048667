"""The copying layer: whether a first softmax layer brings every label to its input."""

import torch

from workbench.against_theory.row import Row
from workbench.batch import RegressionBatch
from workbench.models.transformer import Transformer

_N_PROMPTS = 400
_HOOK = "blocks.0.attn.hook_pattern"


@torch.no_grad()
def partner_attention(model: Transformer, batch: RegressionBatch) -> float:
    """Mean attention of the first layer from the tokens of inputs to those of their labels, the next; chance 1/tokens.

    Without the causal mask an input can look at what comes after it.
    """
    part = batch.prompts(0, _N_PROMPTS).to(dtype=model.unembed.weight.dtype)
    _, cache = model.run_with_cache(model.encode(part), names_filter=_HOOK)
    pattern = cache[_HOOK].mean((0, 1))
    return float(pattern[0:-1:2, 1::2].diagonal().mean())


def compare_copying(model: Transformer, untrained: Transformer, batch: RegressionBatch) -> list[Row]:
    """That attention at the end, with its controls."""
    n_tokens = 2 * batch.n_context - 1
    controls = {"untrained": partner_attention(untrained, batch), "uniform": 1 / n_tokens}
    label = "attention of the first layer from an input to its label"
    return [Row("partner", label, 1.0, partner_attention(model, batch), None, controls)]
