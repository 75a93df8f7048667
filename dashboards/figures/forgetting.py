"""How well layers and algorithms answer for examples again, by how long ago those were given."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboards.figures.axes import drawable, log_range
from dashboards.theme import (
    Number,
    Scheme,
    anchor_label,
    color,
    dash_style,
    depth_color,
    faint,
    layer_name,
    model_color,
    number,
    number_interval,
    steps_label,
    template,
    text_color,
)
from workbench.agreement.beside import OUTPUT

_BAND = 0.15
_DECADES_BELOW = 2


def forgetting_figure(found: Mapping[str, Any], scheme: Scheme = "light") -> go.Figure:
    """Squared error over d at the x of each example, the newest first, with anchors and algorithms on the right.

    Algorithms stand at the last layer's best steps.

    The band is the output's 95 % bootstrap interval over prompts; the mark at the right end of a curve is its error at
    a new x.

    Args:
        found: A record of forgetting.
        scheme: Colour scheme.
    """
    shown = [
        (each, curve)
        for each, curve in zip(found["algorithms"], found["of_algorithms"], strict=True)
        if each["step"] in (None, found["best_steps"].get(each["name"], [None])[-1])
    ]
    low, high = _shown(found)
    below = [_tell(each) for each, curve in shown if all(v is None or v < 10.0**low for v in curve["error"])]
    beneath = f"<br><sup>below the axis: {'; '.join(below)}</sup>" if below else ""
    figure = make_subplots(
        rows=1,
        cols=2,
        horizontal_spacing=0.06,
        shared_yaxes=True,
        subplot_titles=("Layers and output", "Anchors, algorithms at the last layer's steps"),
    )
    layers = [row for row in found["rows"] if row != OUTPUT]
    gaps = list(range(found["n"]))
    for row in layers:
        line = {"color": depth_color(int(row), len(layers), scheme), "width": 1.8}
        _add(figure, 1, layer_name(int(row)).capitalize(), found["rows"][row], line)
    if OUTPUT in found["rows"]:
        output = found["rows"][OUTPUT]
        _band(figure, gaps, output, scheme)
        _add(figure, 1, "Output", output, {"color": model_color(scheme), "width": 3})
    for each, curve in shown:
        line = {"color": color(each["name"], scheme), "width": 1.8, "dash": dash_style(each["name"])}
        _add(figure, 2, _tell(each), curve, line)
    figure.update_xaxes(
        title={"text": "Examples given since (0: newest)"},
        tickvals=[*range(0, found["n"], 1 + (found["n"] - 1) // 8), found["n"]],
        ticktext=[*map(str, range(0, found["n"], 1 + (found["n"] - 1) // 8)), "new x"],
        range=[-0.4, found["n"] + 0.5],
    )
    figure.update_yaxes(type="log", range=[low, high], exponentformat="power", dtick=1)
    figure.update_yaxes(title={"text": "Squared error / d, log"}, row=1, col=1)
    figure.update_annotations(font={"size": 13})
    figure.update_layout(
        template=template(scheme),
        title={"text": f"Forgetting: each of {found['n']} examples asked again{beneath}"},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0, "font": {"size": 12}},
        margin={"t": 84},
    )
    return figure


def _add(figure: go.Figure, col: int, name: str, curve: Mapping[str, Any], line: Mapping[str, Any]) -> None:
    n = len(curve["error"])
    told = [
        f"<b>{name}</b><br>gap {gap}: {number(curve['error'][gap])} "
        f"{number_interval((curve['low'][gap], curve['high'][gap]))}"
        for gap in range(n)
    ]
    figure.add_trace(
        go.Scatter(
            x=[*range(n), None, n],
            y=[*drawable(curve["error"]), None, *drawable([curve["fresh"]])],
            name=name,
            mode="lines+markers",
            line=dict(line),
            marker={"size": [3] * n + [0, 8], "color": line["color"], "opacity": 1, "line": {"width": 0}},
            hovertext=[*told, "", f"<b>{name}</b><br>at a new x: {number(curve['fresh'])}"],
            hovertemplate="%{hovertext}<extra></extra>",
        ),
        row=1,
        col=col,
    )


def _band(figure: go.Figure, gaps: list[int], curve: Mapping[str, Any], scheme: Scheme) -> None:
    ends = [*drawable(curve["high"]), *drawable(curve["low"])[::-1]]
    if None in ends:
        return
    figure.add_trace(
        go.Scatter(
            x=[*gaps, *gaps[::-1]],
            y=ends,
            fill="toself",
            fillcolor=faint(model_color(scheme), _BAND),
            line={"width": 0, "color": text_color(scheme)},
            mode="lines",
            hoverinfo="skip",
            showlegend=False,
        ),
        row=1,
        col=1,
    )


def _tell(algorithm: Mapping[str, Any]) -> str:
    if algorithm["step"] is not None:
        return steps_label(algorithm["name"], algorithm["step"])
    return anchor_label("bayes" if "ridge" in algorithm["options"] else algorithm["name"])


def _shown(found: Mapping[str, Any]) -> tuple[float, float]:
    """Exponents of the axis: what the layers need, so that algorithms at rounding errors do not squeeze them."""
    kept: list[Number] = [v for curve in found["rows"].values() for v in (*curve["error"], curve["fresh"])]
    low, high = log_range(kept, room_below=10.0**_DECADES_BELOW)
    return low, high
