"""Where on each algorithm's path every layer stands, and how far from it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.agreement.path import Path

Layers = Float[Tensor, "layer batch scored"]
Labels = Float[Tensor, "batch scored"]

CONTEST, CONTEST_MORE = 1.5, 0.005
"""Algorithms whose misfit is at most this many times the least one's, and this much of the labels' square more, have
their conventions turned, each scale of step sizes apart."""
STARTS = 4
"""Conventions of each scale from which turning starts."""
_TURNS = 10
"""Turns at most."""
_SETTLED, _SETTLED_AT = 0.003, 3e-7
"""They end when the gain is a smaller share of the misfit than this, and of the labels' square than that: under noise
both matter."""
_NUDGE = 1e-4
"""Logarithm by which slopes are taken."""
_LONGEST = 0.4
"""Logarithm by which a turn goes at most."""
_HOPS = tuple(1.05**i for i in range(-15, 16) if i)
"""Multiples of the first number at which another hollow is looked for."""
_HOPPED = 3
"""How many of them are turned on from."""
_SAME, _SAME_BESIDE = 1e-14, 1e-8
"""Mean squared distance up to which two algorithms predict the same: of the labels' square, as finely as float32 tells,
or of the misfit of the nearer one. The layers are then ten thousand times as far from both as these from each other,
and noise alone would say which is nearer. Those that coincide were seen to differ by 5e-12 of the misfit, others by
.003."""
_SMALLER = 0.001
"""Share of the misfit that a smaller first number, at more steps, must gain: else one would go on to flows for ever."""


@dataclass(frozen=True, eq=False)
class Match:
    """Every layer beside the nearest value of one path.

    Attributes:
        path: The algorithm under one convention.
        places: Index of the value nearest to each layer.
        scales: What the predictions there are multiplied by, at least 0: a read-out fitted to labels stretches what has
            gone half the way.
        misfits: Mean squared difference then, in units of the mean squared label.
        along: Of a match that was turned, the path with all its values; it has only those near the layers itself.
    """

    path: Path
    places: Int[Tensor, " layer"]
    scales: Float[Tensor, " layer"]
    misfits: Float[Tensor, " layer"]
    along: Path | None = None

    @property
    def misfit(self) -> float:
        """Mean over layers."""
        return self.misfits.mean().item()

    @property
    def values(self) -> tuple[float, ...]:
        """The path's parameter at each layer."""
        return tuple(self.path.values[place] for place in self.places.tolist())

    @cached_property
    def predictions(self) -> Layers:
        """What the algorithm predicts where each layer stands, scaled."""
        return self.scales[:, None, None] * self.path.predictions[self.places]

    @cached_property
    def progress(self) -> Float[Tensor, " layer"]:
        """How much of the way from nothing to the path's end is behind each layer, by squared distance to the end.

        Of a path without half-way: whether the layer speaks at all.
        """
        if self.path.end is None:
            return (self.places > 0).double()
        return how_far(self.path.predictions[self.places], self.path.end)


def how_far(said: Layers, end: Labels | None) -> Float[Tensor, " layer"]:
    """How much of the way from nothing to the end is behind what layers say, by squared distance; all without one."""
    if end is None:
        return torch.ones(len(said), dtype=said.dtype)
    return 1 - ((said - end) ** 2).sum((1, 2)) / end.square().sum()


def nearest(layers: Layers, paths: Sequence[Path], labels: Labels) -> dict[str, Match]:
    """For each algorithm, its nearest convention, the same for all layers; the nearest algorithm first.

    Numbers in the conventions of the nearest algorithm, and of those that come close to it, are turned on from where
    the paths have them until the layers come no nearer.

    Args:
        layers: What each layer predicts.
        paths: On the same prompts and positions.
        labels: Of them.
    """
    matches = [_match(layers, path, labels) for path in paths]
    limit = CONTEST * min(match.misfit for match in matches) + CONTEST_MORE
    best = _best(matches)
    turned = dict(best)
    for start in _starts(layers, [match for match in matches if match.misfit <= limit and match.path.knobs], labels):
        found, name = _turn(layers, start, labels), start.path.algorithm
        turned[name] = min(found, turned[name], key=_misfit)
    turned = {name: _hopped(layers, match, labels) for name, match in turned.items()}
    whole = {name: match if match.along is None else _along(layers, match, labels) for name, match in turned.items()}
    return dict(sorted(whole.items(), key=lambda item: item[1].misfit))


