"""What the rules of the verdict look at: layers beside algorithms."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.agreement.blending import Blend, nearest_blend
from workbench.agreement.matching import Labels, Layers, Lean, Match, lean, nearest, nearest_as_given
from workbench.agreement.path import Path
from workbench.agreement.trend import Trend, fit_trend

SPEAKS = 0.02
"""Mean squared prediction, in units of the mean squared label, from which on a layer says anything."""
SKILL = 0.85
"""Share of what the layers say that the nearest algorithm must explain."""
LEAN = 0.5
"""How far towards a rival, at most, the layers may lie from the nearest algorithm, upper end of the interval."""
CLEAR = 0.05
"""How much larger a rival's misfit must be, as a share of what the nearest algorithm leaves of the layers alike."""
MOVING = (0.02, 0.995)
"""Progress between which a layer tells how far an iteration has come."""
_GROWN = 1.3
"""Largest over smallest scale of layers that are all said to have converged."""
_AS_GOOD = (0.02, 2e-4)
"""A misfit is as good as another up to this share of it and this much more."""
LEAST, FARTHER = 2e-6, 100.0
"""Share of the labels' square below which a difference of misfits decides nothing, unless a rival's is so many times
as large."""
NOISE = 0.05
"""How alike successive layers may be, at most, in what the nearest algorithm leaves of them, for that to be noise."""
KIN = (0.005, 3e-5)
"""The same between methods of gradients, a share of the nearer one's misfit and this much more: momentum, with a number
more to turn, comes nearer than gradient descent even where there is none."""
GRADIENT = ("gd", "momentum", "nesterov", "chebyshev")
"""Methods of gradients, the simplest first: the others become gradient descent as their momentum vanishes."""


