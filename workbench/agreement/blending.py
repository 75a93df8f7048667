"""Which sum of two unlike algorithms every layer is nearest to."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.agreement.matching import Labels, Layers, how_far
from workbench.agreement.path import Path

Weights = Float[Tensor, "part layer value other"]
Explained = Float[Tensor, "layer value other"]


@dataclass(frozen=True, eq=False)
class Blend:
    """Every layer beside the nearest sum of an algorithm that iterates, or least squares, and one that does not.

    Attributes:
        parts: Registry names.
        shares: Weights of both in each layer, at least 0.
        misfits: As those of a match.
        progress: How far the first of them is on its way in each layer, as that of a match.
    """

    parts: tuple[str, str]
    shares: Float[Tensor, "layer part"]
    misfits: Float[Tensor, " layer"]
    progress: Float[Tensor, " layer"]

    @property
    def misfit(self) -> float:
        """Mean over layers."""
        return self.misfits.mean().item()

    @property
    def behind(self) -> float:
        """How far, at most, a later layer stands behind an earlier one on the way of the first."""
        return (self.progress.cummax(0).values - self.progress).max().item()


def nearest_blend(layers: Layers, paths: Sequence[Path], labels: Labels) -> Blend:
    """The nearest weighted sum of two algorithms, each under one convention, the same for all layers.

    Sums of two filters of one spectrum are left out: they are filters again, and near to those of other algorithms.
    """
    apart = [path for path in paths if not path.iterates and path.algorithm != "ols"]
    seconds = [_Reached.of(path, layers) for path in apart]
    together = _Reached.joined(seconds)
    most, best = -torch.inf, (_Reached.of(paths[0], layers), seconds[0])
    for path in paths:
        if path in apart:
            continue
        first = _Reached.of(path, layers)
        explained = _shares(first, together)[1].amax(1)  # layer, value of the second
        by_path = [part.amax(1).sum().item() for part in explained.split([len(each.squares) for each in seconds], 1)]
        if max(by_path) > most:
            most = max(by_path)
            best = first, seconds[by_path.index(most)]
    shares, explained = _shares(*best)
    at = explained.flatten(1).argmax(1)
    first = best[0].path.predictions[at // explained.shape[2]]
    layer = torch.arange(len(layers))
    left = layers.square().sum((1, 2)) - explained.flatten(1)[layer, at]
    parts = (best[0].path.algorithm, best[1].path.algorithm)
    progress = how_far(first, best[0].path.end)
    return Blend(parts, shares.flatten(2)[:, layer, at].mT, left / labels.square().sum(), progress)


@dataclass(frozen=True, eq=False)
class _Reached:
    """A path, or several, as least squares needs it.

    Attributes:
        path: The path; the first of several.
        known: Its predictions.
        squares: Sum of their squares.
        along: Their product with each layer.
    """

    path: Path
    known: Float[Tensor, "value n"]
    squares: Float[Tensor, " value"]
    along: Float[Tensor, "layer value"]

    @classmethod
    def of(cls, path: Path, layers: Layers) -> "_Reached":
        known = path.predictions.flatten(1)
        return cls(path, known, known.square().sum(1), layers.flatten(1) @ known.mT)

    @classmethod
    def joined(cls, several: "Sequence[_Reached]") -> "_Reached":
        known, squares = (torch.cat([getattr(each, name) for each in several]) for name in ("known", "squares"))
        return cls(several[0].path, known, squares, torch.cat([each.along for each in several], 1))


def _shares(
    a: _Reached, b: _Reached
) -> tuple[Float[Tensor, "2 layer value other"], Float[Tensor, "layer value other"]]:
    """The best weights of every pair of values, two equations each, and the squares they explain; -inf if one is
    negative or the two are alike."""
    cross = a.known @ b.known.mT
    product = a.squares[:, None] * b.squares
    determinant = product - cross**2
    to_a, to_b = a.along[:, :, None], b.along[:, None]
    of_a = (b.squares * to_a - cross * to_b) / determinant
    of_b = (a.squares[:, None] * to_b - cross * to_a) / determinant
    sound = (determinant > 1e-9 * product) & (of_a >= 0) & (of_b >= 0)
    return torch.stack([of_a, of_b]), torch.where(sound, of_a * to_a + of_b * to_b, -torch.inf)
