"""What a verdict says in words, and the numbers beside it."""

import math
from collections.abc import Sequence
from itertools import pairwise

from workbench.agreement.matching import Lean, Match
from workbench.agreement.nulls import Nulls
from workbench.agreement.record import Advance, Nearness
from workbench.agreement.sight import SKILL, Sight
from workbench.agreement.trend import fit_trend
from workbench.baselines import BASELINES

_ADVANCING = (0.02, 0.998)
"""Progress between which a layer tells how far it has come."""

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


_KIN = {
    "momentum": "gradient descent with momentum (heavy ball)",
    "nesterov": "Nesterov's accelerated gradient descent",
    "chebyshev": "Chebyshev's iteration",
    "gd": "gradient descent",
}


def equals(sight: Sight) -> tuple[str, ...]:
    """What the nearest algorithm is by another name, and methods of gradients that are as near."""
    multiplies = sight.winner == "gd" and sight.law.shape == "geometric"
    names = _MULTIPLYING if multiplies else _EQUALS.get(sight.winner, ())
    return (*names, *(_KIN[name] for name in sight.kin))


def contest(sight: Sight) -> str:
    """What the nearest algorithm cannot be told from, and what would tell."""
    name, misfit = label(sight.winner), percent(sight.best.misfit)
    head = f"{name} is nearest (misfit {misfit} of the labels' square), but"
    if set(sight.rivals) <= set(sight.same):
        return f"{head} its layers cannot tell {name} from {_listed(sight.rivals, 'or')}: they predict the same here"
    told = ", ".join(f"{label(r)} ({percent(sight.matches[r].misfit)})" for r in sight.rivals)
    shared = f": of the rest, successive layers share {percent(sight.alike)}" if len(sight.speaking) > 1 else ""
    return f"{head} not clearly nearer than {told}, beside what no algorithm explains{shared}{_decides(sight)}"


def _decides(sight: Sight) -> str:
    """Which measurement would tell the nearest algorithm from its rivals, but for those that predict the same."""
    asked = (sight.winner, *(rival for rival in sight.rivals if rival not in sight.same))
    told = "; ".join(dict.fromkeys(_DECIDES[r] for r in asked if r in _DECIDES))
    return f". What would tell: {told}" if told else ""


def _listed(names: Sequence[str], last: str) -> str:
    *others, end = map(label, names)
    return f"{', '.join(others)} {last} {end}" if others else end


def advance(sight: Sight) -> Advance | None:
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


def coarse(found: Advance | None) -> str:
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


def seen(sight: Sight) -> str:
    """Where the layers stand on the path of the nearest algorithm."""
    path = sight.best.path
    kept = [layer for layer in sight.moving if layer in sight.speaking] or sight.speaking
    where = ", ".join(map(_number, sight.values(kept)))
    parameter = f"{path.parameter} {where}" if path.parameter else "the solution"
    seen = f"{label(sight.winner)} ({path.convention}) is nearest: layers {kept[0]} to {kept[-1]} stand at {parameter}"
    if not path.iterates and len(sight.speaking) == 1:
        return f"{seen}; nothing but this one layer says so"
    law = sight.law
    if sight.winner != "gd" or not law.rate:
        return seen
    if law.shape == "linear":
        return f"{seen}, about {law.rate:.2g} more a layer"
    iterations = math.log2(law.rate)
    return f"{seen}, about {law.rate:.2g} times as many a layer, as {iterations:.2g} iterations of Newton from αI would"


def evidence(sight: Sight, nulls: Nulls) -> tuple[str, ...]:
    """The facts behind a verdict, one sentence each."""
    name = label(sight.winner)
    silent = [str(i) for i in range(len(sight.layers)) if i not in sight.speaking]
    near = ", ".join(f"{label(each)} {percent(sight.matches[each].misfit)}" for each in sight.nearest_first)
    return (
        f"Layers that say nothing yet: {', '.join(silent) or 'none'}.",
        f"Mean squared distance to the nearest point of each algorithm's path, of the labels' square: {near}.",
        *_of_leans(sight),
        *_of_the_rest(sight),
        f"Of what the layers say, {name} explains {percent(sight.skill)}; having seen the prompt before instead, "
        f"{percent(sight.chance)}.",
        *_of_nulls(sight, nulls),
    )


def _of_leans(sight: Sight) -> list[str]:
    name, leans = label(sight.winner), {each: found for each, found in sight.leans.items() if not found.same}
    told = ", ".join(
        f"{label(each)} {found.share:.2f} [{found.ci[0]:.2f}, {found.ci[1]:.2f}]" for each, found in leans.items()
    )
    towards = [f"How far the layers lie from {name} (0) towards each other algorithm (1): {told}."] if told else []
    if not sight.same:
        return towards
    say = "says" if len(sight.same) == 1 else "say"
    return [*towards, f"{_listed(sight.same, 'and')} {say} the same as {name} here, so that no layer is nearer to one."]


def _of_the_rest(sight: Sight) -> list[str]:
    """What successive layers share of it; of one layer alone there is nothing to say."""
    if len(sight.speaking) < 2:
        return []
    shared = f"successive ones share {percent(sight.alike)}; 0% would be noise"
    return [f"Of what {label(sight.winner)} leaves of the layers, {shared}."]


def _of_nulls(sight: Sight, nulls: Nulls) -> list[str]:
    asked = {} if nulls.relabelled is None else {"the same model asked with labels of other prompts": nulls.relabelled}
    told = [_of_null(name, null, sight.winner) for name, null in {**nulls.strangers, **asked}.items()]
    return [f"Nulls, of whose layers {label(sight.winner)} at its nearest explains: {', '.join(told)}."] if told else []


def _of_null(name: str, null: Sight, algorithm: str) -> str:
    return f"{name} {percent(null.explained_by(algorithm))}" if null.speaking else f"{name} nothing, as they are silent"


def nearness(sight: Sight) -> dict[str, Nearness]:
    """Where the layers stand on the path of every algorithm."""
    speaking = tuple(sight.speaking)
    return {name: _near(sight.matches[name], speaking, sight.leans.get(name)) for name in sight.nearest_first}


def _near(match: Match, layers: tuple[int, ...], found: Lean | None) -> Nearness:
    share, ci = (0.0, (0.0, 0.0)) if found is None else (found.share, found.ci)
    same = found is not None and found.same
    return Nearness(
        layers=layers,
        convention=match.path.convention,
        parameter=match.path.parameter,
        values=match.values,
        misfits=tuple(match.misfits.tolist()),
        progress=tuple(match.progress.tolist()),
        lean=None if same else share,
        lean_ci=(None, None) if same else ci,
    )


def _number(value: float) -> str:
    """Three digits, and all before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def percent(share: float) -> str:
    """Three digits."""
    return f"{100 * share:.3g}%"


def label(name: str) -> str:
    """Of an algorithm, for people."""
    return BASELINES[name].label