@dataclass(frozen=True, eq=False)
class Sight:
    """What the rules look at.

    Attributes:
        layers: What each layer predicts.
        paths: The algorithms on the same prompts.
        labels: Of the prompts.
        shares: Bootstrap weights of the prompts.
        foils: Makes paths that no layers are called by, and that no sum of two algorithms may be named beside.
    """

    layers: Layers
    paths: Sequence[Path]
    labels: Labels
    shares: Float[Tensor, "resample batch"]
    foils: Callable[[], Sequence[Path]] = tuple

    @cached_property
    def loudness(self) -> Float[Tensor, " layer"]:
        """Mean squared prediction of each layer in units of the mean squared label."""
        return self.layers.square().sum((1, 2)) / self.labels.square().sum()

    @cached_property
    def speaking(self) -> list[int]:
        """Layers that say anything."""
        return [i for i, loud in enumerate(self.loudness.tolist()) if loud >= SPEAKS]

    @property
    def said(self) -> Layers:
        """What they predict."""
        return self.layers[self.speaking]

    @cached_property
    def matches(self) -> dict[str, Match]:
        """The nearest convention of each algorithm to the layers that speak, the nearest algorithm first."""
        return nearest(self.said, self.paths, self.labels)

    @cached_property
    def progress(self) -> Float[Tensor, " layer"]:
        """Progress of every layer on the path of the nearest algorithm; 0 for those that say nothing."""
        found = torch.zeros_like(self.loudness)
        found[self.speaking] = self.best.progress
        return found

    @cached_property
    def winner(self) -> str:
        """The nearest algorithm, or the simplest of those that are as near.

        Least squares at once needs nothing on the way, and gradient descent no memory of the step before.
        """
        first = next(iter(self.matches))
        if self._at_once(first):
            return "ols"
        return "gd" if first in GRADIENT and "gd" in self.rivals_of(first) else first

    def _at_once(self, first: str) -> bool:
        """Whether least squares at once is as near as the nearest algorithm."""
        share, more = _AS_GOOD
        limit = (1 + share) * self.matches[first].misfit + more
        at_once = self.matches.get("ols")
        if at_once is None or at_once.misfit > limit:
            return False
        return bool(at_once.scales.max() <= _GROWN * at_once.scales.min())  # else something advances, whatever it is

    @property
    def best(self) -> Match:
        """Its match."""
        return self.matches[self.winner]

    @property
    def skill(self) -> float:
        """Share of what the layers say that the nearest algorithm explains."""
        return 1 - self.best.misfit / self.loudness[self.speaking].mean().item()

    @cached_property
    def alike(self) -> float:
        """How alike successive layers are in what the nearest algorithm leaves of them: 0 for noise, 1 for the same.

        What they share is no noise of a read-out but something that they hold and no algorithm here says.
        """
        return self._alike(self.best)

    def _alike(self, match: Match) -> float:
        left = (self.said - match.predictions).flatten(1)
        if len(left) < 2:
            return 0.0
        sizes = left.norm(dim=1)
        return ((left[1:] * left[:-1]).sum() / (sizes[1:] * sizes[:-1]).sum().clamp(min=1e-300)).clamp(min=0).item()

    @cached_property
    def blend(self) -> Blend:
        """The nearest sum of two algorithms."""
        return nearest_blend(self.said, self.paths, self.labels)

    @cached_property
    def foil(self) -> Match | None:
        """The nearest of the foils; None without any."""
        foils = self.foils()
        return next(iter(nearest(self.said, foils, self.labels).values())) if foils else None

    @property
    def blend_skill(self) -> float:
        """Share of what the layers say that it explains."""
        return 1 - self.blend.misfit / self.loudness[self.speaking].mean().item() if self.speaking else 0.0

    @cached_property
    def leans(self) -> dict[str, Lean]:
        """How far the layers lie from the nearest algorithm towards each other one."""
        return self._leans(self.winner)

    def _leans(self, name: str) -> dict[str, Lean]:
        return {
            other: lean(self.said, self.matches[name], match, self.labels, self.shares)
            for other, match in self.matches.items()
            if other != name
        }

    def rivals_of(self, name: str, leans: Mapping[str, Lean] | None = None) -> list[str]:
        """Algorithms that the layers are not clearly farther from than from this one; none beside least squares."""
        if name == "ols":
            return []
        match, leans = self.matches[name], self._leans(name) if leans is None else leans
        alike = self._alike(match)
        margin = max(CLEAR * alike * match.misfit, min(LEAST, FARTHER * match.misfit))
        share, more = KIN
        among_kin = max(margin, share * match.misfit + more)

        def needed(other: str) -> float:
            return among_kin if name in GRADIENT and other in GRADIENT else margin

        return [
            other
            for other, found in leans.items()
            if not _excluded(found, alike) or self.matches[other].misfit - match.misfit < needed(other)
        ]

    @cached_property
    def rivals(self) -> list[str]:
        """Those of the nearest algorithm, but for its kin."""
        return [name for name in self._near if not self.are_kin(name)]

    @cached_property
    def kin(self) -> list[str]:
        """Other methods of gradients that the layers are as near to as to the nearest algorithm, if it is one."""
        return [name for name in self._near if self.are_kin(name)]

    @cached_property
    def same(self) -> list[str]:
        """Algorithms that predict the same as the nearest one where the layers stand."""
        return [name for name, found in self.leans.items() if found.same]

    @cached_property
    def nearest_first(self) -> list[str]:
        """All algorithms by misfit, but of those that predict the same as the nearest one this one first."""
        same = {self.winner, *self.same}

        def place(name: str) -> tuple[float, bool]:
            return self.matches[self.winner if name in same else name].misfit, name != self.winner

        return sorted(self.matches, key=place)

    @cached_property
    def _near(self) -> list[str]:
        return self.rivals_of(self.winner, self.leans)

    def are_kin(self, name: str) -> bool:
        """Whether an algorithm and the nearest one are both methods of gradients."""
        return name in GRADIENT and self.winner in GRADIENT

    @property
    def behind(self) -> float:
        """How far, at most, a later layer stands behind an earlier one on the way."""
        return (self.progress.cummax(0).values - self.progress).max().item()

    @cached_property
    def moving(self) -> list[int]:
        """Layers between the start and the end of the nearest algorithm's path."""
        low, high = MOVING
        return [i for i, progress in enumerate(self.progress.tolist()) if low < progress < high]

    def references(self, names: Sequence[str]) -> dict[str, Layers]:
        """What algorithms say at the point of their paths nearest to each layer; nothing where the layer is silent."""
        found = {}
        for name in names:
            said = torch.zeros_like(self.layers)
            if self.speaking and name in self.matches:
                said[self.speaking] = self.matches[name].predictions
            found[name] = said
        return found

    @cached_property
    def chance(self) -> float:
        """Share of what the layers say that the nearest algorithm explains when it has seen other prompts."""
        elsewhere = self.best.predictions.roll(1, dims=1)
        return 1 - ((self.said - elsewhere) ** 2).sum().item() / self.said.square().sum().item()

    def explained_by(self, name: str) -> float:
        """Share of what the layers say that an algorithm explains under the best of its conventions, none turned.

        0 if they say nothing.
        """
        if not self.speaking:
            return 0.0
        own = [path for path in self.paths if path.algorithm == name]
        misfit = nearest_as_given(self.said, own, self.labels)[name].misfit
        return 1 - misfit / self.loudness[self.speaking].mean().item()

    def values(self, layers: Sequence[int]) -> list[float]:
        """The nearest algorithm's parameter at layers that speak."""
        return [self.best.values[self.speaking.index(layer)] for layer in layers]

    @cached_property
    def law(self) -> Trend:
        """How the nearest algorithm's parameter moves over the layers on the way."""
        kept = [layer for layer in self.moving if layer in self.speaking]
        return fit_trend(kept, [max(step, 0.25) for step in self.values(kept)])


def _excluded(rival: Lean, alike: float) -> bool:
    """Whether layers are clearly nearer to the first of two algorithms.

    Where the rest is noise, it is enough that they may be at the first and cannot be at the second: nothing is between.
    """
    low, high = rival.ci
    return high <= LEAN or (alike <= NOISE and low <= 0 and high < 1)
