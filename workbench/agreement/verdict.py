"""Which algorithm the layers run: the nearest one, if it is near, alone in that, and advances from layer to layer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.agreement.hypotheses import Path
from workbench.agreement.matching import Blend, Labels, Layers, Lean, Match, lean, nearest, nearest_blend
from workbench.agreement.record import Advance, Nearness, Verdict
from workbench.agreement.trend import Trend, fit_trend
from workbench.baselines import BASELINES

SPEAKS = 0.02
"""Mean squared prediction, in units of the mean squared label, from which on a layer says anything."""
SKILL = 0.85
"""Share of what the layers say that the nearest algorithm must explain."""
LEAN = 0.5
"""How far towards a rival, at most, the layers may lie from the nearest algorithm, upper end of the interval."""
CLEAR = 0.05
"""How much larger a rival's misfit must be, as a share of what the nearest algorithm leaves of the layers alike."""
BLEND = 0.8
"""Misfit of a sum of two algorithms, as a share of the best single one's, from which on both are at work."""
SMALLEST_SHARE = 0.15
"""Weight that each part of a blend must have, in layers that speak."""
STEP_BACK = 0.05
"""How much of the way a later layer may fall behind an earlier one."""
MOVING = (0.02, 0.995)
"""Progress between which a layer tells how far an iteration has come."""
_ADVANCING = (0.02, 0.998)
"""The same where only an advance is told."""
RISE = 0.02
"""Progress by which the layers of an iteration must differ."""
_GROWN = 1.3
"""Largest over smallest scale of layers that are all said to have converged."""
_LEAST = 2e-5
"""Share of the labels' square below which a difference of misfits decides nothing."""
_AS_GOOD = (0.02, 2e-4)
"""A misfit is as good as another up to this share of it and this much more."""


@dataclass(frozen=True, eq=False)
class Sight:
    """What the rules look at.

    Attributes:
        layers: What each layer predicts.
        paths: The algorithms on the same prompts.
        labels: Of the prompts.
        shares: Bootstrap weights of the prompts.
    """

    layers: Layers
    paths: Sequence[Path]
    labels: Labels
    shares: Float[Tensor, "resample batch"]

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
        """The nearest algorithm; least squares at once if it is as near, since it needs nothing on the way."""
        first = next(iter(self.matches))
        share, more = _AS_GOOD
        limit = (1 + share) * self.matches[first].misfit + more
        at_once = self.matches.get("ols")
        if at_once is None or at_once.misfit > limit:
            return first
        grown = at_once.scales.max() > _GROWN * at_once.scales.min()  # then something advances, whatever it is
        return first if grown else "ols"

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
        left = (self.said - self.best.predictions).flatten(1)
        if len(left) < 2:
            return 0.0
        sizes = left.norm(dim=1)
        return ((left[1:] * left[:-1]).sum() / (sizes[1:] * sizes[:-1]).sum().clamp(min=1e-300)).clamp(min=0).item()

    @property
    def margin(self) -> float:
        """By how much a rival's misfit must be larger."""
        return max(CLEAR * self.alike * self.best.misfit, _LEAST)

    @cached_property
    def blend(self) -> Blend:
        """The nearest sum of two algorithms."""
        return nearest_blend(self.said, self.paths, self.labels)

    @cached_property
    def leans(self) -> dict[str, Lean]:
        """How far the layers lie from the nearest algorithm towards each other one."""
        return {
            name: lean(self.said, self.best, match, self.labels, self.shares)
            for name, match in self.matches.items()
            if name != self.winner
        }

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

    def values(self, layers: Sequence[int]) -> list[float]:
        """The nearest algorithm's parameter at layers that speak."""
        return [self.best.values[self.speaking.index(layer)] for layer in layers]

    @cached_property
    def law(self) -> Trend:
        """How the nearest algorithm's parameter moves over the layers on the way."""
        kept = [layer for layer in self.moving if layer in self.speaking]
        return fit_trend(kept, [max(step, 0.25) for step in self.values(kept)])


def weigh(sight: Sight, untrained: Sight | None = None) -> Verdict:
    """Name the nearest algorithm, or abstain with the reason.

    The rules, in order: all numbers are finite; some layer speaks; no sum of two unlike algorithms is much nearer; the
    nearest algorithm explains most of what the layers say; they lie clearly nearer to it than to any other; it never
    falls back from one layer to the next, and an iteration moves at all; the untrained model does not say the same.
    Newton's iteration from alpha I is gradient descent with 2^k steps, and is called so.
    """
    if not bool(sight.layers.isfinite().all()):
        sentence = (
            "No verdict: some layers predict NaN or infinity. Look at the model's weights, or at an earlier checkpoint."
        )
        return Verdict(None, True, sentence, (), (), "some layers predict NaN or infinity")
    if not sight.speaking:
        sentence = "No verdict: no layer says anything yet: all predict about zero."
        return Verdict(None, True, sentence, (), (), "no layer says anything yet")
    blended = _blended(sight, untrained)
    if blended is not None:
        return blended
    doubt = _doubt(sight) or _null(sight, untrained)
    if doubt:
        return _abstain(sight, doubt)
    return _named(sight)


