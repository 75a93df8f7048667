"""Scores of one target's probes, layer by layer and by examples seen, beside what they are worth."""

from collections.abc import Iterable, Sequence

import plotly.graph_objects as go

from dashboards.figures.probe_map import told
from dashboards.probe_studies import Row, Study, measure_label, measure_of, method_label, site_label, tell_place
from dashboards.theme import (
    Number,
    Scheme,
    depth_color,
    empty_figure,
    faint,
    layer_label,
    model_color,
    plain,
    template,
    text_color,
)

_GREY = "#7a7a7a"
_LEGEND = {"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0}
ONE_PLACE = "Probed after one number of examples only."


def scores_figure(
    study: Study, method: str, component: str, place: str, target: str, scheme: Scheme = "light"
) -> go.Figure:
    """A target's score by layer with its interval; ceiling, selectivity and all controls beside it.

    Args:
        study: Probe records.
        method: How.
        component: What was read.
        place: Which token.
        target: What was looked for.
        scheme: Colour scheme.
    """
    rows = study.picked(method=method, component=component, place=place, target=target)
    if not rows:
        return empty_figure("Nothing was probed so.", scheme)
    measure = measure_of(rows)
    figure = go.Figure(layout={"template": template(scheme)})
    ends = [row[f"{measure}_shuffled_max"] for row in rows]
    means = [row[f"{measure}_shuffled"] for row in rows]
    sites = list(range(len(rows)))
    figure.add_trace(_line(sites, ends, "", _GREY, "solid", width=0, showlegend=False))
    band = _line(sites, means, "shuffled targets, mean to highest", _GREY, "dot")
    figure.add_trace(band.update(fill="tonexty", fillcolor=faint(_GREY, 0.25)))
    neutral = text_color(scheme)
    figure.add_trace(_line(sites, [row["ceiling"] for row in rows], "ceiling", neutral, "dash"))
    figure.add_trace(_line(sites, [row[f"{measure}_embedding"] for row in rows], "embedding", _GREY, "longdashdot"))
    untrained = [row[f"{measure}_untrained"] for row in rows]
    figure.add_trace(_line(sites, untrained, "before training", "#d9730d", "dashdot", symbol="square-open"))
    if any(row[f"{measure}_control"] is not None for row in rows):
        control = [row[f"{measure}_control"] for row in rows]
        name = plain(f"control run {study.control}")
        figure.add_trace(_line(sites, control, name, "#8a63d2", "8px 3px 2px 3px", symbol="triangle-up-open"))
    by_type = [row.get(f"{measure}_control_task") for row in rows]
    if any(value is not None for value in by_type):
        figure.add_trace(_line(sites, by_type, "control task", "#12a594", "2px 4px", symbol="diamond-open"))
    selectivity = [row["selectivity"] for row in rows]
    marks = {"symbol": "x-thin-open", "size": 9, "color": neutral, "line": {"width": 1.5}}
    figure.add_trace(go.Scatter(x=sites, y=selectivity, mode="markers", marker=marks, name="selectivity"))
    shown = _line(
        sites, [row[measure] for row in rows], "score, 95 % bootstrap over prompts", model_color(scheme), "solid"
    )
    shown.update(error_y=_bars(rows, measure), mode="lines+markers" if rows[0]["head"] is None else "markers")
    shown.update(hovertext=[told(row, measure) for row in rows], hovertemplate="%{hovertext}<extra></extra>")
    figure.add_trace(shown)
    _axes(figure, [site_label(row) for row in rows], rows, measure)
    title = f"{plain(target)} by {method_label(method).lower()}, {tell_place(rows[0])}"
    figure.update_layout(title={"text": title}, legend=_LEGEND, margin={"t": 56})
    return figure


def _axes(figure: go.Figure, labels: Sequence[str], rows: Sequence[Row], measure: str) -> None:
    stride = 1 + (len(labels) - 1) // 26
    shown = [i for i in range(len(labels)) if i % stride == 0]
    title = "Layer.head" if rows[0]["head"] is not None else "Layer (emb: embedding)"
    figure.update_xaxes(title={"text": title}, tickvals=shown, ticktext=[labels[i] for i in shown])
    figure.update_xaxes(range=[-0.5, len(labels) - 0.5])
    known = [row[measure] for row in rows] + [row[f"{measure}_untrained"] for row in rows]
    low = min([0.0, *(value for value in known if value is not None)])
    figure.update_yaxes(title={"text": measure_label(measure)}, range=[max(low, -1.0) - 0.05, 1.06])


def _line(
    x: Sequence[Number],
    y: Sequence[Number],
    name: str,
    color: str,
    dash: str,
    *,
    width: int = 2,
    symbol: str | None = None,
    showlegend: bool = True,
) -> go.Scatter:
    return go.Scatter(
        x=list(x),
        y=list(y),
        mode="lines+markers" if symbol else "lines",
        line={"color": color, "dash": dash, "width": width},
        marker={"symbol": symbol or "circle", "size": 7, "color": color},
        name=name,
        showlegend=showlegend,
        hoverinfo="skip" if not showlegend else None,
    )


def _bars(rows: Sequence[Row], measure: str, thickness: float | int = 1.5) -> dict[str, object]:
    ends = [(row[measure], *row[f"{measure}_ci"]) for row in rows]
    return {
        "type": "data",
        "symmetric": False,
        "array": [None if None in (value, high) else high - value for value, _, high in ends],
        "arrayminus": [None if None in (value, low) else value - low for value, low, _ in ends],
        "thickness": thickness,
        "width": 3,
    }


def by_examples_figure(study: Study, method: str, component: str, target: str, scheme: Scheme = "light") -> go.Figure:
    """A target's score against the examples seen, a line for every layer, beside ceiling and controls.

    Where every token was read by a probe of its own, tokens stand on the axis instead.

    Args:
        study: Probe records.
        method: How.
        component: What was read.
        target: What was looked for.
        scheme: Colour scheme.
    """
    rows = [
        row for row in study.picked(method=method, component=component, target=target) if row["position"] is not None
    ]
    axis = "position" if study.config.reading == "each" else "n_context"
    at = sorted({row[axis] for row in rows if row[axis] is not None})
    if len(at) < 2:
        return empty_figure(ONE_PLACE, scheme)
    measure = measure_of(rows)
    figure = go.Figure(layout={"template": template(scheme)})
    n_layers = 1 + max(row["layer"] for row in rows)
    told_layers = set()
    for site in dict.fromkeys(site_label(row) for row in rows):
        line = sorted((row for row in rows if site_label(row) == site), key=lambda row: row[axis])
        layer = line[0]["layer"]
        name, shade = layer_label(layer), depth_color(layer, n_layers, scheme)
        scores = [row[measure] for row in line]
        drawn = _line([row[axis] for row in line], scores, name, shade, "solid", symbol="circle")
        drawn.update(error_y=_bars(line, measure, 1), legendgroup=str(layer), showlegend=layer not in told_layers)
        drawn.update(hovertext=[told(row, measure) for row in line], hovertemplate="%{hovertext}<extra></extra>")
        told_layers.add(layer)
        figure.add_trace(drawn)
    for key, name, dash in (
        ("ceiling", "ceiling", "dash"),
        (f"{measure}_untrained", "before training, highest of all layers", "dashdot"),
        (f"{measure}_shuffled_max", "shuffled targets, highest of all layers", "dot"),
    ):
        most = [_highest(row[key] for row in rows if row[axis] == n) for n in at]
        shade = text_color(scheme) if key == "ceiling" else _GREY
        figure.add_trace(_line(at, most, name, shade, dash))
    known = [row[measure] for row in rows if row[measure] is not None]
    figure.update_xaxes(title={"text": "Token, 0-based" if axis == "position" else "Examples seen, n"})
    if len(at) <= 12:
        figure.update_xaxes(tickvals=at)
    figure.update_yaxes(title={"text": measure_label(measure)}, range=[max(min([0.0, *known]), -1.0) - 0.05, 1.06])
    against = "by token" if axis == "position" else "against examples seen"
    title = f"{plain(target)} by {method_label(method).lower()}, {against}"
    figure.update_layout(title={"text": title}, legend={**_LEGEND, "title": {"text": "Layer"}})
    return figure


def _highest(values: Iterable[Number]) -> Number:
    known = [value for value in values if value is not None]
    return max(known) if known else None
