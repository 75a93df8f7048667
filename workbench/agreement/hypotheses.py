"""What a layer may hold if the model ran this algorithm under that convention, all along the algorithm's parameter."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.baselines import BASELINES, Prefixes

Known = Float[Tensor, "value batch scored"]

GD_STEPS = (*map(float, range(25)), *(float(round(2 ** (i / 6))) for i in range(28, 85)))
"""Every step to 24, then six an octave to 16 384."""
_LONG = tuple(i / 4 for i in range(97))
_WHOLE = tuple(float(i) for i in range(25))
_GD_PLUS_PLUS_STEPS = 12
_FACTORS = (0.03, 0.07, 0.15, 0.3, 0.5, 0.65, 0.8, 0.95, 1.1, 1.3, 1.6)
_NEIGHBORS = tuple(range(1, 13))


@dataclass(frozen=True, eq=False)
class Path:
    """One algorithm under one convention.

    Attributes:
        algorithm: Registry name.
        convention: What is held fixed along the path, for people.
        parameter: What moves along it: steps, strength, ...
        values: Of the parameter, in the order of progress.
        predictions: At each of them.
        end: Where it leads, least squares, of a path that iterates.
        knobs: Numbers of the convention that may be turned.
        least: What each of them must be at least: below, the algorithm would be another one.
        remade: From other such numbers, and values of the parameter, to convention and predictions.
        iterates: Whether one can stop on the way: a path of steps or of falling ridge strength. Values of other paths
            are different algorithms, each of which knows no half-way; before them stands 0, for layers that are silent.
    """

    algorithm: str
    convention: str
    parameter: str
    values: tuple[float, ...]
    predictions: Known
    iterates: bool
    end: Float[Tensor, "batch scored"] | None = None
    knobs: tuple[float, ...] = ()
    least: tuple[float, ...] = ()
    remade: Callable[[tuple[float, ...], Sequence[float]], tuple[str, Known]] | None = None

    def turned(self, knobs: tuple[float, ...], values: Sequence[float]) -> "Path":
        """The same algorithm with its convention's numbers turned to others, at some values of the parameter."""
        assert self.remade is not None
        convention, known = self.remade(knobs, values)
        return replace(self, convention=convention, values=tuple(values), predictions=known, knobs=knobs)


def paths(prefixes: Prefixes, scored: slice) -> list[Path]:
    """Every algorithm that a layer is held against.

    Scales that a transformer cannot know of a single prompt, such as lambda_max of a prefix, stand beside fixed ones:
    step sizes on the sum loss and on the mean loss, in units of the largest eigenvalue that any of the prompts has.

    Args:
        prefixes: Of the scored prompts.
        scored: Context positions.
    """
    made = (_gd, _newton, _cg, _gd_plus_plus, _ridge, _direct, _online, _neighbors)
    end = _run("ols", prefixes)[0][..., scored]
    found = [path for make in made for path in make(prefixes, scored)]
    return [replace(path, end=end) if path.iterates else path for path in found]


def _silent_first(path: Path) -> Path:
    """A path that knows no half-way, with silence before it: the state of layers before the algorithm has run."""
    known = torch.cat([torch.zeros_like(path.predictions[:1]), path.predictions])
    return replace(path, values=(0.0, *path.values), predictions=known)


def _run(name: str, prefixes: Prefixes, steps: Sequence[float] | None = None, **options: object) -> Known:
    """Predictions at the prompts' own queries; steps may be fractions where the filter has a meaning for them."""
    found = None if steps is None else torch.tensor(steps, dtype=torch.float64 if _fractions(steps) else torch.int64)
    return BASELINES[name].predictions(prefixes, _asked(prefixes), found, **options)[..., 0]


def _asked(prefixes: Prefixes) -> Float[Tensor, "batch context 1 d_input"]:
    return prefixes.xs[:, :, None]


def _fractions(steps: Sequence[float]) -> bool:
    return any(step != int(step) for step in steps)


def _largest(prefixes: Prefixes) -> tuple[float, float]:
    """The largest eigenvalue of any S_i, and of any S_i / i with more examples than dimensions."""
    d = prefixes.xs.shape[-1]
    mean = (prefixes.largest / prefixes.counts.clamp(min=1))[:, min(d, prefixes.xs.shape[1] - 1) :]
    return prefixes.largest.max().item(), mean.max().item()


