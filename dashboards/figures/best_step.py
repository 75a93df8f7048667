"""The best-matching step of every algorithm against the layer."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboards.figures.axes import layer_axis, log_step_axis, on_log_steps
from dashboards.theme import Scheme, color, count_interval, label, layer_name, number, symbol, template, text_color

_PLAIN_HEIGHT, _LEGEND_ROW = 460, 24


def best_step_height(part: Mapping[str, Any]) -> int:
    """Height in pixels that leaves the panels their size below a legend of many algorithms."""
    n = len(part["layers"][0]["families"])
    return _PLAIN_HEIGHT + _LEGEND_ROW * max(0, -(-(n - 3) // 2))


def best_step_figure(part: Mapping[str, Any], scheme: Scheme = "light") -> go.Figure:
    """Best-matching steps on a linear and on a log axis: a straight line on one of them names the trend.

    Markers are hollow where the layer cannot be told from an anchor; bars are 95 % bootstrap intervals over prompts.

    Args:
        part: An agreement record, or its part for the reading through the final norm.
        scheme: Colour scheme.
    """
    families = list(part["layers"][0]["families"])
    largest = max(_top(part, name) for name in families)
    top = _linear_top([_top(part, name) for name in families])
    cut = ", ".join(label(name) for name in families if _top(part, name) > top)
    figure = make_subplots(
        rows=1,
        cols=2,
        horizontal_spacing=0.13,
        subplot_titles=(
            "Linear scale<br>straight: same steps a layer",
            "Log scale<br>straight: same factor a layer",
        ),
    )
    for name in families:
        for col in (1, 2):
            figure.add_trace(_line(part, name, scheme, log=col == 2), row=1, col=col)
        figure.add_trace(_legend(name, part.get("trend", {}).get(name), scheme), row=1, col=1)
    figure.add_trace(_legend_of_hollow(scheme), row=1, col=1)
    figure.update_xaxes(layer_axis(len(part["layers"])))
    told = "Best-matching step" + (f"<br>({cut} leaves the panel)" if cut else "")
    figure.update_yaxes(title={"text": told}, range=[-0.04 * top, 1.08 * top], row=1, col=1)
    figure.update_yaxes(log_step_axis(largest), title={"text": "Best-matching step, log"}, row=1, col=2)
    figure.update_annotations(font={"size": 13})
    figure.update_layout(
        template=template(scheme),
        title={"text": "How does the best-matching step grow with depth?"},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
        margin={"t": 96},
    )
    return figure


def _top(part: Mapping[str, Any], family: str) -> float:
    return max(float(layer["families"][family]["best_step"]) for layer in part["layers"])


def _linear_top(tops: list[float | int]) -> float:
    """Upper end of the linear panel: everything, unless one algorithm would flatten the others."""
    ranked = sorted(tops)
    if len(ranked) > 1 and ranked[-1] > 3 * max(ranked[-2], 1):
        return max(1.5 * ranked[-2], 3.0)
    return max(ranked[-1], 3.0)


def _line(part: Mapping[str, Any], family: str, scheme: Scheme, *, log: bool) -> go.Scatter:
    layers = part["layers"]
    found = [layer["families"][family] for layer in layers]
    drawn = on_log_steps if log else float
    best = [drawn(one["best_step"]) for one in found]
    ends = [_ends(one) for one in found]
    hollow = [layer["at_anchor"] is not None for layer in layers]
    line_color = color(family, scheme)
    return go.Scatter(
        x=[layer["layer"] for layer in layers],
        y=best,
        name=label(family),
        legendgroup=label(family),
        showlegend=False,
        mode="lines+markers",
        line={"color": line_color, "width": 2},
        marker={
            "symbol": [symbol(family) + ("-open" if h else "") for h in hollow],
            "size": 9,
            "color": line_color,
            "line": {"width": 1.5, "color": line_color},
        },
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [max(0.0, drawn(high) - b) for b, (_, high) in zip(best, ends, strict=True)],
            "arrayminus": [max(0.0, b - drawn(low)) for b, (low, _) in zip(best, ends, strict=True)],
            "thickness": 1.5,
            "width": 4,
        },
        hovertext=[_tell(layer, family) for layer in layers],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _ends(one: Mapping[str, Any]) -> tuple[float | int, float | int]:
    low, high = one["best_step_ci"] or (None, None)
    best = one["best_step"]
    return (best if low is None else low), (best if high is None else high)


def _tell(layer: Mapping[str, Any], family: str) -> str:
    one = layer["families"][family]
    told = (
        f"<b>{layer_name(layer['layer']).capitalize()}</b><br>{label(family)}: {one['best_step']} steps "
        f"{count_interval(one['best_step_ci'])}<br>SimE {number(one['best_sim_e'])}"
    )
    return told + ("<br>cannot be told from an anchor" if layer["at_anchor"] else "")


def _tell_trend(family: str, trend: Mapping[str, Any] | None) -> str:
    if not trend or trend.get("rate") is None:
        return f"{label(family)}: no trend"
    if trend["shape"] == "linear":
        return f"{label(family)}: linear, +{trend['rate']:.1f} a layer"
    return f"{label(family)}: geometric, ×{trend['rate']:.1f} a layer"


def _legend(family: str, trend: Mapping[str, Any] | None, scheme: Scheme) -> go.Scatter:
    """An entry with a filled marker: the line's own would take its first, which is often hollow."""
    return go.Scatter(
        x=[None],
        y=[None],
        name=_tell_trend(family, trend),
        legendgroup=label(family),
        mode="lines+markers",
        line={"color": color(family, scheme), "width": 2},
        marker={"symbol": symbol(family), "size": 9},
    )


def _legend_of_hollow(scheme: Scheme) -> go.Scatter:
    marker = {"symbol": "circle-open", "size": 9, "color": text_color(scheme)}
    return go.Scatter(x=[None], y=[None], mode="markers", marker=marker, name="hollow: cannot be told from an anchor")
