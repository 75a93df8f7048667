"""How the best-matching step moves with the layer: linearly, geometrically, or neither."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FIT_ENOUGH = 0.9
"""R^2 that a shape must reach to be named."""
SHARE_ENOUGH = 0.95
"""Share of bootstrap resamples that must have the same shape."""


@dataclass(frozen=True)
class Trend:
    """The better of a linear and a geometric fit of step against layer.

    Attributes:
        shape: The better fit if its R^2 is at least `FIT_ENOUGH`, steps rise, and resamples agree; else ``none``.
        rate: Steps per layer where linear, factor per layer where geometric, None for none.
        layers: First and last layer of the fit, or None for too few.
        r2: R^2 of the better fit, in steps where linear and in log steps where geometric.
        r2_linear: R^2 of the straight line.
        r2_geometric: R^2 of the straight line through log steps.
        rate_ci: Bootstrap interval of the rate over prompts, or None.
        shape_share: Share of the resamples with the shape that fits best here, or None without any.
    """

    shape: str
    rate: float | None
    layers: tuple[int, int] | None
    r2: float | None
    r2_linear: float | None = None
    r2_geometric: float | None = None
    rate_ci: tuple[float, float] | None = None
    shape_share: float | None = None


def fit_trend(
    layers: Sequence[int], steps: Sequence[int] | Sequence[float], resampled: np.ndarray | None = None
) -> Trend:
    """The trend of best-matching steps over consecutive informative layers.

    Args:
        layers: Layers that sit on no anchor; at least three for a trend.
        steps: Best-matching step of each, greater than 0.
        resampled: The same for bootstrap resamples, ``[resample layer]``, greater than 0. With it, a shape is
            named only if `SHARE_ENOUGH` of the resamples have it too, and the rate gets an interval.
    """
    if len(layers) < 3:
        return Trend("none", None, (int(layers[0]), int(layers[-1])) if layers else None, None)
    shape, rate, r2s = (found[0] for found in _trends(layers, np.asarray([steps], float)))
    share = rate_ci = None
    if resampled is not None and shape != "none":
        shapes, _, _ = _trends(layers, resampled)
        share = float((shapes == shape).mean())
        rates = _rates(layers, resampled, str(shape))
        rate_ci = tuple(np.quantile(rates, (0.025, 0.975)).tolist())
    named = str(shape) if share is None or share >= SHARE_ENOUGH else "none"
    kept = named != "none"
    return Trend(
        shape=named,
        rate=float(rate) if kept else None,
        layers=(int(layers[0]), int(layers[-1])),
        r2=float(r2s.max()),
        r2_linear=float(r2s[0]),
        r2_geometric=float(r2s[1]),
        rate_ci=rate_ci if kept else None,
        shape_share=share,
    )


def _trends(layers: Sequence[int], steps: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shape, rate and both R^2 (linear, geometric) of each row ``[row layer]`` of steps."""
    x = np.asarray(layers, float)
    slopes, r2s = zip(*(_lines(x, y) for y in (steps, np.log(steps))), strict=True)
    linear_wins = r2s[0] >= r2s[1]
    r2 = np.where(linear_wins, r2s[0], r2s[1])
    slope = np.where(linear_wins, slopes[0], slopes[1])
    named = np.where(linear_wins, "linear", "geometric")
    shape = np.where((r2 >= FIT_ENOUGH) & (slope > 0), named, "none")
    return shape, np.where(linear_wins, slope, np.exp(slopes[1])), np.stack(r2s, 1)


def _rates(layers: Sequence[int], steps: np.ndarray, shape: str) -> np.ndarray:
    """Rates of one shape for each row of steps."""
    x = np.asarray(layers, float)
    return _lines(x, steps)[0] if shape == "linear" else np.exp(_lines(x, np.log(steps))[0])


def _lines(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and R^2 of the least-squares line through each row of y; R^2 is 0 for a constant row."""
    x, y = x - x.mean(), y - y.mean(1, keepdims=True)
    slope = y @ x / (x @ x)
    spread = (y**2).sum(1)
    left = ((y - slope[:, None] * x) ** 2).sum(1)
    return slope, np.where(spread > 0, 1 - left / np.where(spread > 0, spread, 1), 0.0)