def _turned(
    algorithm: str,
    prefixes: Prefixes,
    scored: slice,
    convention: str,
    options: Callable[..., dict[str, Any]],
    values: Sequence[float],
    knobs: Sequence[tuple[float, ...]],
    least: tuple[float, ...] = (0.0,),
) -> Iterator[Path]:
    """Paths of steps of an algorithm for a few settings of its convention's numbers, which may be turned further."""
    made = partial(_made, algorithm, prefixes, scored, convention, options)
    for setting in knobs:
        told, known = made(setting, values)
        yield Path(algorithm, told, "steps", tuple(values), known, True, knobs=setting, least=least, remade=made)


def _made(
    algorithm: str,
    prefixes: Prefixes,
    scored: slice,
    convention: str,
    options: Callable[..., dict[str, Any]],
    setting: tuple[float, ...],
    steps: Sequence[float],
) -> tuple[str, Known]:
    known = _bounded(_run(algorithm, prefixes, steps, **options(*setting)), prefixes)
    return convention.format(*setting), known[..., scored]


def _gd(prefixes: Prefixes, scored: slice) -> Iterator[Path]:
    sums, means = _largest(prefixes)
    scales: list[tuple[str, float, Callable[[float], dict[str, Any]]]] = [
        ("step size {0:.3g}/λmax of the prefix", 1.0, lambda c: {"relative_step_size": c}),
        ("step size {0:.3g} on the sum loss", sums, lambda c: {"step_size": c}),
        ("step size {0:.3g} on the mean loss", means, lambda c: {"step_size": c, "gradient": "mean"}),
    ]
    for told, scale, options in scales:
        yield from _turned("gd", prefixes, scored, told, options, GD_STEPS, [(c / scale,) for c in _FACTORS])


def _bounded(known: Known, prefixes: Prefixes) -> Known:
    """Without what has diverged at early prefixes: predictions a thousand times the labels become zeros."""
    return torch.where(known.abs() <= 1e3 * prefixes.ys.abs().max(), known, 0.0)


def _newton(prefixes: Prefixes, scored: slice) -> Iterator[Path]:
    sums, _ = _largest(prefixes)
    few = ((0.25,), (0.5,), (1.0,))
    scales: list[tuple[str, Callable[[float], dict[str, Any]], Sequence[float], Sequence[tuple[float, ...]]]] = [
        ("M_0 = {0:.3g} S/λmax²", lambda a: {"alpha": a}, _LONG, few),
        ("M_0 = {0:.3g} S/|S Sᵀ|_F", lambda a: {"alpha": a, "norm": "frobenius"}, _LONG, few),
        ("M_0 = {0:.3g} S/|S Sᵀ|_F", lambda a: {"alpha": a, "norm": "frobenius"}, _WHOLE, ((2.0,),)),
        ("M_0 = {0:.3g} S", lambda a: {"alpha": a, "norm": "none"}, _LONG, [(c / sums**2,) for (c,) in few]),
    ]
    for told, options, values, knobs in scales:
        yield from _turned("newton", prefixes, scored, told, options, values, knobs)


def _cg(prefixes: Prefixes, scored: slice) -> Iterator[Path]:
    whole = _run("cg", prefixes, [float(k) for k in range(min(2 * prefixes.xs.shape[-1], 40) + 1)])[..., scored]
    shares = torch.arange(4, dtype=whole.dtype)[None, :, None, None] / 4
    between = (whole[1:-1, None] + shares * (whole[2:] - whole[1:-1])[:, None]).flatten(0, 1)
    between = torch.cat([whole[:1], between])  # up to the first iterate only the scale changes
    steps = (0.0, *(1 + i / 4 for i in range(len(between) - 1)))
    yield Path("cg", "from zero, iterates joined by straight lines", "steps", steps, between, True)


