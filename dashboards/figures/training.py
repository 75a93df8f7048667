"""Loss of a run against its training step."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from dashboards.figures.axes import drawable, log_axis, log_range
from dashboards.theme import Number, Scheme, color, empty_figure, model_color, template, text_color

_MOST_POINTS = 2000
_LABEL_WIDTH = 0.06
"""Share of the axis that a curriculum label takes: nearer ones would overlap."""


def training_figure(lines: Sequence[Mapping[str, Any]], scheme: Scheme = "light") -> go.Figure:
    """Loss and its excess over least squares against the training step, on a log axis.

    Args:
        lines: Lines of metrics, in order of steps.
        scheme: Colour scheme.
    """
    if not lines:
        return empty_figure("No step is logged yet.", scheme)
    stride = 1 + (len(lines) - 1) // _MOST_POINTS
    shown = [*lines[:-1:stride], lines[-1]]
    steps = [line.get("step") for line in shown]
    curves = {
        "Loss": ("loss", model_color(scheme), "solid"),
        "Excess over least squares": ("excess", color("gd", scheme), "dot"),
    }
    figure = go.Figure(layout={"template": template(scheme)})
    drawn: list[Number] = []
    for name, (key, line_color, dash) in curves.items():
        values = drawable(line.get(key) for line in shown)
        drawn += values
        if any(v is not None for v in values):
            figure.add_scatter(
                x=steps,
                y=values,
                name=name,
                mode="lines" if len(shown) > 1 else "markers",
                line={"color": line_color, "dash": dash, "width": 2},
                hovertemplate="step %{x}<br>" + name.lower() + " %{y:.4g}<extra></extra>",
            )
    _mark_curriculum(figure, lines, scheme)
    thinned = f", every {stride}th of {len(lines)} logged steps" if stride > 1 else ""
    figure.update_layout(
        title={"text": "Training loss"},
        xaxis={"title": {"text": f"Training step (updates{thinned})"}, "rangemode": "tozero"},
        yaxis={
            "title": {"text": "Mean loss per prediction, log"},
            **log_axis(*log_range(drawn, room_below=1.5)),
        },
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        showlegend=True,
        hovermode="x unified",
        uirevision="training",
    )
    return figure


def _mark_curriculum(figure: go.Figure, lines: Sequence[Mapping[str, Any]], scheme: Scheme) -> None:
    """A dotted line wherever one more input coordinate came into use."""
    changes = [
        (after["step"], after["d_active"])
        for before, after in pairwise(lines)
        if after.get("d_active") is not None and before.get("d_active") != after["d_active"]
    ]
    width = _LABEL_WIDTH * lines[-1]["step"]
    told_at = -width
    for step, d_active in changes:
        last = step == changes[-1][0]
        told = f"d={d_active}" if step - told_at >= width and (last or changes[-1][0] - step >= width) else None
        told_at = step if told else told_at
        figure.add_vline(
            x=step,
            line={"dash": "dot", "width": 1, "color": text_color(scheme)},
            opacity=0.55,
            annotation={"text": told, "font": {"size": 12}, "yanchor": "top"} if told else None,
        )
