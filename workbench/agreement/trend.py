"""How the best-matching step moves with the layer: linearly, geometrically, or neither."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

FIT_ENOUGH = 0.9
"""R^2 that a shape must reach to be named."""


@dataclass(frozen=True)
class Trend:
    """The better of a linear and a geometric fit of step against layer.

    Attributes:
        shape: The better fit if its R^2 is at least `FIT_ENOUGH` and steps rise, else ``none``.
        rate: Steps per layer where linear, factor per layer where geometric, None for none.
        layers: First and last layer of the fit, or None for too few.
        r2: R^2 of the better fit, in steps where linear and in log steps where geometric.
        r2_linear: R^2 of the straight line.
        r2_geometric: R^2 of the straight line through log steps.
        rate_ci: Bootstrap interval of the rate over prompts, or None.
    """

    shape: Literal["linear", "geometric", "none"]
    rate: float | None
    layers: tuple[int, int] | None
    r2: float | None
    r2_linear: float | None = None
    r2_geometric: float | None = None
    rate_ci: tuple[float, float] | None = None


def fit_trend(layers: Sequence[int], steps: Sequence[int]) -> Trend:
    """The trend of best-matching steps over consecutive informative layers.

    Args:
        layers: Layers that sit on no anchor; at least three for a trend.
        steps: Best-matching step of each, greater than 0.
    """
    if len(layers) < 3:
        return Trend("none", None, (layers[0], layers[-1]) if layers else None, None)
    x, y = np.asarray(layers, float), np.asarray(steps, float)
    line, line_r2 = _line(x, y)
    log_line, log_r2 = _line(x, np.log(y))
    span = (int(layers[0]), int(layers[-1]))
    linear_wins = line_r2 >= log_r2
    r2, slope = (line_r2, line) if linear_wins else (log_r2, log_line)
    if r2 < FIT_ENOUGH or slope <= 0:
        return Trend("none", None, span, r2, line_r2, log_r2)
    rate = slope if linear_wins else float(np.exp(slope))
    return Trend("linear" if linear_wins else "geometric", rate, span, r2, line_r2, log_r2)


def rate_of_shape(shape: str, layers: Sequence[int], steps: np.ndarray) -> np.ndarray:
    """Rates of a named shape for many resamples of the steps at once.

    Args:
        shape: ``linear`` or ``geometric``.
        layers: As in `fit_trend`.
        steps: ``[resample layer]``, greater than 0.
    """
    x = np.asarray(layers, float)
    y = steps if shape == "linear" else np.log(steps)
    slopes = (y - y.mean(1, keepdims=True)) @ (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    return slopes if shape == "linear" else np.exp(slopes)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and R^2 of the least-squares line; R^2 is 0 for constant y."""
    slope, intercept = np.polyfit(x, y, 1)
    spread = ((y - y.mean()) ** 2).sum()
    if spread == 0:
        return 0.0, 0.0
    return float(slope), float(1 - ((y - slope * x - intercept) ** 2).sum() / spread)