def _gd_plus_plus(prefixes: Prefixes, scored: slice) -> Iterator[Path]:
    _, means = _largest(prefixes)
    steps = tuple(map(float, range(_GD_PLUS_PLUS_STEPS + 1)))

    def relative(eta: float, gamma: float) -> dict[str, Any]:
        return {"relative_step_size": eta, "relative_gamma": gamma}

    def fixed(eta: float, gamma: float) -> dict[str, Any]:
        sizes, gammas = [eta] * _GD_PLUS_PLUS_STEPS, [gamma] * _GD_PLUS_PLUS_STEPS
        return {"schedule": sizes, "gammas": gammas, "gradient": "mean"}

    told = "step size {0:.3g}, γ {1:.3g}, "
    knobs = [(eta, gamma) for eta in (0.4, 0.55, 0.75, 1.0, 1.35) for gamma in (0.15, 0.25, 0.35, 0.5, 0.75)]
    yield from _turned(
        "gd_plus_plus", prefixes, scored, f"{told}over the λmax left", relative, steps, knobs, (0.0, 0.1)
    )
    knobs = [
        (eta / means, gamma / means) for eta in (0.4, 0.65, 0.9, 1.3, 1.9) for gamma in (0.08, 0.15, 0.25, 0.35, 0.5)
    ]
    least = (0.0, 0.15 / means)
    yield from _turned("gd_plus_plus", prefixes, scored, f"{told}on the mean loss", fixed, steps, knobs, least)


def _ridge(prefixes: Prefixes, scored: slice) -> Iterator[Path]:
    sums, means = _largest(prefixes)
    counts, largest = prefixes.counts.clamp(min=1)[:, None], prefixes.largest[..., None].clamp(min=1e-300)
    relative = [10 ** (-i / 8) for i in range(-16, 57)]
    units: list[tuple[str, float, Tensor | float]] = [
        ("on the sum loss", sums, 1.0),
        ("on the mean loss", means, counts),
        ("relative to λmax of the prefix", 1.0, largest),
    ]
    for told, scale, unit in units:
        strengths = tuple(scale * r for r in relative)
        known = torch.stack([_shrunk(prefixes, strength * unit)[:, scored] for strength in strengths])
        yield Path("ridge", f"strength {told}", "strength", strengths, known, True)


def _shrunk(prefixes: Prefixes, strength: Tensor | float) -> Float[Tensor, "batch context"]:
    gain = torch.where(prefixes.eigenvalues > 0, 1 / (prefixes.eigenvalues + strength), 0.0)
    return prefixes.times((gain * prefixes.moment_in_basis)[None], prefixes.in_basis(_asked(prefixes)))[0, ..., 0]


def _direct(prefixes: Prefixes, scored: slice) -> Iterator[Path]:
    yield _silent_first(Path("ols", "least norm", "", (1.0,), _run("ols", prefixes)[..., scored], False))


def _choices(
    algorithm: str,
    prefixes: Prefixes,
    scored: slice,
    convention: str,
    parameter: str,
    choices: Mapping[float, dict[str, Any]],
) -> Path:
    """A path over settings, none of which is on the way to another."""
    known = [_bounded(_run(algorithm, prefixes, **options), prefixes)[..., scored] for options in choices.values()]
    return _silent_first(Path(algorithm, convention, parameter, tuple(choices), torch.cat(known), False))


def _online(prefixes: Prefixes, scored: slice) -> Iterator[Path]:
    power = prefixes.xs.square().sum(-1).mean().item()
    sizes = {1.1**i / power: {"step_size": 1.1**i / power} for i in range(-24, 6)}
    yield _choices("online_gd", prefixes, scored, "one pass, fixed step size", "step size", sizes)
    factors = {0.1 * i: {"relative_step_size": 0.1 * i} for i in range(1, 20)}
    adaptive = _choices("adaptive_online_gd", prefixes, scored, "one pass, step size over |x|²", "step size", factors)
    yield replace(adaptive, algorithm="online_gd")


def _neighbors(prefixes: Prefixes, scored: slice) -> Iterator[Path]:
    kept = [k for k in _NEIGHBORS if k <= prefixes.xs.shape[1]]
    ways: list[tuple[str, dict[str, Any]]] = [("uniform weights", {})]
    ways += [(f"weights 1/distance^{p:g}", {"weighting": "distance", "power": p}) for p in (1.0, 2.0)]
    for told, options in ways:
        choices = {float(k): {"n_neighbors": k, **options} for k in kept}
        yield _choices("knn", prefixes, scored, told, "neighbours", choices)
    power = prefixes.xs.square().sum(-1).mean().sqrt().item()
    widths = {power * 1.2**i: {"bandwidth": power * 1.2**i} for i in range(-14, 4)}
    yield _choices("nadaraya_watson", prefixes, scored, "Gaussian kernel", "bandwidth", widths)
