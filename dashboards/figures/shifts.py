"""Risk on prompts unlike those of training, and of the layer applied again and again, on theory's."""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboards.figures.axes import drawable
from dashboards.figures.weights import measured_trace
from dashboards.theme import Scheme, empty_figure, model_color, template, text_color

_COLUMNS = 3
_ROW = 270
_WRAPPED = 34
"""Letters in a line of a panel's title."""
_APART = 0.09
"""Share of the axis between two numbers on it, at least."""
NO_SHIFTS = "No closed form says what this model predicts on other prompts."


def best_form(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The closed form whose predictor errs least on the run's own prompts, of those asked on others."""
    forms = [form for form in record["closed_forms"] if form.get("shifted")]

    def excess(form: Mapping[str, Any]) -> float:
        return next(row["theory"] for row in form["rows"] if row["quantity"] == "excess")

    return min(forms, key=excess, default=None)


def shifts_figure(record: Mapping[str, Any], scheme: Scheme = "light") -> go.Figure:
    """Excess risk of the model and of theory's predictor on the same prompts, shift by shift.

    Args:
        record: A theory record.
        scheme: Colour scheme.
    """
    form = best_form(record)
    if form is None:
        return empty_figure(NO_SHIFTS, scheme)
    panels = [(each["label"], each["at"], each["theory"], each) for each in form["shifted"]]
    rolled = form["rolled_out"]
    labels = [label for label, *_ in panels] + (["times applied, damped"] if rolled else [])
    titles = ["<br>".join(wrap(label, _WRAPPED)) for label in labels]
    n_rows = -(-len(titles) // _COLUMNS)
    figure = make_subplots(
        rows=n_rows, cols=_COLUMNS, subplot_titles=titles, horizontal_spacing=0.06, vertical_spacing=0.34 / n_rows
    )
    dashed = {"color": text_color(scheme), "dash": "dash"}
    for place, (_, at, theory, each) in enumerate(panels):
        where: dict[str, Any] = {"row": 1 + place // _COLUMNS, "col": 1 + place % _COLUMNS}
        told = go.Scatter(
            x=at, y=drawable(theory), mode="lines", line=dashed, name="theory, same prompts", showlegend=place == 0
        )
        figure.add_trace(told, **where)
        measured = {"at": at, "measured": each["excess"], "low": each["low"], "high": each["high"]}
        figure.add_trace(measured_trace(measured, scheme, told=place == 0), **where)
        figure.update_xaxes(tickvals=_ticks(at), ticktext=[f"{value:g}" for value in _ticks(at)], **where)
    if rolled:
        where = {"row": 1 + len(panels) // _COLUMNS, "col": 1 + len(panels) % _COLUMNS}
        for name, line in (("theory", dashed), ("excess", {"color": model_color(scheme)})):
            steps = list(range(len(rolled[name])))
            trace = go.Scatter(x=steps, y=drawable(rolled[name]), mode="lines", line=line, showlegend=False, name=name)
            figure.add_trace(trace, **where)
    figure.update_yaxes(type="log", exponentformat="power", nticks=5)
    figure.update_yaxes(title={"text": "Excess risk, y²"}, col=1)
    figure.update_annotations(font={"size": 12})
    figure.update_layout(
        template=template(scheme),
        title={"text": f"{form['label']}, on other prompts too?"},
        legend={"orientation": "h", "y": 1.02 + 0.1 / n_rows, "yanchor": "bottom", "x": 0},
        margin={"t": 120},
    )
    return figure


def _ticks(at: Sequence[float]) -> list[float]:
    """Those of the values whose numbers have room beside each other, the last among them."""
    kept: list[float] = []
    for value in sorted(at, reverse=True):
        if not kept or kept[-1] - value >= _APART * (max(at) - min(at)):
            kept.append(value)
    return kept[::-1]


def shifts_height(record: Mapping[str, Any] | None) -> int:
    """Height in pixels of that figure."""
    form = best_form(record) if record else None
    if form is None:
        return 110
    panels = len(form["shifted"]) + bool(form["rolled_out"])
    return 160 + _ROW * -(-panels // _COLUMNS)
