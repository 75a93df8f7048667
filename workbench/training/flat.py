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
        return {**self._split(maps, maps=True), **self._split(rest, maps=False)}

    def outside(self, rest: Float[Tensor, " rest"]) -> dict[str, Tensor]:
        """The weights outside of the blocks, from the second part; few, so that their gradient is cheap."""
        starts = {name: start - self.n_maps for name, start in self.starts.items() if not name.startswith("blocks.")}
        return {
            name: rest[start : start + math.prod(self.shapes[name])].view(self.shapes[name])
            for name, start in starts.items()
        }

    def of(self, rest: Float[Tensor, "replica rest"], name: str) -> Float[Tensor, "replica ..."]:
        """A weight of the second part, of all replicas, as a view."""
        start, shape = self.starts[name] - self.n_maps, self.shapes[name]
        return rest[:, start : start + math.prod(shape)].unflatten(1, shape)

    def _split(self, part: Tensor, *, maps: bool) -> dict[str, Tensor]:
        names = [name for name, start in self.starts.items() if (start < self.n_maps) == maps]
        pieces = part.split([_padded(self.shapes[name]) for name in names])
        shapes = [self.shapes[name] for name in names]
        cut = [piece[: math.prod(shape)].view(shape) for piece, shape in zip(pieces, shapes, strict=True)]
        return dict(zip(names, cut, strict=True))


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


@torch.no_grad()
def fill(views: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Copy weights into views of the same names."""
    for name, view in views.items():
        view.copy_(weights[name])


def _is_map(name: str) -> bool:
    return ".attn." in name or ".mlp." in name


def _padded(shape: tuple[int, ...]) -> int:
    return -(-math.prod(shape) // _ALIGNED) * _ALIGNED
