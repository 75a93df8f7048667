"""The spectral filter of every layer: how much of each eigendirection it has learnt."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboards.theme import (
    Scheme,
    color,
    dash_style,
    depth_color,
    empty_figure,
    faint,
    label,
    layer_name,
    model_color,
    number,
    number_interval,
    percent,
    template,
    text_color,
)

NO_FILTERS = "No filters are kept with this record; compare the layers anew."
_COLUMNS = 3
_TOP, _BOTTOM, _ROW = 130, 60, 235
"""Pixels: title with legend, axis below, one row of panels."""
_MARKS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon", "triangle-down")
"""Of layers, so that neighbours differ in more than colour."""
_SCALES = {
    "sum": "Eigenvalue λ of S = XᵀX of the prefix, log",
    "mean": "Eigenvalue λ of S over the number of examples, log",
    "relative": "Eigenvalue λ over the largest of the prefix, log",
}


def panels_height(fingerprint: Mapping[str, Any] | None) -> int:
    """Height in pixels of the figure of panels."""
    n = len(fingerprint["layers"]) if fingerprint else 1
    return _TOP + _BOTTOM + _ROW * -(-n // _COLUMNS)


def panels_figure(fingerprint: Mapping[str, Any] | None, scheme: Scheme = "light") -> go.Figure:
    """One panel per layer: its filter with a 95 % band, and the reference filters nearest to it, dashed.

    Args:
        fingerprint: The filters of an agreement record's reading.
        scheme: Colour scheme.
    """
    if not fingerprint:
        return empty_figure(NO_FILTERS, scheme)
    layers = fingerprint["layers"]
    n_rows = -(-len(layers) // _COLUMNS)
    plain_height = _ROW * n_rows
    figure = make_subplots(
        rows=n_rows,
        cols=_COLUMNS,
        shared_yaxes=True,
        shared_xaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=46 / plain_height if n_rows > 1 else 0,
        subplot_titles=[_panel_title(layer) for layer in layers],
    )
    at = fingerprint["eigenvalues"]
    seen: set[str] = set()
    for i, layer in enumerate(layers):
        said = [name for name, curve in layer["references"].items() if _says(curve)]
        traces = [
            _band(at, layer, scheme, told=i == 0),
            *(_reference(at, name, layer, scheme, told=name not in seen) for name in said),
            _learnt(at, layer, model_color(scheme), told=i == 0),
        ]
        seen.update(said)
        for trace in traces:
            figure.add_trace(trace, row=i // _COLUMNS + 1, col=i % _COLUMNS + 1)
    _share_axes(figure, fingerprint, n_rows)
    figure.update_annotations(font={"size": 13}, yshift=2)
    figure.update_layout(
        template=template(scheme),
        title={"text": "Which filter of the spectrum is each layer?"},
        legend={"orientation": "h", "y": 1 + 34 / plain_height, "yanchor": "bottom", "x": 0},
        margin={"t": _TOP, "b": _BOTTOM},
    )
    return figure


def _share_axes(figure: go.Figure, fingerprint: Mapping[str, Any], n_rows: int) -> None:
    low, high = _range(fingerprint["layers"])
    n = len(fingerprint["layers"])
    figure.update_xaxes(type="log", exponentformat="power", dtick=1, showticklabels=False)
    figure.update_yaxes(range=[low, high], dtick=0.5, zeroline=True)
    for col in range(1, _COLUMNS + 1):
        in_column = [i for i in range(n) if i % _COLUMNS + 1 == col]
        if in_column:
            figure.update_xaxes(showticklabels=True, row=in_column[-1] // _COLUMNS + 1, col=col)
    middle = min(2, n)
    lowest = next(i for i in reversed(range(n)) if i % _COLUMNS + 1 == middle) // _COLUMNS + 1
    figure.update_xaxes(title={"text": _SCALES[fingerprint["scale"]]}, row=lowest, col=middle)
    for row in range(1, n_rows + 1):
        figure.update_yaxes(title={"text": "λ f(λ)"}, row=row, col=1)


def _range(layers: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Ends of the axis that shows all filters, as far as they are near 0 to 1; bands may leave it."""
    values = [v for layer in layers for v in layer["learnt"] if v is not None]
    return max(-1.0, min([-0.15, *(v - 0.1 for v in values)])), min(2.5, max([1.2, *(v + 0.1 for v in values)]))


def _says(curve: Iterable[float | None]) -> bool:
    return any(v is not None and abs(v) > 1e-9 for v in curve)


def _panel_title(layer: Mapping[str, Any]) -> str:
    explained = layer["explained"]
    told = "says nothing" if explained is None else f"{percent(explained)} explained"
    return f"<b>{_short(layer)}</b>  {told}"


