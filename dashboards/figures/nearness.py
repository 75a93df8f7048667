"""How near the layers lie to each algorithm: what the verdict looks at."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboards.figures.axes import drawable, log_axis, log_range
from dashboards.theme import (
    Number,
    Scheme,
    amount,
    color,
    cosine,
    cosine_interval,
    empty_figure,
    label,
    layer_label,
    layer_name,
    percent,
    plain,
    symbol,
    template,
    text_color,
)

NOTHING_NEAR = "No layer says anything yet, so there is nothing to place."
_LEFTMOST, _RIGHTMOST = -1.0, 1.6
"""Ends of intervals beyond are cut."""
_FARTHEST = 3.0
"""Leans beyond are told by an arrow alone."""
_LEAN_TOP, _LEAN_ROW, _LEAN_BOTTOM = 92, 34, 78


def mean_misfit(near: Mapping[str, Any]) -> Number:
    """Mean of an algorithm's misfits over the layers that speak, or None."""
    known = [misfit for misfit in near["misfits"] if misfit is not None]
    return sum(known) / len(known) if known else None


def nearest_of(verdict: Mapping[str, Any]) -> str | None:
    """The algorithm that all leans start from."""
    nearness = verdict.get("nearness") or {}
    return next((name for name, near in nearness.items() if near["lean"] == 0 and not any(near["lean_ci"])), None)


def lean_height(verdict: Mapping[str, Any] | None) -> int:
    """Height in pixels of the figure of leans."""
    return _LEAN_TOP + _LEAN_BOTTOM + _LEAN_ROW * max(len((verdict or {}).get("nearness") or {}), 3)


