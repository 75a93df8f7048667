"""What a layer may hold if the model ran this algorithm under that convention, all along the algorithm's parameter."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.agreement.asked import Asked, Known
from workbench.agreement.direct_paths import direct_paths
from workbench.agreement.path import Path
from workbench.baselines import Prefixes

GD_STEPS = (*map(float, range(25)), *(float(round(2 ** (i / 6))) for i in range(28, 85)))
"""Every step to 24, then six an octave to 16 384."""
_LONG = tuple(i / 4 for i in range(97))
_WHOLE = tuple(float(i) for i in range(25))
_MOMENTUM_STEPS = (*map(float, range(25)), 28.0, 32.0, 40.0, 48.0, 64.0)
_LEAST_MOMENTUM = (0.0, 0.43)
"""Momentum of .3 at least: with less it is gradient descent."""
_GD_PLUS_PLUS_STEPS = 12
_SHORT = (*map(float, range(33)), 40.0, 48.0, 64.0)
_RIDGES = (0.3, 1.0, 3.0, 10.0)
_FACTORS = (0.03, 0.07, 0.15, 0.3, 0.5, 0.65, 0.8, 0.95, 1.1, 1.3, 1.6)

Options = Callable[..., dict[str, Any]]


def paths(prefixes: Prefixes, scored: slice) -> list[Path]:
    """Every algorithm that a layer is held against.

    Scales that a transformer cannot know of a single prompt, such as lambda_max of a prefix, stand beside fixed ones:
    step sizes on the sum loss and on the mean loss, in units of the largest eigenvalue that any of the prompts has.

    Args:
        prefixes: Of the scored prompts.
        scored: Context positions.
    """
    asked = Asked(prefixes, scored)
    made = (_gd, _momentum, _nesterov, _chebyshev, _newton, _cg, _gd_plus_plus, _ridge)
    end = asked.run("ols")[0]
    iterating = (replace(path, end=end) for make in made for path in make(asked))
    return [*iterating, *direct_paths(asked)]


def ridge_losses(prefixes: Prefixes, scored: slice) -> list[Path]:
    """Steps of gradient descent on a ridge loss, whose limit is no least squares.

    As the strength vanishes they are those of gradient descent, and in the end they are ridge regression: no layers are
    called by them, but where they say as much as a sum of two algorithms, that is not what the layers run.

    Args:
        prefixes: Of the scored prompts.
        scored: Context positions.
    """
    asked = Asked(prefixes, scored)
    end = asked.run("ols")[0]
    found = []
    for told, scale, options in _scales(asked):
        knobs = [(c / scale, ridge) for c in _FACTORS[1::3] for ridge in _RIDGES]
        tell, sized = f"{told}, strength {{1:.3g}}", partial(_on_ridge_loss, options)
        found += _turned("ridge_gd", asked, tell, sized, _SHORT, knobs, (0.0, 0.0))
    return [replace(path, end=end) for path in found]


def _on_ridge_loss(sized: Options, size: float, ridge: float) -> dict[str, Any]:
    return {**sized(size), "ridge": ridge}


def _turned(
    algorithm: str,
    asked: Asked,
    convention: str | Callable[..., str],
    options: Options,
    values: Sequence[float],
    knobs: Sequence[tuple[float, ...]],
    least: tuple[float, ...] = (0.0,),
    whole: bool = False,
) -> Iterator[Path]:
    """Paths of steps of an algorithm for a few settings of its convention's numbers, which may be turned further."""
    tell = convention.format if isinstance(convention, str) else convention
    made = partial(_made, algorithm, asked, tell, options)
    for setting in knobs:
        told, known = made(setting, values)
        yield Path(algorithm, told, "steps", tuple(values), known, True, None, setting, least, made, whole)


def _made(
    algorithm: str,
    asked: Asked,
    tell: Callable[..., str],
    options: Options,
    setting: tuple[float, ...],
    steps: Sequence[float],
) -> tuple[str, Known]:
    return tell(*setting), asked.bounded(asked.filter(algorithm, steps, **options(*setting)))


def _scales(asked: Asked) -> list[tuple[str, float, Options]]:
    """What a step size is relative to, the largest eigenvalue in these units, and options from the size."""
    sums, means = asked.largest
    return [
        ("step size {0:.3g}/λmax of the prefix", 1.0, lambda c: {"relative_step_size": c}),
        ("step size {0:.3g} on the sum loss", sums, lambda c: {"step_size": c}),
        ("step size {0:.3g} on the mean loss", means, lambda c: {"step_size": c, "gradient": "mean"}),
    ]


def _gd(asked: Asked) -> Iterator[Path]:
    for told, scale, options in _scales(asked):
        knobs = [(c / scale,) for c in _FACTORS]
        yield from _turned("gd", asked, told, options, GD_STEPS, knobs, whole=True)


def _momentum(asked: Asked) -> Iterator[Path]:
    """Heavy ball. The second knob is b / (1 - b), of which any number above 0 will do."""
    for told, scale, sized in _scales(asked):
        knobs = [(c / scale, ratio) for c in (0.1, 0.2, 0.4, 0.7, 1.1, 1.6) for ratio in (0.67, 1.5, 3.0, 6.0)]
        tell, options = partial(_ball_told, told), partial(_ball, sized)
        yield from _turned("momentum", asked, tell, options, _MOMENTUM_STEPS, knobs, _LEAST_MOMENTUM)
    yield _own("momentum", asked, "step size and momentum best for each prefix")


def _ball(sized: Options, size: float, ratio: float) -> dict[str, Any]:
    return {**sized(size), "momentum": ratio / (1 + ratio)}


def _ball_told(told: str, size: float, ratio: float) -> str:
    return f"{told.format(size)}, momentum {ratio / (1 + ratio):.2g}"