def _short(layer: Mapping[str, Any]) -> str:
    return "Embedding" if layer["layer"] == 0 else f"Layer {layer['layer']}"


def _band(at: Sequence[float], layer: Mapping[str, Any], scheme: Scheme, *, told: bool) -> go.Scatter:
    return go.Scatter(
        x=[*at, *reversed(at)],
        y=[*layer["high"], *reversed(layer["low"])],
        fill="toself",
        fillcolor=faint(model_color(scheme), 0.2),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        name="95 % bootstrap over prompts",
        legendgroup="band",
        showlegend=told,
    )


def _learnt(at: Sequence[float], layer: Mapping[str, Any], line_color: str, *, told: bool) -> go.Scatter:
    return go.Scatter(
        x=list(at),
        y=list(layer["learnt"]),
        mode="lines+markers",
        line={"color": line_color, "width": 2.5},
        marker={"size": 5},
        name="this layer",
        legendgroup="layer",
        showlegend=told,
        hovertext=_tell_points(at, layer),
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _tell_points(at: Sequence[float], layer: Mapping[str, Any]) -> list[str]:
    ends = zip(layer["low"], layer["high"], strict=True)
    return [
        f"<b>{layer_name(layer['layer']).capitalize()}</b><br>λ = {a:.3g}<br>λ f(λ) = {number(v)} {number_interval(e)}"
        for a, v, e in zip(at, layer["learnt"], ends, strict=True)
    ]


def _reference(at: Sequence[float], name: str, layer: Mapping[str, Any], scheme: Scheme, *, told: bool) -> go.Scatter:
    apart = layer["distances"].get(name)
    return go.Scatter(
        x=list(at),
        y=list(layer["references"][name]),
        mode="lines",
        line={"color": color(name, scheme), "dash": dash_style(name), "width": 1.8},
        name=label(name),
        legendgroup=label(name),
        showlegend=told,
        hovertemplate=f"{label(name)}, nearest: %{{y:.3f}}<br>distance {number(apart)}<extra></extra>",
    )


def depth_figure(fingerprint: Mapping[str, Any] | None, scheme: Scheme = "light") -> go.Figure:
    """The filters of all layers in one panel, coloured by depth; below, where least squares says most.

    Args:
        fingerprint: The filters of an agreement record's reading.
        scheme: Colour scheme.
    """
    if not fingerprint:
        return empty_figure(NO_FILTERS, scheme)
    at, layers = fingerprint["eigenvalues"], fingerprint["layers"]
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.8, 0.2])
    for layer in layers:
        line_color = depth_color(layer["layer"], len(layers), scheme)
        figure.add_trace(
            _learnt(at, layer, line_color, told=True).update(
                name=_short(layer),
                legendgroup=_short(layer),
                marker={"symbol": _MARKS[layer["layer"] % len(_MARKS)], "size": 7},
            ),
            row=1,
            col=1,
        )
    for level, told in ((0, "nothing learnt"), (1, "least squares")):
        ends = {"x0": 0, "x1": 1, "xref": "x domain", "y0": level, "y1": level, "yref": "y"}
        figure.add_shape(type="line", **ends, line={"dash": "dot", "width": 1, "color": text_color(scheme)})
        figure.add_annotation(
            text=told,
            x=0.005,
            xref="x domain",
            xanchor="left",
            y=level,
            yref="y",
            yanchor="bottom" if level else "top",
            showarrow=False,
            font={"size": 12},
        )
    weights = go.Bar(
        x=list(at),
        y=[100 * weight for weight in fingerprint["weights"]],
        marker={"color": text_color(scheme), "opacity": 0.55},
        width=_bar_widths(at),
        showlegend=False,
        hovertemplate="λ = %{x:.3g}<br>%{y:.1f} % of what least squares says<extra></extra>",
    )
    figure.add_trace(weights, row=2, col=1)
    figure.update_xaxes(type="log", exponentformat="power", dtick=1)
    figure.update_xaxes(title={"text": _SCALES[fingerprint["scale"]]}, row=2, col=1)
    low, high = _range(layers)
    figure.update_yaxes(title={"text": "λ f(λ): share learnt"}, range=[low, high], row=1, col=1)
    figure.update_yaxes(title={"text": "Weight, %"}, rangemode="tozero", nticks=4, row=2, col=1)
    figure.update_layout(
        template=template(scheme),
        title={"text": "How does the filter grow with depth?"},
        legend={"orientation": "v", "x": 1.01, "y": 1, "yanchor": "top"},
        bargap=0.2,
    )
    return figure


def _bar_widths(at: Sequence[float]) -> list[float]:
    """Widths of bars that look alike on a log axis: a little over half the way to the next."""
    step = at[1] / at[0] if len(at) > 1 else 2.0
    return [a * (step**0.3 - step**-0.3) for a in at]
