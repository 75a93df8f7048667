"""All weights of a model as one vector, with the matrices that may be kept in low precision first."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

_ALIGNED = 64
"""Every weight starts at a multiple of this, so that kernels may read it in wide words."""


@dataclass(frozen=True)
class FlatLayout:
    """Where each weight lies in the vector.

    Attributes:
        shapes: Shape of each weight, in the vector's order.
        starts: First index of each weight.
        n_maps: The first so many numbers are the maps inside the blocks; norms, read-in and read-out follow.
        length: Numbers in all, padding included.
    """

    shapes: Mapping[str, tuple[int, ...]]
    starts: Mapping[str, int]
    n_maps: int
    length: int

    def split(self, maps: Float[Tensor, " maps"], rest: Float[Tensor, " rest"]) -> dict[str, Tensor]:
        """Every weight as a view of the vector, given in its two parts."""
        views: dict[str, Tensor] = {}
        for part, names in ((maps, self._names(maps=True)), (rest, self._names(maps=False))):
            sizes = [_padded(self.shapes[name]) for name in names]
            for name, piece in zip(names, part.split(sizes), strict=True):
                shape = self.shapes[name]
                views[name] = piece[: math.prod(shape)].view(shape)
        return views

    def views(self, flat: Float[Tensor, " length"]) -> dict[str, Tensor]:
        """Every weight as a view of the whole vector."""
        return {
            name: flat[start : start + math.prod(self.shapes[name])].view(self.shapes[name])
            for name, start in self.starts.items()
        }

    def _names(self, *, maps: bool) -> list[str]:
        return [name for name, start in self.starts.items() if (start < self.n_maps) == maps]


def flat_layout(model: nn.Module) -> FlatLayout:
    """The layout of a model's weights; tied ones lie there once."""
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    ordered = sorted(shapes, key=lambda name: not _is_map(name))
    starts, length, n_maps = {}, 0, 0
    for name in ordered:
        starts[name] = length
        length += _padded(shapes[name])
        n_maps = length if _is_map(name) else n_maps
    return FlatLayout({name: shapes[name] for name in ordered}, starts, n_maps, length)


def fill(layout: FlatLayout, flat: Float[Tensor, " length"], weights: Mapping[str, Tensor]) -> None:
    """Copy weights into the vector."""
    with torch.no_grad():
        for name, view in layout.views(flat).items():
            view.copy_(weights[name])


def _is_map(name: str) -> bool:
    return ".attn." in name or ".mlp." in name


def _padded(shape: tuple[int, ...]) -> int:
    return -(-math.prod(shape) // _ALIGNED) * _ALIGNED
