"""What is read: the residual stream, what attention and MLP write to it, the value mix of every head."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from probes.places import Place
from workbench.batch import RegressionBatch
from workbench.errors import InputError, must, refuse_faults
from workbench.models.transformer import Transformer
from workbench.registry import by_name

EMBED = "embed"
"""The embedding alone: the component that controls are read from."""


@dataclass(frozen=True)
class Site:
    """One thing that is read.

    Attributes:
        component: Registry name of its kind.
        layer: 0 is the embedding, l the stream after block l, or what block l of 1..n_layers writes.
        head: Head, 0-based, where each is read alone.
        hook: TransformerLens name, whose blocks count from 0.
    """

    component: str
    layer: int
    head: int | None
    hook: str


@dataclass(frozen=True)
class Component:
    """One kind of site.

    Attributes:
        name: Registry name.
        hooks: From a model to the names of its hooks, in order of layers.
        first_layer: Layer of the first of them.
        per_head: Whether a hook holds one site for every head.
    """

    name: str
    hooks: Callable[[Transformer], Sequence[str]]
    first_layer: int
    per_head: bool = False

    def sites(self, model: Transformer) -> tuple[Site, ...]:
        """Its sites, layer by layer, head by head."""
        heads = range(model.config.n_heads) if self.per_head else [None]
        named = enumerate(self.hooks(model), self.first_layer)
        return tuple(Site(self.name, layer, head, hook) for layer, hook in named for head in heads)

    def stack(self, cached: Sequence[Tensor]) -> Float[Tensor, "site batch pos width"]:
        """Activations of all its sites, from those at its hooks."""
        if self.per_head:
            return rearrange(list(cached), "layer batch pos head width -> (layer head) batch pos width")
        return torch.stack(list(cached))


def _in_blocks(name: str) -> Callable[[Transformer], Sequence[str]]:
    return lambda model: [f"blocks.{block}.{name}" for block in range(model.config.n_layers)]


def _streams(model: Transformer) -> Sequence[str]:
    return ["blocks.0.hook_resid_pre", *_in_blocks("hook_resid_post")(model)]


def _mlps(model: Transformer) -> Sequence[str]:
    refuse_faults([must("components", "not hold mlp_out", "a model without MLP", model.config.mlp != "none")])
    return _in_blocks("hook_mlp_out")(model)


COMPONENTS = by_name(
    Component("resid", _streams, 0),
    Component("attn_out", _in_blocks("hook_attn_out"), 1),
    Component("mlp_out", _mlps, 1),
    Component("z", _in_blocks("attn.hook_z"), 1, per_head=True),
    Component(EMBED, lambda _: ["blocks.0.hook_resid_pre"], 0),
)


@torch.no_grad()
def read(
    model: Transformer, batch: RegressionBatch, components: Sequence[str], places: Sequence[Place], *, pooled: bool
) -> list[dict[str, Float[Tensor, "site batch *pos width"]]]:
    """Activations at every place, by component, in one run of a causal model and one per prefix of another.

    Args:
        model: The model.
        batch: Prompts, of its type and on its device.
        components: Registry names.
        places: Tokens to read.
        pooled: Whether to read all tokens up to each, along an axis of their own.

    Raises:
        InputError: If an activation is not finite.
    """
    if model.plan.causal:
        found = _run(model, batch, components)
        return [_pick(found, place.position, pooled=pooled) for place in places]
    picked: list[dict[str, Tensor]] = []
    for place in places:
        found = _run(model, batch.prefix(place.n_seen + 1), components)
        last = next(iter(found.values())).shape[2] - 1
        own = last - 1 if place.is_answer else last  # the newest example stands right before the query
        picked.append(_pick(found, own, pooled=pooled))
    return picked


def _pick(found: dict[str, Tensor], position: int, *, pooled: bool) -> dict[str, Tensor]:
    at = slice(position + 1) if pooled else position
    return {name: values[:, :, at] for name, values in found.items()}


def _run(model: Transformer, batch: RegressionBatch, components: Sequence[str]) -> dict[str, Tensor]:
    hooks = {name: COMPONENTS[name].hooks(model) for name in components}
    wanted = sorted({hook for names in hooks.values() for hook in names})
    _, cache = model.run_with_cache(model.encode(batch), names_filter=wanted)
    for hook in wanted:
        if not torch.isfinite(cache[hook]).all():
            raise InputError(f"activations of {hook} must be finite; got NaN or infinity. Take another checkpoint.")
    return {name: COMPONENTS[name].stack([cache[hook] for hook in names]).cpu() for name, names in hooks.items()}