def _nesterov(asked: Asked) -> Iterator[Path]:
    for told, scale, options in _scales(asked):
        knobs = [(c / scale,) for c in _FACTORS[2:9]]
        yield from _turned("nesterov", asked, f"FISTA, {told}", options, _MOMENTUM_STEPS, knobs)
    yield _own("nesterov", asked, "constant momentum, best for each prefix", kind="constant")


def _chebyshev(asked: Asked) -> Iterator[Path]:
    """Knobs are the lower end of the interval, and its length over that."""
    sums, _ = asked.largest
    knobs = [(share * sums / (1 + ratio), ratio) for share in (0.7, 1.0) for ratio in (3.0, 10.0, 30.0, 100.0)]
    yield from _turned("chebyshev", asked, _interval_told, _interval, _WHOLE, knobs, (0.0, 1.0))
    yield _own("chebyshev", asked, "between the extreme eigenvalues of each prefix")


def _interval(low: float, ratio: float) -> dict[str, Any]:
    return {"lower": low, "upper": low * (1 + ratio)}


def _interval_told(low: float, ratio: float) -> str:
    return f"between {low:.3g} and {low * (1 + ratio):.3g}"


def _own(name: str, asked: Asked, told: str, **options: Any) -> Path:
    """A path whose numbers are best for every prefix, as no transformer can know."""
    known = asked.bounded(asked.filter(name, _WHOLE, **options))
    return Path(name, told, "steps", _WHOLE, known, True)


def _newton(asked: Asked) -> Iterator[Path]:
    sums, means = asked.largest
    few = ((0.25,), (0.5,), (1.0,))
    scales: list[tuple[str, Options, Sequence[float], Sequence[tuple[float, ...]]]] = [
        ("M_0 = {0:.3g} S/λmax²", lambda a: {"alpha": a}, _LONG, few),
        ("M_0 = {0:.3g} S/|S Sᵀ|_F", lambda a: {"alpha": a, "norm": "frobenius"}, _LONG, few),
        ("M_0 = {0:.3g} S/|S Sᵀ|_F", lambda a: {"alpha": a, "norm": "frobenius"}, _WHOLE, ((2.0,),)),
        ("M_0 = {0:.3g} S", lambda a: {"alpha": a, "norm": "none"}, _LONG, [(c / sums**2,) for (c,) in few]),
        ("M_0 = {0:.3g} S/n²", lambda a: {"alpha": a, "norm": "examples"}, _LONG, [(c / means**2,) for (c,) in few]),
    ]
    for told, options, values, knobs in scales:
        yield from _turned("newton", asked, told, options, values, knobs)


def _cg(asked: Asked) -> Iterator[Path]:
    whole = asked.run("cg", range(min(2 * asked.prefixes.xs.shape[-1], 40) + 1))
    shares = torch.arange(4, dtype=whole.dtype)[None, :, None, None] / 4
    between = (whole[1:-1, None] + shares * (whole[2:] - whole[1:-1])[:, None]).flatten(0, 1)
    between = torch.cat([whole[:1], between])  # up to the first iterate only the scale changes
    steps = (0.0, *(1 + i / 4 for i in range(len(between) - 1)))
    yield Path("cg", "from zero, iterates joined by straight lines", "steps", steps, between, True)


def _gd_plus_plus(asked: Asked) -> Iterator[Path]:
    _, means = asked.largest
    steps = tuple(map(float, range(_GD_PLUS_PLUS_STEPS + 1)))

    def relative(eta: float, gamma: float) -> dict[str, Any]:
        return {"relative_step_size": eta, "relative_gamma": gamma}

    def fixed(eta: float, gamma: float) -> dict[str, Any]:
        sizes, gammas = [eta] * _GD_PLUS_PLUS_STEPS, [gamma] * _GD_PLUS_PLUS_STEPS
        return {"schedule": sizes, "gammas": gammas, "gradient": "mean"}

    told = "step size {0:.3g}, γ {1:.3g}, "
    knobs = [(eta, gamma) for eta in (0.4, 0.55, 0.75, 1.0, 1.35) for gamma in (0.15, 0.25, 0.35, 0.5, 0.75)]
    yield from _turned("gd_plus_plus", asked, f"{told}over the λmax left", relative, steps, knobs, (0.0, 0.1))
    knobs = [
        (eta / means, gamma / means) for eta in (0.4, 0.65, 0.9, 1.3, 1.9) for gamma in (0.08, 0.15, 0.25, 0.35, 0.5)
    ]
    least = (0.0, 0.15 / means)
    yield from _turned("gd_plus_plus", asked, f"{told}on the mean loss", fixed, steps, knobs, least)


def _ridge(asked: Asked) -> Iterator[Path]:
    prefixes, (sums, means) = asked.prefixes, asked.largest
    counts, largest = prefixes.counts.clamp(min=1)[:, None], prefixes.largest[..., None].clamp(min=1e-300)
    relative = [10 ** (-i / 8) for i in range(-16, 57)]
    units: list[tuple[str, float, Tensor | float]] = [
        ("on the sum loss", sums, 1.0),
        ("on the mean loss", means, counts),
        ("relative to λmax of the prefix", 1.0, largest),
    ]
    for told, scale, unit in units:
        strengths = tuple(scale * r for r in relative)
        known = torch.stack([_shrunk(asked, strength * unit) for strength in strengths])
        yield Path("ridge", f"strength {told}", "strength", strengths, known, True)


def _shrunk(asked: Asked, strength: Tensor | float) -> Float[Tensor, "batch scored"]:
    values = asked.prefixes.eigenvalues
    gain = torch.where(values > 0, 1 / (values + strength), 0.0)
    return (gain[:, asked.scored] * asked.spoken).sum(-1)