def _blended(sight: Sight, untrained: Sight | None) -> Verdict | None:
    blend = sight.blend
    if blend.misfit > BLEND * sight.best.misfit or sight.winner == "ols":
        return None
    shares = blend.shares.median(0).values
    if shares.min() < SMALLEST_SHARE:
        return None
    skill = 1 - blend.misfit / sight.loudness[sight.speaking].mean().item()
    again = untrained is not None and bool(untrained.speaking) and untrained.blend.parts == blend.parts
    if skill < SKILL or sight.behind > STEP_BACK or again:
        return _abstain(sight, "a sum of two algorithms is nearest, but it explains too little, or falls back")
    first, second = (_label(part) for part in blend.parts)
    alone = f"{_label(sight.winner)} alone has {_percent(sight.best.misfit)}"
    sentence = (
        f"The layers say a sum of two algorithms: about {shares[0]:.2f} × {first} and {shares[1]:.2f} × {second}. Its "
        f"misfit is {_percent(blend.misfit)} of the labels' square; {alone}."
    )
    return Verdict("mixture", False, sentence, tuple(_evidence(sight)), blend.parts, None, None, _nearness(sight))


def _doubt(sight: Sight) -> str:
    """Why the nearest algorithm cannot be named, or ""."""
    name, best = _label(sight.winner), sight.best
    if sight.skill < SKILL:
        return f"even the nearest algorithm, {name}, explains only {_percent(sight.skill)} of what the layers say"
    rivals = _rivals(sight)
    if rivals:
        told = ", ".join(f"{_label(r)} ({_percent(sight.matches[r].misfit)})" for r in rivals)
        decides = "; ".join(dict.fromkeys(_DECIDES[r] for r in (sight.winner, *rivals) if r in _DECIDES))
        return (
            f"{name} is nearest (misfit {_percent(best.misfit)} of the labels' square), but not clearly nearer than "
            f"{told}, "
            f"beside what no algorithm explains: of the rest, successive layers share {_percent(sight.alike)}"
            + (f". What would tell: {decides}" if decides else "")
        )
    if sight.behind > STEP_BACK:
        return f"a later layer stands {_percent(sight.behind)} of the way behind an earlier one on the path of {name}"
    rise = (best.progress.max() - best.progress.min()).item()
    if best.path.iterates and sight.winner != "ridge" and (len(sight.moving) < 2 or rise < RISE):
        return f"{name} is nearest, but no iteration is seen: all layers that speak stand at about the same step"
    return ""


def _null(sight: Sight, untrained: Sight | None) -> str:
    """Why the untrained model forbids a name, or ""."""
    if untrained is None or not untrained.speaking or _doubt(untrained) or untrained.winner != sight.winner:
        return ""
    return f"the layers of the untrained model say {_label(sight.winner)} as well"


def _rivals(sight: Sight) -> list[str]:
    """Algorithms that the layers are not clearly farther from; none beside least squares at once."""
    if sight.winner == "ols":
        return []
    return [
        name
        for name, found in sight.leans.items()
        if found.ci[1] > LEAN or sight.matches[name].misfit - sight.best.misfit < sight.margin
    ]


_DECIDES = {
    "cg": "prompts whose covariance has few distinct eigenvalues, where conjugate gradient ends early",
    "ridge": "ill-conditioned prompts, on which ridge lets go of small eigenvalues more slowly than a number of steps",
    "newton": "ill-conditioned prompts, since Newton from αS filters by λ² where gradient descent filters by λ",
    "gd_plus_plus": "inputs far from their usual scale, on which GD++ changes the inputs themselves",
}

_MULTIPLYING = ("Newton's iteration from αI, whose k-th iterate is 2^k such steps",)
_EQUALS = {
    "newton": ("gradient descent on the squared system S² w = S m with step counts that double",),
    "cg": ("L-BFGS and BFGS with exact line search",),
    "ols": ("any solver that has converged within one layer",),
    "ridge": ("recursive least squares, and the Bayes predictor of noise with that strength",),
    "gd": ("gradient flow, for small step sizes",),
}