def nearest_as_given(layers: Layers, paths: Sequence[Path], labels: Labels) -> dict[str, Match]:
    """The same with no number turned: quick."""
    return _best([_match(layers, path, labels) for path in paths])


def _best(matches: Sequence[Match]) -> dict[str, Match]:
    best: dict[str, Match] = {}
    for match in matches:
        best[match.path.algorithm] = min(match, best.get(match.path.algorithm, match), key=_misfit)
    return best


def _starts(layers: Layers, matches: Sequence[Match], labels: Labels) -> list[Match]:
    """Where turning starts: of each scale, those that are nearest after one turn.

    Half the step size at twice the steps is nearly the same, so that each choice of steps has a hollow of its own.
    """
    hollows: dict[tuple[int, tuple[float, ...]], Match] = {}
    for match in matches:
        hollow = (id(match.path.remade), match.values)
        hollows[hollow] = min(match, hollows.get(hollow, match), key=_misfit)
    kept: dict[int, list[tuple[float, Match]]] = {}
    for (scale, _), match in hollows.items():
        turned = _turn_once(layers, match.path, match, labels) or match
        kept.setdefault(scale, []).append((turned.misfit, match))
    nearest_first = [sorted(scale, key=lambda pair: pair[0])[:STARTS] for scale in kept.values()]
    return [match for scale in nearest_first for _, match in scale]


def _misfit(match: Match) -> float:
    return match.misfit


def _match(layers: Layers, path: Path, labels: Labels) -> Match:
    known = path.predictions.flatten(1)
    along, length = layers.flatten(1) @ known.mT, known.square().sum(1)
    scales = torch.where(length > 0, along / length.clamp(min=1e-300), 1.0).clamp(min=0)
    apart = layers.square().sum((1, 2))[:, None] - scales * (2 * along - scales * length)
    found = apart.min(1)
    chosen = scales.gather(1, found.indices[:, None])[:, 0]
    return Match(path, found.indices, chosen, found.values.clamp(min=0) / labels.square().sum())


def _turn(layers: Layers, match: Match, labels: Labels, along: Path | None = None) -> Match:
    """A match with the convention's numbers turned to where the layers are nearest: Gauss and Newton, in logarithms.

    Args:
        layers: What each layer predicts.
        match: Where to start.
        labels: Of the prompts.
        along: The path with all its values; that of the match if None.
    """
    path, best = along or match.path, match
    for _ in range(_TURNS):
        nearer = _turn_once(layers, path, best, labels)
        if nearer is None:
            break
        settled = best.misfit - nearer.misfit < min(_SETTLED * best.misfit, _SETTLED_AT)
        best = nearer
        if settled:
            break
    return best if best is match and along is None else replace(best, along=path)


def _hopped(layers: Layers, match: Match, labels: Labels) -> Match:
    """The nearest of the hollows beside a turned match, of paths whose values are chosen among many.

    Half the step size at twice the steps is nearly the same, but no turn leads from one to the other.
    """
    path, best = match.along, match
    while path is not None and path.whole:
        beside = sorted((_beside(layers, path, best, hop, labels) for hop in _HOPS), key=_misfit)[:_HOPPED]
        found = min((_turn(layers, each, labels, path) for each in beside), key=_misfit)
        smaller = found.path.knobs[0] < best.path.knobs[0]
        if found.misfit >= (1 - _SMALLER * smaller) * best.misfit:
            break
        best = found
    return best


def _beside(layers: Layers, path: Path, match: Match, hop: float, labels: Labels) -> Match:
    """A match with the first number multiplied, and values divided, by as much."""
    first, *others = match.path.knobs
    ideal = [min(value / hop, path.values[-1]) for value in match.values]
    values = sorted({0.0, *(float(whole) for value in ideal for whole in (math.floor(value), math.ceil(value)))})
    return _match(layers, path.turned((first * hop, *others), values), labels)


