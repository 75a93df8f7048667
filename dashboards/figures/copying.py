"""Attention between inputs and labels over training, above the risk that falls with it."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.colors import qualitative
from plotly.subplots import make_subplots

from dashboards.figures.axes import drawable, log_axis, log_range
from dashboards.theme import Scheme, empty_figure, model_color, template, text_color

NO_COPYING = "Inputs and labels are no tokens of their own here, or this has not been measured over training."
_WAYS = {"label": ("input looks at its label", "dash"), "input": ("label looks at its input", "solid")}
_MOST = 8
"""Lines of heads that are drawn, those that come farthest from chance."""
_FORM = "step_behind_copying"


def copying_figure(record: Mapping[str, Any], scheme: Scheme = "light") -> go.Figure:
    """Attention to the other token of an example at every checkpoint by layer, head and way; below, the excess risk.

    Args:
        record: A theory record.
        scheme: Colour scheme.
    """
    lines = [line for line in record["over_training"] if line.get("partners")]
    found = record.get("copying")
    if not lines or not found:
        return empty_figure(NO_COPYING, scheme)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.55, 0.45], vertical_spacing=0.06)
    steps = [line["step"] + 1 for line in lines]
    for place, (label, dash, values) in enumerate(_heads(found["partners"], lines)):
        color = qualitative.D3[place % len(qualitative.D3)]
        trace = go.Scatter(x=steps, y=values, mode="lines+markers", name=label, line={"color": color, "dash": dash})
        figure.add_trace(trace, row=1, col=1)
    chance = found["partners"][0]["chance"]
    even = {"color": "#7a7a7a", "dash": "dot"}
    told = go.Scatter(x=steps, y=[chance] * len(steps), mode="lines", line=even, name="chance: spread evenly")
    figure.add_trace(told, row=1, col=1)
    risks = [line["excess"] for line in lines]
    own = {"color": model_color(scheme)}
    risk = go.Scatter(x=steps, y=drawable(risks), mode="lines+markers", name="excess risk of the model", line=own)
    figure.add_trace(risk, row=2, col=1)
    for name, value, dash in _yardsticks(record):
        risks.append(value)
        line = {"color": text_color(scheme), "dash": dash}
        flat = go.Scatter(x=steps, y=[value] * len(steps), mode="lines", name=name, line=line)
        figure.add_trace(flat, row=2, col=1)
    figure.update_yaxes(title={"text": "Share of attention"}, range=[-0.02, 1.02], row=1, col=1)
    figure.update_yaxes(title={"text": "Excess risk"}, **log_axis(*log_range(risks, 1.5)), row=2, col=1)
    figure.update_xaxes(type="log", exponentformat="power", dtick=1)
    figure.update_xaxes(title={"text": "Training step + 1"}, row=2, col=1)
    figure.update_layout(
        template=template(scheme),
        title={"text": "Does a layer learn to bring inputs and labels together before the risk falls?"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        margin={"t": 130},
    )
    return figure


def _heads(
    partners: Sequence[Mapping[str, Any]], lines: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str, list[float]]]:
    """Name, dash and shares over training of the heads that come farthest from chance."""
    ways = list(dict.fromkeys(each["way"] for each in partners))
    told = []
    for each in partners:
        label, dash = _WAYS[each["way"]]
        at = ways.index(each["way"]), each["layer"] - 1, each["head"]
        values = [line["partners"][at[0]][at[1]][at[2]] for line in lines]
        far = max(abs(value - each["chance"]) for value in values)
        told.append((far, f"layer {each['layer']}, head {each['head']}: {label}", dash, values))
    return [(label, dash, values) for _, label, dash, values in sorted(told, key=lambda one: -one[0])[:_MOST]]


def _yardsticks(record: Mapping[str, Any]) -> list[tuple[str, float, str]]:
    """The risk of one step and of predicting 0, where theory tells them."""
    rows = [row for form in record["closed_forms"] if form["name"] == _FORM for row in form["rows"]]
    risk = next((row for row in rows if row["quantity"] == "excess"), None)
    if risk is None:
        return []
    return [("one step", risk["theory"], "dash"), ("predicting 0", risk["controls"]["zero predictor"], "dot")]
