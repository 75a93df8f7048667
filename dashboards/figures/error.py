"""Squared error of the model and of reference predictors against the number of examples."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from dashboards.figures.axes import drawable
from dashboards.theme import Number, Scheme, color, dash_style, label, model_color, template


def error_figure(record: Mapping[str, Any], scheme: Scheme = "light") -> go.Figure:
    """Squared error over d at every context position, on a log axis; always predicting zero errs by about 1.

    Args:
        record: An agreement record.
        scheme: Colour scheme.
    """
    model, references = record["model_error"], record["reference_error"]
    examples = list(range(len(model)))
    figure = go.Figure(layout={"template": template(scheme)})
    for name, errors in references.items():
        figure.add_scatter(
            x=examples,
            y=drawable(errors),
            name=label(name),
            mode="lines",
            line={"color": color(name, scheme), "dash": dash_style(name), "width": 2},
            hovertemplate="%{y:.3g}",
        )
    figure.add_scatter(
        x=examples,
        y=drawable(model),
        name="Model",
        legendrank=1,
        mode="lines+markers",
        line={"color": model_color(scheme), "width": 3},
        marker={"size": 6},
        hovertemplate="%{y:.3g}",
    )
    low, high = _shown(model, references)
    below = _below(references, 10.0**low)
    note = f"<br>below 10<sup>{low:.0f}</sup>, not drawn: {below}" if below else ""
    figure.update_layout(
        title={"text": "How well does the model predict?"},
        xaxis={"title": {"text": f"In-context examples before the query{note}"}, "rangemode": "tozero"},
        yaxis={
            "title": {"text": "Squared error / d, log"},
            "type": "log",
            "range": [low, high],
            "exponentformat": "power",
            "dtick": 1,
        },
        legend={"orientation": "h", "y": -0.26, "yanchor": "top", "x": 0},
        hovermode="x unified",
    )
    return figure


def _shown(model: Sequence[Number], references: Mapping[str, Sequence[Number]]) -> tuple[float, float]:
    """Exponents of the axis: a decade below the model, so that rounding errors of 1e-15 do not squeeze it."""
    lowest = min((v for v in drawable(model) if v is not None), default=0.1)
    largest = max((v for e in (model, *references.values()) for v in drawable(e) if v is not None), default=1.0)
    return float(math.floor(math.log10(lowest)) - 1), math.log10(2 * max(largest, 1.0))


def _below(references: Mapping[str, Sequence[Number]], floor: float) -> str:
    cut = [label(n) for n, errors in references.items() if any(v is not None and v < floor for v in errors)]
    return ", ".join(cut)