def _along(layers: Layers, match: Match, labels: Labels) -> Match:
    """A turned match on the whole of its path: at all values that this had before, and those where the layers stand."""
    assert match.along is not None
    values = sorted({*match.along.values, *match.values})
    return _match(layers, match.along.turned(match.path.knobs, values), labels)


def _turn_once(layers: Layers, path: Path, match: Match, labels: Labels) -> Match | None:
    """One turn that brings the layers nearer, or None."""
    knobs = match.path.knobs
    steps = sorted(set(match.values))
    places = [steps.index(value) for value in match.values]
    here = path.turned(knobs, steps).predictions[places].flatten(1)
    scales = match.scales[:, None]
    slopes = []
    for i in range(len(knobs)):
        nudged = tuple(k * (1 + _NUDGE) if i == j else k for j, k in enumerate(knobs))
        slope = scales * (path.turned(nudged, steps).predictions[places].flatten(1) - here) / _NUDGE
        slopes.append((slope - _part_along(slope, here)).flatten())
    slope = torch.stack(slopes)
    turn = torch.linalg.pinv(slope @ slope.mT, hermitian=True) @ (slope @ (layers.flatten(1) - scales * here).flatten())
    turn = turn * min(1.0, _LONGEST / max(turn.abs().max().item(), _LONGEST))
    around = _around(path, match)
    for share in (1.0, 0.3):
        turned = tuple(
            max(k * math.exp(share * by), low) for k, by, low in zip(knobs, turn.tolist(), path.least, strict=True)
        )
        found = _match(layers, path.turned(turned, around), labels)
        if found.misfit < match.misfit:
            return found
    return None


def _part_along(a: Float[Tensor, "layer n"], b: Float[Tensor, "layer n"]) -> Float[Tensor, "layer n"]:
    """The part of each row of a that a change of scale of b would make."""
    return (a * b).sum(1, keepdim=True) / b.square().sum(1, keepdim=True).clamp(min=1e-300) * b


def _around(path: Path, match: Match) -> list[float]:
    """Values of the path's parameter near those where the layers stand, and the first."""
    if path.whole:
        near = {near for value in match.values for near in _whole_numbers(value)}
        return sorted({0.0, *(value for value in near if 0 < value <= path.values[-1])})
    places = [path.values.index(value) for value in match.values]
    near = {min(max(place + step, 0), len(path.values) - 1) for place in places for step in range(-3, 4)}
    return [path.values[i] for i in sorted(near | {0})]


def _whole_numbers(near: float) -> list[float]:
    """Those within an eighth of it, three to each side at least and twelve at most."""
    most = max(3.0, near / 8)
    return [float(round(near + most * i / 12)) for i in range(-12, 13)]


@dataclass(frozen=True)
class Lean:
    """Which of two matches the layers are nearer to.

    Attributes:
        share: How far from the first towards the second the layers lie, as a share of the way: 0 on the first, 1 on
            the second, .5 as near to one as to the other. Noise that knows nothing of the prompt does not move it.
        ci: Its 95% bootstrap interval over prompts.
        apart: Mean squared distance between the two, in units of the mean squared label.
        same: Whether the two predict the same, to within rounding: share and ci mean nothing then.
    """

    share: float
    ci: tuple[float, float]
    apart: float
    same: bool = False


def lean(layers: Layers, first: Match, second: Match, labels: Labels, shares: Float[Tensor, "resample batch"]) -> Lean:
    """How layers lie between two matches, all layers together.

    Args:
        layers: What each layer predicts.
        first: Where they stand on one path.
        second: Where they stand on another.
        labels: Of the prompts.
        shares: Bootstrap weights of the prompts.
    """
    way = second.predictions - first.predictions
    gone = ((layers - first.predictions) * way).sum((0, 2))
    length = way.square().sum((0, 2))
    if not length.sum() > 0:
        return Lean(0.5, (0.0, 1.0), 0.0, same=True)
    resampled = (shares @ gone) / (shares @ length)
    low, high = torch.quantile(resampled, torch.tensor([0.025, 0.975], dtype=resampled.dtype)).tolist()
    apart = (length.sum() / (labels.square().sum() * len(layers))).item()
    same = apart <= max(_SAME, _SAME_BESIDE * min(first.misfit, second.misfit))
    return Lean((gone.sum() / length.sum()).item(), (low, high), apart, same)
