"""The copying layer: whether tokens of inputs and labels look at each other, and how the first layer mixes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.against_theory.config import TheoryConfig
from workbench.against_theory.observed import blocks, resampled
from workbench.against_theory.row import Row
from workbench.batch import RegressionBatch
from workbench.metrics import Interval
from workbench.models.config import TransformerConfig
from workbench.models.kinds.attention import AttentionKind
from workbench.models.transformer import Transformer

WAYS = {"label": "inputs to their labels", "input": "labels to their inputs"}
"""By what is looked at: inputs, at even positions, look at the token after them; labels at the one before."""
PLACES = ("own", "label", "input", "others")
"""Of the tokens that one is made from: itself; the label of an input; the input of a label; the mean of the rest of
those that it sees."""
_N_PROMPTS = 400
_HOOKS = ("attn.hook_pattern", "attn.sink.hook_share")


@dataclass(frozen=True)
class Partner:
    """How much of a head's attention goes to the other token of the same example.

    Attributes:
        layer: 1 is the first block.
        head: 0-based.
        way: Key of ``WAYS``.
        share: Mean over examples and prompts of that attention over all, in size where scores have signs, a sink's
            among it.
        ci: 95% interval, bootstrap over blocks of prompts.
        chance: The same of attention spread evenly over all visible tokens.
        untrained: The same head's before training.
        whole: Mean size of the attention of which shares are taken: 1 where keys compete; near 0 if there is next to
            no attention to share.
    """

    layer: int
    head: int
    way: str
    share: float
    ci: Interval
    chance: float
    untrained: float
    whole: float


@dataclass(frozen=True)
class Mixed:
    """How a token of the stream behind the first layer depends on tokens of the prompt.

    Attributes:
        place: One of ``PLACES``.
        size: Length of the mean gradient of the sum of its coordinates with respect to a token there, mean over tokens.
        ci: 95% interval, bootstrap over blocks of prompts.
        untrained: The same before training.
    """

    place: str
    size: float
    ci: Interval
    untrained: float


@dataclass(frozen=True)
class Copying:
    """What a model of separate tokens does with the pairs.

    Attributes:
        partners: By way, layer and head.
        mixed: By place; an input's label is none where it is not seen.
        untrained: The largest share that the first layer of the untrained model has, over the same heads and ways among
            which that of the trained one is found.
    """

    partners: tuple[Partner, ...]
    mixed: tuple[Mixed, ...]
    untrained: float


def has_pairs(config: TransformerConfig) -> bool:
    """Whether inputs and labels are tokens of their own, of numbers."""
    return config.layout.startswith("interleaved") and config.input == "continuous" and config.d_output is None


def ways_of(model: Transformer) -> list[str]:
    """Ways in which tokens may look at each other: an input sees the label after it only without the causal mask."""
    return [way for way in WAYS if way == "input" or not model.config.causal]


def shares(model: Transformer, batch: RegressionBatch) -> Float[Tensor, "batch way layer head"]:
    """The share of attention that goes to the other token of the same example, mean over examples.

    Where keys compete a share is the weight itself, so that what goes to a sink counts as attention that goes to no
    partner. Other scores are taken by their size, over the sum of a row's sizes, that of a sink among them.

    Args:
        model: One with ``has_pairs``.
        batch: Prompts; the first 400 are run.
    """
    return _attention(model, batch)[0]


@torch.no_grad()
def _attention(
    model: Transformer, batch: RegressionBatch
) -> tuple[Float[Tensor, "batch way layer head"], Float[Tensor, "batch way layer head"]]:
    """Shares as above, and the sizes of which they are."""
    part = _part(model, batch)
    _, cache = model.run_with_cache(model.encode(part), names_filter=lambda name: name.endswith(_HOOKS))
    ways, found = ways_of(model), []
    for layer in range(model.config.n_layers):
        size = cache[f"blocks.{layer}.attn.hook_pattern"].double().abs()
        attn, name = model.layers[layer].attn, f"blocks.{layer}.attn.sink.hook_share"
        whole = _whole(attn.kind, size, cache[name].double().abs() if name in cache.cache_dict else None)
        share = size / whole.clamp(min=torch.finfo(torch.float64).tiny)
        of_rows = whole.expand_as(size)
        found.append(torch.stack([_of_pairs(each, way).mean(-1) for each in (share, of_rows) for way in ways], 1))
    told = torch.stack(found, 2)
    return told[:, : len(ways)], told[:, len(ways) :]


def _whole(
    kind: AttentionKind, size: Float[Tensor, "batch head query key"], sink: Float[Tensor, "batch head query"] | None
) -> Float[Tensor, "batch head query 1"]:
    """All attention of a query: 1 where keys compete, of which a sink has what they have not; else the sum of sizes."""
    if kind.keys_compete:
        return torch.ones_like(size[..., :1])
    whole = size.sum(-1, keepdim=True)
    return whole if sink is None else whole + sink[..., None]


def chances(model: Transformer, batch: RegressionBatch) -> Float[Tensor, " way"]:
    """The same shares of attention spread evenly over what each token sees."""
    visible = _visible(model, batch).double()
    even = visible / visible.sum(-1, keepdim=True).clamp(min=1)
    return torch.stack([_of_pairs(even, way).mean() for way in ways_of(model)])


def mixing(model: Transformer, batch: RegressionBatch) -> Float[Tensor, "batch pos token d_token"]:
    """Gradient of the sum of each token's coordinates behind the first layer with respect to the prompt's tokens."""
    tokens = model.encode(_part(model, batch)).requires_grad_()
    with torch.enable_grad():
        stream = model(tokens, stop_at_layer=1).sum(-1)
        found = [torch.autograd.grad(one.sum(), tokens, retain_graph=True)[0] for one in stream.unbind(1)]
    return torch.stack(found, 1).double()


def mixed_sizes(
    gradient: Float[Tensor, "pos token d_token"], visible: Bool[Tensor, "pos token"]
) -> Float[Tensor, " place"]:
    """Lengths of mean gradients by ``PLACES``, over the tokens that each token sees; NaN where it sees none of a place.

    Args:
        gradient: Mean over prompts.
        visible: Which tokens a token sees; a token knows itself at any rate.

    Source:
        von Oswald et al. 2023, arXiv:2212.07677, section 5 and figure 5: gradients are averaged over prompts first.
    """
    size = gradient.norm(dim=-1)
    places = _places(visible)
    seen = torch.eye(len(size), dtype=torch.bool) | visible
    return torch.stack([size[place & seen].mean() for place in places])


def _places(visible: Bool[Tensor, "pos token"]) -> Bool[Tensor, "place pos token"]:
    """Where each of ``PLACES`` stands."""
    n = len(visible)
    row, token = torch.arange(n)[:, None], torch.arange(n)
    own = row == token
    label = (row % 2 == 0) & (token == row + 1)
    back = (row % 2 == 1) & (token == row - 1)
    return torch.stack([own, label, back, ~(own | label | back)])


def copying(model: Transformer, untrained: Transformer, batch: RegressionBatch, config: TheoryConfig) -> Copying:
    """Attention between the tokens of an example, head by head, and what the first layer mixes, with controls."""
    (found, whole), before, chance = _attention(model, batch), shares(untrained, batch).mean(0), chances(model, batch)
    visible = _visible(model, batch)
    parts = blocks(found)
    values, ends = resampled(lambda each: torch.tensordot(each, parts, 1), config.n_resamples, config.seed)
    ways = ways_of(model)
    n_layers, n_heads = found.shape[2:]
    at = [(way, layer, head) for way in range(len(ways)) for layer in range(n_layers) for head in range(n_heads)]
    partners = tuple(
        Partner(
            *(layer + 1, head, ways[way], float(value), ci, float(chance[way])),
            *(float(before[way, layer, head]), float(whole[:, way, layer, head].mean())),
        )
        for (way, layer, head), value, ci in zip(at, values, ends, strict=True)
    )
    gradients = blocks(mixing(model, batch))
    sizes, sizes_ends = resampled(
        lambda each: mixed_sizes(torch.tensordot(each, gradients, 1), visible), config.n_resamples, config.seed
    )
    plain = mixed_sizes(mixing(untrained, batch).mean(0), visible)
    mixed = zip(PLACES, sizes, sizes_ends, plain, strict=True)
    told = (Mixed(place, float(size), ci, float(of)) for place, size, ci, of in mixed if not size.isnan())
    return Copying(partners, tuple(told), float(before[:, 0].max()))


def compare_copying(found: Copying) -> list[Row]:
    """The first layer's attention to the other token of an example at the end, the strongest head and way.

    Its control before training is chosen in the same way, as the largest of all heads and ways.
    """
    one = max((each for each in found.partners if each.layer == 1), key=lambda each: each.share)
    controls = {"untrained, its strongest": found.untrained, "uniform": one.chance}
    return [Row("partner", f"attention of the first layer from {WAYS[one.way]}", 1.0, one.share, one.ci, controls)]


def at_checkpoint(model: Transformer, batch: RegressionBatch) -> Mapping[str, Any]:
    """The same of a checkpoint: ``partner`` of the first layer as above, all ``partners``, and ``mixed`` by place."""
    found = shares(model, batch).mean(0)
    sizes = mixed_sizes(mixing(model, batch).mean(0), _visible(model, batch))
    mixed = {f"mixed_{place}": float(size) for place, size in zip(PLACES, sizes, strict=True) if not size.isnan()}
    return {"partner": float(found[:, 0].max()), "partners": found.tolist(), **mixed}


def _visible(model: Transformer, batch: RegressionBatch) -> Bool[Tensor, "query key"]:
    return model.plan.visible(model.encode(_part(model, batch)).shape[1])


def _part(model: Transformer, batch: RegressionBatch) -> RegressionBatch:
    return batch.prompts(0, _N_PROMPTS).to(dtype=model.unembed.weight.dtype)


def _of_pairs(of_tokens: Float[Tensor, "*lead query key"], way: str) -> Float[Tensor, "*lead pair"]:
    """What a token has for the other of its example; a question at the end has none."""
    n_pairs = of_tokens.shape[-1] // 2
    offset = 1 if way == "label" else -1
    first = 0 if way == "label" else 1
    rows = of_tokens[..., first : 2 * n_pairs : 2, :]
    return rows[..., first + offset : 2 * n_pairs : 2].diagonal(dim1=-2, dim2=-1)
