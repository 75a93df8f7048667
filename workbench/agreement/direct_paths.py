"""What a layer may hold if the model ran an algorithm that knows no half-way."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from workbench.agreement.asked import Asked
from workbench.agreement.path import Path, silent_first

_NEIGHBORS = tuple(range(1, 13))


def direct_paths(asked: Asked) -> list[Path]:
    """Least squares at once, one pass over the examples, neighbours and kernels: each a path over its settings."""
    return [path for make in (_ols, _online, _neighbors, _kernels) for path in make(asked)]


def _ols(asked: Asked) -> Iterator[Path]:
    yield silent_first(Path("ols", "least norm", "", (1.0,), asked.run("ols"), False))


def _choices(
    algorithm: str, asked: Asked, convention: str, parameter: str, choices: Mapping[float, dict[str, Any]]
) -> Path:
    """A path over settings, none of which is on the way to another."""
    known = [asked.bounded(asked.run(algorithm, **options)) for options in choices.values()]
    return silent_first(Path(algorithm, convention, parameter, tuple(choices), torch.cat(known), False))


def _online(asked: Asked) -> Iterator[Path]:
    power = asked.prefixes.xs.square().sum(-1).mean().item()
    sizes = {1.1**i / power: {"step_size": 1.1**i / power} for i in range(-24, 6)}
    yield _choices("online_gd", asked, "one pass, fixed step size", "step size", sizes)
    factors = {0.1 * i: {"relative_step_size": 0.1 * i} for i in range(1, 20)}
    adaptive = _choices("adaptive_online_gd", asked, "one pass, step size over |x|²", "step size", factors)
    yield replace(adaptive, algorithm="online_gd")


def _neighbors(asked: Asked) -> Iterator[Path]:
    kept = [k for k in _NEIGHBORS if k <= asked.prefixes.xs.shape[1]]
    ways: list[tuple[str, dict[str, Any]]] = [("uniform weights", {})]
    ways += [(f"weights 1/distance^{p:g}", {"weighting": "distance", "power": p}) for p in (1.0, 2.0)]
    for told, options in ways:
        choices = {float(k): {"n_neighbors": k, **options} for k in kept}
        yield _choices("knn", asked, told, "neighbours", choices)


def _kernels(asked: Asked) -> Iterator[Path]:
    power = asked.prefixes.xs.square().sum(-1).mean().sqrt().item()
    widths = {power * 1.2**i: {"bandwidth": power * 1.2**i} for i in range(-14, 4)}
    yield _choices("nadaraya_watson", asked, "Gaussian kernel", "bandwidth", widths)
    scales = {1.2**i / power: {"scale": 1.2**i / power} for i in range(-10, 13)}
    yield _choices("softmax_kernel", asked, "softmax attention", "scale", scales)
