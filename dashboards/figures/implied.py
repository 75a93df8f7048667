"""The steps that layers take by what they say, and the spectra of their key-query products."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.colors import qualitative
from plotly.subplots import make_subplots

from dashboards.figures.weights import finished_maps, heat_map
from dashboards.theme import Scheme, empty_figure, number, template

NO_STEPS = "Layers of this model hold no weights of their own: they are no linear attention over whole examples."
_SHADE = "rgba(122, 122, 122, 0.25)"


def implied_figure(record: Mapping[str, Any], scheme: Scheme = "light") -> go.Figure:
    """The matrix A of the update p <- p - A X^T(Xp - y)/n of every layer.

    Args:
        record: A theory record.
        scheme: Colour scheme.
    """
    layers = record.get("implied")
    if not layers:
        return empty_figure(NO_STEPS, scheme)
    titles = [
        f"Layer {i + 1}: explains {number(layer['r2'], 3)}<br>another prompt's gradient {number(layer['null'], 3)}"
        for i, layer in enumerate(layers)
    ]
    figure = make_subplots(rows=1, cols=len(layers), subplot_titles=titles, horizontal_spacing=0.2 / len(layers))
    names = [f"x{i + 1}" for i in range(len(layers[0]["matrix"]))]
    for col, layer in enumerate(layers, 1):
        figure.add_trace(heat_map(layer["matrix"], names, names, "row {}, column {}"), row=1, col=col)
    title = "Steps that layers take: A of p ← p − A Xᵀ(Xp − y)/n"
    matrices = [layer["matrix"] for layer in layers]
    return finished_maps(figure, title, matrices, scheme, down="Coordinate of p", across="Coordinate of the gradient")


def spectra_figure(record: Mapping[str, Any], scheme: Scheme = "light") -> go.Figure:
    """Singular values of KQ among the inputs over their norm, layer by layer, beside random weights of equal norm.

    Args:
        record: A theory record.
        scheme: Colour scheme.
    """
    found = record["weights"].get("spectra") if record["weights"] else None
    if not found:
        return empty_figure(f"Not told in the coordinates of the data: {record['unfolded']}.", scheme)
    layers = found["values"]
    titles = [f"Layer {i + 1}" for i in range(len(layers))]
    figure = make_subplots(rows=1, cols=len(layers), subplot_titles=titles, shared_yaxes=True)
    places = list(range(1, 1 + len(layers[0][0])))
    for layer, heads in enumerate(layers):
        where: dict[str, Any] = {"row": 1, "col": layer + 1}
        for trace in (*_band(found, layer, places, told=layer == 0), _even(places, told=layer == 0)):
            figure.add_trace(trace, **where)
        for head, values in enumerate(heads):
            color = qualitative.D3[head % len(qualitative.D3)]
            line = {"color": color, "dash": ("solid", "dash", "dot")[head // len(qualitative.D3) % 3]}
            trace = go.Scatter(
                x=places, y=values, mode="lines+markers", name=f"head {head}", line=line, showlegend=layer == 0
            )
            figure.add_trace(trace, **where)
    figure.update_xaxes(title={"text": "Direction"}, dtick=1 if len(places) <= 12 else None)
    figure.update_yaxes(range=[-0.02, 1.02])
    figure.update_yaxes(title={"text": "Singular value over norm"}, row=1, col=1)
    figure.update_annotations(font={"size": 13})
    figure.update_layout(
        template=template(scheme),
        title={"text": "Does KQ look along all inputs alike?"},
        legend={"orientation": "h", "y": 1.1, "yanchor": "bottom", "x": 0},
        margin={"t": 110},
    )
    return figure


def _band(found: Mapping[str, Any], layer: int, places: Sequence[int], *, told: bool) -> tuple[go.Scatter, go.Scatter]:
    """From the lowest to the highest of the heads' null intervals; heads that do not look at inputs have none."""
    lows, highs = (zip(*found[name][layer], strict=True) for name in ("null_low", "null_high"))
    low = [min((value for value in values if value is not None), default=None) for values in lows]
    high = [max((value for value in values if value is not None), default=None) for values in highs]
    hidden = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    name = "random weights of equal norm, 95 % of draws"
    return (
        go.Scatter(x=list(places), y=low, showlegend=False, **hidden),
        go.Scatter(x=list(places), y=high, fill="tonexty", fillcolor=_SHADE, name=name, showlegend=told, **hidden),
    )


def _even(places: Sequence[int], *, told: bool) -> go.Scatter:
    """A multiple of the identity."""
    level = len(places) ** -0.5
    line = {"color": "#7a7a7a", "dash": "dash"}
    name = "a multiple of I"
    return go.Scatter(x=list(places), y=[level] * len(places), mode="lines", line=line, name=name, showlegend=told)