def _named(sight: Sight) -> Verdict:
    multiplies = sight.winner == "gd" and sight.law.shape == "geometric"
    equals = _MULTIPLYING if multiplies else _EQUALS.get(sight.winner, ())
    told = f" It cannot be told from {', '.join(equals)}." if equals else ""
    sentence = f"{_seen(sight)}. {_percent(sight.skill)} of what the layers say is explained.{told}"
    evidence = tuple(_evidence(sight))
    return Verdict(sight.winner, False, sentence, evidence, equals, None, _advance(sight), _nearness(sight))


def _abstain(sight: Sight, reason: str) -> Verdict:
    found = _advance(sight)
    sentence = f"No verdict: {reason}. {_coarse(found)}".strip()
    return Verdict(None, True, sentence, tuple(_evidence(sight)), (), reason, found, _nearness(sight))


def _advance(sight: Sight) -> Advance | None:
    """How fast the layers advance, in steps of gradient descent; None unless they are filters that do."""
    if sight.skill < SKILL or not sight.best.path.iterates or "gd" not in sight.matches:
        return None
    near = sight.matches["gd"]
    low, high = _ADVANCING
    kept = [i for i, progress in enumerate(near.progress.tolist()) if low < progress < high]
    steps = [near.values[i] for i in kept]
    if len(kept) < 3 or any(b < a for a, b in pairwise(steps)):
        return None
    layers = tuple(sight.speaking[i] for i in kept)
    law = fit_trend(layers, [max(step, 0.25) for step in steps])
    return Advance(near.path.convention, layers, tuple(steps), law.shape, law.rate)


def _coarse(found: Advance | None) -> str:
    """What is certain although no algorithm is named."""
    if found is None:
        return ""
    rates = {"linear": f"about {found.rate or 0:.2g} more", "geometric": f"about {found.rate or 0:.2g} times as many"}
    told = f", {rates[found.law]} a layer" if found.law in rates else ""
    where = ", ".join(map(_number, found.steps))
    return (
        f"Certain is a filter of the prefix's spectrum that advances as gradient descent would at {where} steps "
        f"(layers {found.layers[0]} to {found.layers[-1]}){told}."
    )


def _seen(sight: Sight) -> str:
    """Where the layers stand on the path of the nearest algorithm."""
    path = sight.best.path
    kept = [layer for layer in sight.moving if layer in sight.speaking] or sight.speaking
    where = ", ".join(map(_number, sight.values(kept)))
    parameter = f"{path.parameter} {where}" if path.parameter else "the solution"
    seen = f"{_label(sight.winner)} ({path.convention}) is nearest: layers {kept[0]} to {kept[-1]} stand at {parameter}"
    law = sight.law
    if sight.winner != "gd" or not law.rate:
        return seen
    if law.shape == "linear":
        return f"{seen}, about {law.rate:.2g} more a layer"
    iterations = math.log2(law.rate)
    return f"{seen}, about {law.rate:.2g} times as many a layer, as {iterations:.2g} iterations of Newton from αI would"


def _evidence(sight: Sight) -> list[str]:
    silent = [str(i) for i in range(len(sight.layers)) if i not in sight.speaking]
    told = [f"Layers that say nothing yet: {', '.join(silent) or 'none'}."]
    near = ", ".join(f"{_label(name)} {_percent(match.misfit)}" for name, match in sight.matches.items())
    told.append(f"Mean squared distance to the nearest point of each algorithm's path, of the labels' square: {near}.")
    leans = ", ".join(
        f"{_label(name)} {found.share:.2f} [{found.ci[0]:.2f}, {found.ci[1]:.2f}]"
        for name, found in sight.leans.items()
    )
    told.append(f"How far the layers lie from {_label(sight.winner)} (0) towards each other algorithm (1): {leans}.")
    by_chance = f"having seen the prompt before instead, {_percent(sight.chance)}"
    name = _label(sight.winner)
    told.append(
        f"Of what {name} leaves of the layers, successive ones share {_percent(sight.alike)}; 0% would be noise."
    )
    told.append(f"Of what the layers say, {name} explains {_percent(sight.skill)}; {by_chance}.")
    return told


def _nearness(sight: Sight) -> dict[str, Nearness]:
    speaking = tuple(sight.speaking)
    return {name: _near(match, speaking, sight.leans.get(name)) for name, match in sight.matches.items()}


def _near(match: Match, layers: tuple[int, ...], found: Lean | None) -> Nearness:
    return Nearness(
        layers=layers,
        convention=match.path.convention,
        parameter=match.path.parameter,
        values=match.values,
        misfits=tuple(match.misfits.tolist()),
        progress=tuple(match.progress.tolist()),
        lean=0.0 if found is None else found.share,
        lean_ci=(0.0, 0.0) if found is None else found.ci,
    )


def _number(value: float) -> str:
    """Three digits, and all before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _label(name: str) -> str:
    return BASELINES[name].label
