"""How far constructed models are from what they were written to be."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import baselines
from workbench.activations import query_streams
from workbench.batch import RegressionBatch, TokenBatch
from workbench.models.constructions import CONSTRUCTIONS, TOKEN_CONSTRUCTIONS
from workbench.models.transformer import Transformer
from workbench.zoo.constructing import build, settings_of, task_of
from workbench.zoo.recipes import Recipe

N_PROMPTS = 32


@dataclass(frozen=True)
class Exactness:
    """The largest difference between a constructed model and its algorithm, at any layer, prompt and prefix.

    For tokens: of probabilities, at any position.

    Attributes:
        float64: Over one plus the largest prediction.
        float32: The same with weights and arithmetic in float32.
    """

    float64: float
    float32: float


@torch.no_grad()
def exactness(recipe: Recipe, n_prompts: int = N_PROMPTS) -> Exactness:
    """The model beside its algorithm on fresh prompts of its law."""
    batch = task_of(recipe).prompts(0, "exactness", 0, n_prompts)
    model, off = build(recipe), []
    if isinstance(batch, TokenBatch):
        expected = said_by_counting(recipe, batch).softmax(-1)
        for dtype in (torch.float64, torch.float32):
            off.append((model.to(dtype)(batch.tokens).softmax(-1) - expected).abs().max().item())
        return Exactness(*off)
    expected = reference(recipe, batch)
    for dtype in (torch.float64, torch.float32):
        found = held(model.to(dtype), batch.to(dtype=dtype))
        off.append(((found - expected).abs().max() / (1 + expected.abs().max())).item())
    return Exactness(*off)


@torch.no_grad()
def held(model: Transformer, batch: RegressionBatch) -> Float[Tensor, "layer batch context"]:
    """What the model's own read-out predicts from every layer, the embedding first, float64."""
    return model.unembed(model.ln_final(query_streams(model, batch)))[..., 0].double()


def reference(recipe: Recipe, batch: RegressionBatch) -> Float[Tensor, "layer batch context"]:
    """What the algorithm predicts where each layer should hold it."""
    construction, n_layers = CONSTRUCTIONS[recipe.construction], recipe.n_layers
    assert construction.algorithm is not None
    options = construction.options(n_layers, **settings_of(recipe))
    if not construction.iterative:
        said = baselines.predict(construction.algorithm, batch.xs, batch.ys, **options)
        return torch.cat([torch.zeros_like(said).expand(n_layers, -1, -1), said[None]])
    steps = [construction.steps(layer) for layer in range(n_layers + 1)]
    said = baselines.predict(construction.algorithm, batch.xs, batch.ys, steps=[s or 0 for s in steps], **options)
    is_silent = torch.tensor([step is None for step in steps])
    return said.masked_fill(is_silent[:, None, None], 0.0)


def said_by_counting(recipe: Recipe, batch: TokenBatch) -> Float[Tensor, "batch pos d_vocab"]:
    """Logits of a circuit over tokens, found without attention."""
    d_vocab = task_of(recipe).model_shape()["d_vocab"]
    return TOKEN_CONSTRUCTIONS[recipe.construction].reference(batch.tokens, d_vocab, **settings_of(recipe))
