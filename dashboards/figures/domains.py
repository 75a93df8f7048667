"""How domains of prompts are drawn: one colour and symbol each, in every figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from dashboards.theme import Scheme, plain

_COLORS = {"light": ("#2166d1", "#d95f02", "#1b7837", "#7b3294"), "dark": ("#7fb0ff", "#ffa75e", "#7fcf8f", "#cf9be0")}
_SYMBOLS = ("circle", "diamond", "square", "triangle-up")
LEGEND = {"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0}
"""The domains below the figure."""


def domain_mark(place: int, scheme: Scheme) -> dict[str, Any]:
    """Colour and symbol of the domain at that place of a record."""
    colors = _COLORS[scheme]
    return {"color": colors[place % len(colors)], "symbol": _SYMBOLS[place % len(_SYMBOLS)]}


def domain_points(
    domain: str, x: Sequence[float | int], y: Sequence[float | None], told: Sequence[str], mark: Mapping[str, Any]
) -> go.Scatter:
    """Single heads or prompts of a domain, beside a trace that stands for it in the legend.

    Args:
        domain: Its name.
        x: One number a point.
        y: The same.
        told: What each says when pointed at.
        mark: Of `domain_mark`.
    """
    return go.Scatter(
        x=list(x),
        y=list(y),
        mode="markers",
        name=plain(domain),
        legendgroup=domain,
        showlegend=False,
        opacity=0.7,
        marker={**mark, "size": 8},
        hovertext=list(told),
        hovertemplate="%{hovertext}<extra></extra>",
    )
