"""What several figures share about their axes."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from dashboards.theme import Number, layer_label

ZERO_ON_LOG = 0.5
"""Where a logarithmic axis of steps shows step 0: one notch below step 1."""


def layer_axis(n_layers: int) -> dict[str, Any]:
    """The layer axis, the embedding first; labels thinned out in deep models."""
    stride = 1 + (n_layers - 1) // 26
    shown = [layer for layer in range(n_layers) if layer % stride == 0]
    return {
        "title": {"text": "Layer (emb: embedding)"},
        "tickvals": shown,
        "ticktext": [layer_label(layer) for layer in shown],
        "range": [-0.5, n_layers - 0.5],
    }


def thinned(values: Sequence[str], at_most: int = 20) -> list[str]:
    """Every k-th of the tick labels, so that they do not touch."""
    stride = 1 + (len(values) - 1) // at_most
    return list(values[::stride])


def on_log_steps(step: float | int) -> float:
    """A number of steps as drawn on a logarithmic axis."""
    return max(float(step), ZERO_ON_LOG)


def log_step_axis(largest: float | int, smallest: float | int = 0.0) -> dict[str, Any]:
    """A logarithmic axis of steps, 0 at its lower end."""
    powers = [step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000) if step <= 1.3 * largest]
    if len(powers) > 8:
        powers = [step for step in powers if math.log10(step).is_integer() or str(step)[0] == "1"]
    ticks = ([ZERO_ON_LOG] if smallest < 1 else []) + [float(power) for power in powers]
    low = ZERO_ON_LOG / 1.25 if smallest < 1 else 0.8
    return {
        "type": "log",
        "tickvals": ticks,
        "ticktext": ["0" if tick == ZERO_ON_LOG else f"{tick:.0f}" for tick in ticks],
        "range": [math.log10(low), math.log10(max(1.35 * largest, 2.0))],
        "minor": {"ticks": ""},
    }


def log_range(kept: Iterable[Number], room_below: float | int = 3.0) -> tuple[float, float]:
    """Exponents of ten between which a logarithmic axis shows all ``kept`` values with some room.

    Values that are not positive numbers are left out; [0.1, 10] for none.
    """
    values = [v for v in kept if v is not None and math.isfinite(v) and v > 0]
    if not values:
        return -1.0, 1.0
    return math.log10(min(values) / room_below), math.log10(max(values) * 2)


def drawable(values: Iterable[Number]) -> list[Number]:
    """The values with a gap wherever a logarithm is not defined."""
    return [v if v is not None and math.isfinite(v) and v > 0 else None for v in values]


def log_ratio_axis(kept: Iterable[Number]) -> dict[str, Any]:
    """A logarithmic axis of ratios with every tick written out; 1 is always on it.

    Args:
        kept: What is drawn; values that are not positive numbers are left out.
    """
    values = [1.0, *(float(v) for v in kept if v is not None and math.isfinite(v) and v > 0)]
    low, high = math.log10(min(values)), math.log10(max(values))
    steps = (1, 2, 5) if high - low < 2 else (1, 3) if high - low < 3.5 else (1,)
    room = 0.06 * (high - low) + 0.05
    return {"type": "log", "range": [low - room, high + room], **_written_ticks(low - room, high + room, steps)}


def log_axis(low: float, high: float) -> dict[str, Any]:
    """A logarithmic axis; over a few decades every tick is written out, since a 5 alone could be .5 or 50.

    Args:
        low: Exponent of ten at its lower end.
        high: The same at its upper end.
    """
    few = high - low < 2.5
    ticks = _written_ticks(low, high, (1, 2, 5)) if few else {"exponentformat": "power", "dtick": 1}
    return {"type": "log", "range": [low, high], **ticks}


def _written_ticks(low: float, high: float, steps: Sequence[int]) -> dict[str, Any]:
    ticks = [step * 10.0**power for power in range(math.floor(low) - 1, math.ceil(high) + 1) for step in steps]
    shown = [tick for tick in ticks if low <= math.log10(tick) <= high]
    return {"tickvals": shown, "ticktext": [f"{tick:g}" for tick in shown]}