def lean_figure(verdict: Mapping[str, Any], scheme: Scheme = "light") -> go.Figure:
    """How far the layers lie from the nearest algorithm (0) towards each other one (1).

    Whiskers are 95 % bootstrap intervals over prompts; one that passes 0.5 may be as near. An arrow says that it goes
    on beyond the axis. An algorithm that predicts the same as the nearest one has a word instead.

    Args:
        verdict: Of an agreement record's reading.
        scheme: Colour scheme.
    """
    nearness = verdict.get("nearness") or {}
    nearest = nearest_of(verdict)
    if nearest is None:
        return empty_figure(NOTHING_NEAR, scheme)
    names = [nearest, *(name for name in nearness if name != nearest)]
    figure = go.Figure(layout={"template": template(scheme)})
    for name in names:
        figure.add_trace(_whisker(name, nearness[name], scheme))
    low, high = _lean_range(nearness)
    lines = ((0.0, f"{label(nearest)}, the nearest", "right"), (0.5, "as near to the other", "center"))
    for at, told, anchor in (*lines, (1.0, "on the other", "right")):
        ends = {"x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "y domain"}
        dash = "solid" if at == 0 else "dash"
        figure.add_shape(
            type="line", **ends, line={"dash": dash, "width": 1.2, "color": text_color(scheme)}, opacity=0.8
        )
        place = {"x": at, "xanchor": anchor, "y": 1, "yref": "y domain", "yanchor": "bottom"}
        figure.add_annotation(text=told, **place, showarrow=False, font={"size": 12})
    for name in names:
        _mark_cut(figure, name, nearness[name], low, high, scheme)
        _mark_same(figure, name, nearness[name], scheme)
    figure.update_layout(
        title={
            "text": "How far do the layers lean towards each algorithm?<br>"
            "<sup>in brackets the misfit: mean squared distance, of the labels' square</sup>"
        },
        xaxis={
            "title": {"text": f"Lean, 0 = {label(nearest)}, 1 = the other<br>bars: 95 % bootstrap over prompts"},
            "range": [low, high],
            "zeroline": False,
        },
        yaxis={
            "title": {"text": "Algorithm"},
            "type": "category",
            "categoryorder": "array",
            "categoryarray": [_row_name(name, nearness[name]) for name in reversed(names)],
            "range": [-0.5, len(names) - 0.5],
            "showgrid": False,
        },
        showlegend=False,
        margin={"t": _LEAN_TOP, "b": _LEAN_BOTTOM},
    )
    return figure


def _row_name(name: str, near: Mapping[str, Any]) -> str:
    return f"{label(name)} ({percent(mean_misfit(near))})"


def _whisker(name: str, near: Mapping[str, Any], scheme: Scheme) -> go.Scatter:
    lean, (low, high) = near["lean"], near["lean_ci"]
    known = None not in (lean, low, high)
    interval = "the nearest of all" if known and not any((lean, low, high)) else cosine_interval(near["lean_ci"])
    return go.Scatter(
        x=[lean],
        y=[_row_name(name, near)],
        name=label(name),
        mode="markers",
        marker={"symbol": symbol(name), "size": 12, "color": color(name, scheme)},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [high - lean if known else 0],
            "arrayminus": [lean - low if known else 0],
            "thickness": 2,
            "width": 6,
            "color": color(name, scheme),
        },
        hovertext=[
            f"<b>{label(name)}</b><br>{plain(near['convention'])}<br>lean {cosine(lean)} {interval}"
            f"<br>misfit {percent(mean_misfit(near))} of the labels' square"
        ],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _lean_range(nearness: Mapping[str, Any]) -> tuple[float, float]:
    """All leans, unless one is very far, and of their intervals what lies within bounds."""
    leans = [near["lean"] for near in nearness.values() if near["lean"] is not None]
    ends = [max(_LEFTMOST, min(_RIGHTMOST, v)) for near in nearness.values() for v in near["lean_ci"] if v is not None]
    low = min(-0.1, *(v - 0.08 for v in leans), *(v - 0.05 for v in ends))
    high = max(1.12, *(v + 0.08 for v in leans), *(v + 0.05 for v in ends))
    return max(-_FARTHEST, low), min(_FARTHEST, high)


def _mark_cut(
    figure: go.Figure, name: str, near: Mapping[str, Any], low: float | int, high: float | int, scheme: Scheme
) -> None:
    """An arrow at the edge for an interval that goes on beyond it."""
    start, end = near["lean_ci"]
    cuts = [(low, "◀")] if start is not None and start < low else []
    cuts += [(high, "▶")] if end is not None and end > high else []
    for at, arrow in cuts:
        figure.add_annotation(
            x=at,
            y=_row_name(name, near),
            text=arrow,
            showarrow=False,
            xanchor="left" if at == low else "right",
            font={"size": 14, "color": color(name, scheme)},
        )


def _mark_same(figure: go.Figure, name: str, near: Mapping[str, Any], scheme: Scheme) -> None:
    """A word for an algorithm that predicts the same as the nearest one."""
    if near["lean"] is None:
        figure.add_annotation(
            x=0,
            y=_row_name(name, near),
            text="predicts the same here",
            showarrow=False,
            xanchor="left",
            xshift=8,
            font={"size": 12, "color": color(name, scheme)},
        )


def misfit_figure(verdict: Mapping[str, Any], scheme: Scheme = "light") -> go.Figure:
    """Mean squared distance of every layer from the nearest point of each algorithm's path, on a log axis.

    Args:
        verdict: Of an agreement record's reading.
        scheme: Colour scheme.
    """
    nearness = verdict.get("nearness") or {}
    if not nearness:
        return empty_figure(NOTHING_NEAR, scheme)
    figure = go.Figure(layout={"template": template(scheme)})
    drawn: list[Number] = []
    for name, near in nearness.items():
        misfits = drawable(near["misfits"])
        drawn += misfits
        figure.add_scatter(
            x=list(near["layers"]),
            y=[None if v is None else 100 * v for v in misfits],
            name=label(name),
            mode="lines+markers",
            line={"color": color(name, scheme), "width": 2},
            marker={"symbol": symbol(name), "size": 9},
            hovertext=[_tell_place(name, near, i) for i in range(len(near["layers"]))],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    figure.update_layout(
        title={
            "text": "How far is each layer from each algorithm?<br>"
            "<sup>misfit: mean squared distance, of the labels' square</sup>"
        },
        margin={"t": 84},
        xaxis=_layers_axis([layer for near in nearness.values() for layer in near["layers"]]),
        yaxis={
            "title": {"text": "Misfit, %, log"},
            **log_axis(*log_range([None if v is None else 100 * v for v in drawn], room_below=1.6)),
        },
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
    )
    return figure


def _tell_place(name: str, near: Mapping[str, Any], i: int) -> str:
    value = f"{plain(near['parameter'])} {amount(near['values'][i])}" if near["parameter"] else "the solution"
    return (
        f"<b>{layer_name(near['layers'][i]).capitalize()}</b><br>{label(name)}, {plain(near['convention'])}<br>"
        f"{value}, {percent(near['progress'][i])} of the way<br>misfit {percent(near['misfits'][i])}"
    )


def _layers_axis(layers: Sequence[int], at_most: int = 26) -> dict[str, Any]:
    first, last = min(layers), max(layers)
    stride = 1 + (last - first) // at_most
    shown = list(range(first, last + 1, stride))
    return {
        "title": {"text": "Layer that says anything"},
        "tickvals": shown,
        "ticktext": [layer_label(layer) for layer in shown],
        "range": [first - 0.4, last + 0.4],
    }


def path_figure(verdict: Mapping[str, Any], scheme: Scheme = "light") -> go.Figure:
    """Where the layers stand on the path of the nearest algorithm: share of the way, and its parameter.

    Args:
        verdict: Of an agreement record's reading.
        scheme: Colour scheme.
    """
    name = nearest_of(verdict)
    if name is None:
        return empty_figure(NOTHING_NEAR, scheme)
    near = verdict["nearness"][name]
    layers, values = list(near["layers"]), near["values"]
    moves = bool(near["parameter"])
    log = moves and all(v is not None and v > 0 for v in values)
    figure = make_subplots(rows=1, cols=2 if moves else 1, horizontal_spacing=0.14)
    told = [_tell_place(name, near, i) for i in range(len(layers))]
    looks = {
        "mode": "lines+markers+text",
        "line": {"color": color(name, scheme), "width": 2},
        "marker": {"symbol": symbol(name), "size": 10},
        "cliponaxis": False,
        "hovertext": told,
        "hovertemplate": "%{hovertext}<extra></extra>",
        "showlegend": False,
    }
    shares = [None if v is None else 100 * v for v in near["progress"]]
    texts = _thinned([amount(v) for v in shares])
    beside = _text_places(shares)
    figure.add_scatter(
        x=layers, y=shares, text=texts, textposition=beside, name="share of the way", **looks, row=1, col=1
    )
    figure.update_yaxes(title={"text": "Share of the way, %"}, range=[0, 112], row=1, col=1)
    if moves:
        texts = _thinned([amount(v) for v in values])
        beside = _text_places(values)
        name_of = plain(near["parameter"])
        figure.add_scatter(
            x=layers, y=list(values), text=texts, textposition=beside, name=name_of, **looks, row=1, col=2
        )
        title = f"{plain(near['parameter']).capitalize()}{', log' if log else ''}"
        axis: dict[str, Any] = {"title": {"text": title}}
        if log:
            axis |= log_axis(*log_range(values, room_below=2))
        figure.update_yaxes(axis, row=1, col=2)
    axis = _layers_axis(layers, at_most=12)
    pad = 0.3 + 0.25 * (layers[-1] - layers[0])  # room for the texts beside the first and last point
    figure.update_xaxes({**axis, "range": [layers[0] - pad, layers[-1] + pad]})
    figure.update_layout(
        template=template(scheme),
        title={
            "text": f"Where do the layers stand on the path of {label(name)}?<br><sup>{plain(near['convention'])}</sup>"
        },
        margin={"t": 84},
    )
    return figure


def _thinned(texts: Sequence[str], at_most: int = 8) -> list[str]:
    """The texts, every k-th of which is kept, and the last: hover tells the others."""
    stride = 1 + (len(texts) - 1) // at_most
    kept = {*range(0, len(texts) - stride // 2 - 1, stride), len(texts) - 1}
    return [text if i in kept else "" for i, text in enumerate(texts)]


def _text_places(values: Sequence[Number]) -> str:
    """Where texts stand beside their points, so that the line does not cross them."""
    known = [v for v in values if v is not None]
    return "top right" if known and known[-1] < known[0] else "top left"
