"""Extreme tokens: large activations and the channels that make them, layer by layer.

Sinks, value-state drains and residual peaks are measured apart and never summed into one number.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuits.watching import Hooked, looking

SUN_ABSOLUTE, SUN_RELATIVE = 100.0, 1000.0
"""Sun et al. 2024 (arXiv:2402.17762): |h| above the first and above the second times the median |h|."""
SCALE_FREE_RELATIVE = 100.0
"""The same for small models, whose streams have no common scale."""
_MIN_Z, _STABLE = 6.0, 0.9


@dataclass(frozen=True)
class Massive:
    """The largest activation of one stream.

    Attributes:
        stream: 0 the embedding, l the stream after block l - 1.
        largest: Mean over prompts of the largest |h|.
        median: Mean over prompts of the median |h|.
        ratio: Mean over prompts of the one over the other.
        position: Where it stands most often, 0-based.
        channel: In which channel most often.
        is_massive: Whether it is, by Sun et al.'s criterion, in most prompts.
        is_massive_scale_free: Whether it is 100 times the median in most prompts.
        sink_channels: Channels whose |h| at position 0 is over 6 standard deviations above their mean elsewhere, in at
            least 90 % of the prompts.
    """

    stream: int
    largest: float
    median: float
    ratio: float
    position: int
    channel: int
    is_massive: bool
    is_massive_scale_free: bool
    sink_channels: tuple[int, ...]


def massive_activations(model: Hooked, tokens: Int[Tensor, "batch pos"]) -> list[Massive]:
    """The largest activation of every stream and the channels that are extreme at position 0.

    Args:
        model: Any with TransformerLens's hook names.
        tokens: A few prompts; they are run at once.
    """
    found: list[Massive] = []
    names = ["blocks.0.hook_resid_pre", *(f"blocks.{layer}.hook_resid_post" for layer in range(model.cfg.n_layers))]
    looks = {name: partial(_look, found, stream) for stream, name in enumerate(names)}
    with torch.no_grad():
        model.run_with_hooks(tokens, fwd_hooks=looking(looks))
    return found


def _look(found: list[Massive], stream: int, h: Float[Tensor, "batch pos d_model"]) -> None:
    size = h.double().abs()
    flat = size.flatten(1)
    largest, place = flat.max(1)
    median = flat.median(1).values
    is_massive = (largest > SUN_ABSOLUTE) & (largest >= SUN_RELATIVE * median)
    found.append(
        Massive(
            stream=stream,
            largest=largest.mean().item(),
            median=median.mean().item(),
            ratio=(largest / median).mean().item(),
            position=_usual(place // h.shape[-1]),
            channel=_usual(place % h.shape[-1]),
            is_massive=bool(is_massive.double().mean() > 0.5),
            is_massive_scale_free=bool((largest >= SCALE_FREE_RELATIVE * median).double().mean() > 0.5),
            sink_channels=tuple(sink_channels(size)),
        )
    )


def _usual(values: Any) -> int:
    return int(values.mode().values)


def sink_channels(size: Float[Tensor, "batch pos d_model"]) -> list[int]:
    """Channels whose size at position 0 stands out from that at all others, the most extreme first."""
    others = size[:, 1:].flatten(0, 1)
    if len(others) < 2:
        return []
    z = (size[:, 0] - others.mean(0)) / others.std(0).clamp(min=1e-12)
    stable = (z > _MIN_Z).double().mean(0) >= _STABLE
    order = z.mean(0).argsort(descending=True)
    return [int(channel) for channel in order if stable[channel]]
