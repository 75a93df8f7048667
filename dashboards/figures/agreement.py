"""Heat map of a model's layers against the steps of one algorithm, with the anchors below it."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboards.figures.axes import layer_axis, thinned
from dashboards.theme import (
    OUTLINE,
    SIM_E_SCALE,
    Scheme,
    anchor_label,
    cosine,
    count_interval,
    label,
    layer_name,
    number,
    number_interval,
    template,
    text_color,
)

_VALUES_UP_TO = 16
"""Layers up to which values are printed in cells."""


def agreement_figure(
    part: Mapping[str, Any], family: str, selected: int | None = None, scheme: Scheme = "light"
) -> go.Figure:
    """SimE of every layer with every step of an algorithm; the best cell of each layer is outlined.

    Args:
        part: An agreement record, or its part for the reading through the final norm.
        family: Algorithm, by registry name.
        selected: Layer whose column is framed.
        scheme: Colour scheme.
    """
    layers = part["layers"]
    found = [layer["families"][family] for layer in layers]
    steps = [str(step) for step in found[0]["steps"]]
    anchors = list(layers[0]["anchors"])
    figure = make_subplots(
        rows=2,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.05,
        row_heights=_heights(len(steps), len(anchors)),
    )
    figure.add_trace(_step_map(layers, family, steps), row=1, col=1)
    figure.add_trace(_anchor_map(layers, anchors), row=2, col=1)
    for layer, one in zip(layers, found, strict=True):
        _outline(figure, layer["layer"], one["steps"].index(one["best_step"]), row=1)
        if layer["at_anchor"] in anchors:
            _outline(figure, layer["layer"], anchors[::-1].index(layer["at_anchor"]), row=2)
    if selected is not None:
        _frame(figure, selected, scheme)
    figure.update_xaxes(showgrid=False, range=layer_axis(len(layers))["range"])
    figure.update_xaxes(layer_axis(len(layers)), row=2, col=1)
    figure.update_yaxes(type="category", showgrid=False)
    figure.update_yaxes(title={"text": f"Steps of {label(family)}"}, tickvals=thinned(steps), row=1, col=1)
    figure.update_yaxes(title={"text": "Anchors"}, row=2, col=1)
    figure.update_layout(
        template=template(scheme),
        title={"text": f"Which step of {label(family)} does each layer match?"},
        coloraxis={
            "colorscale": SIM_E_SCALE,
            "cmin": 0,
            "cmax": 1,
            "colorbar": {
                "title": {"text": "SimE (cosine of residuals; below 0 drawn as 0)", "side": "right"},
                "thickness": 14,
            },
        },
        uirevision=label(family),
    )
    return figure


def _heights(n_steps: int, n_anchors: int) -> list[float]:
    """Shares of the panels: cells of about one height, but readable values in the anchors."""
    anchors = min(0.45, max(0.22, n_anchors / (n_anchors + n_steps)))
    return [1 - anchors, anchors]


def _step_map(layers: Sequence[Mapping[str, Any]], family: str, steps: Sequence[str]) -> go.Heatmap:
    printed = len(layers) <= _VALUES_UP_TO
    columns = [layer["families"][family] for layer in layers]
    best = [one["steps"].index(one["best_step"]) for one in columns]
    return go.Heatmap(
        x=[layer["layer"] for layer in layers],
        y=list(steps),
        z=[[one["sim_e"][row] for one in columns] for row in range(len(steps))],
        text=[
            [cosine(one["best_sim_e"]) if printed and row == b else "" for one, b in zip(columns, best, strict=True)]
            for row in range(len(steps))
        ],
        texttemplate="%{text}",
        textfont={"size": 11},
        hovertext=[
            [_tell_cell(layer, family, row, row == b) for layer, b in zip(layers, best, strict=True)]
            for row in range(len(steps))
        ],
        hovertemplate="%{hovertext}<extra></extra>",
        coloraxis="coloraxis",
        xgap=1,
        ygap=0.5,
    )


def _tell_cell(layer: Mapping[str, Any], family: str, row: int, is_best: bool) -> str:
    one = layer["families"][family]
    lines = [
        f"<b>{layer_name(layer['layer']).capitalize()}</b>",
        f"{label(family)}, {one['steps'][row]} steps",
        f"SimE {number(one['sim_e'][row])}",
    ]
    if is_best:
        lines[-1] += f" {number_interval(one['ci'])}"
        lines.append(f"best step, interval {count_interval(one['best_step_ci'])}")
        lines.append("intervals: 95 % bootstrap over prompts")
    if layer["at_anchor"]:
        lines.append(f"cannot be told from an anchor: {anchor_label(layer['at_anchor'])}")
    return "<br>".join(lines)


def _anchor_map(layers: Sequence[Mapping[str, Any]], anchors: Sequence[str]) -> go.Heatmap:
    rows = list(anchors)[::-1]
    printed = len(layers) <= _VALUES_UP_TO
    values = [[layer["anchors"].get(name) for layer in layers] for name in rows]
    return go.Heatmap(
        x=[layer["layer"] for layer in layers],
        y=[anchor_label(name) for name in rows],
        z=values,
        text=[[cosine(v) if printed else "" for v in row] for row in values],
        texttemplate="%{text}",
        textfont={"size": 11},
        hovertext=[
            [
                f"<b>{layer_name(layer['layer']).capitalize()}</b><br>{anchor_label(name)}"
                f"<br>SimE {number(layer['anchors'].get(name))}"
                for layer in layers
            ]
            for name in rows
        ],
        hovertemplate="%{hovertext}<extra></extra>",
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
    )


def _outline(figure: go.Figure, layer: int, place: int, row: int) -> None:
    # Halves never equal a category's name, which plotly would take for the category instead of a position.
    ends = {"x0": layer - 0.5, "x1": layer + 0.5, "y0": place - 0.5, "y1": place + 0.5}
    figure.add_shape(type="rect", **ends, line={"color": OUTLINE, "width": 2.5}, row=row, col=1)


def _frame(figure: go.Figure, layer: int, scheme: Scheme) -> None:
    """A dashed frame around a layer's column, over both panels."""
    figure.add_shape(
        type="rect",
        xref="x",
        x0=layer - 0.5,
        x1=layer + 0.5,
        yref="paper",
        y0=0,
        y1=1,
        line={"color": text_color(scheme), "width": 1.5, "dash": "dot"},
    )
