"""How layers came to agree with an algorithm, checkpoint by checkpoint."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboards.figures.axes import drawable, log_axis, log_range, log_step_axis, on_log_steps
from dashboards.theme import (
    Number,
    Scheme,
    color,
    count_interval,
    dash_style,
    depth_color,
    label,
    layer_name,
    model_color,
    number,
    number_interval,
    symbol,
    template,
    text_color,
)
from workbench.agreement.trend import FIT_ENOUGH

_REFERENCES = ("zero", "ols", "ridge")
_LOW_X = 0.5
"""Where a logarithmic axis shows update 0: one notch below update 1."""


def part_of_row(row: Mapping[str, Any], *, final_norm: bool) -> Mapping[str, Any]:
    """A row's part for one reading; the plain one where there is no other."""
    return row["final_norm"] if final_norm and row["final_norm"] else row


def best_steps_over_training(
    table: Mapping[str, Any], family: str, *, final_norm: bool = False, log: bool = True, scheme: Scheme = "light"
) -> go.Figure:
    """Best-matching step of every layer at every checkpoint; hollow where the layer sits on an anchor.

    Bars are 95 % bootstrap intervals over prompts.

    Args:
        table: A table over training.
        family: Algorithm, by registry name.
        final_norm: Whether layers are read through the final norm.
        log: Whether both axes are logarithmic.
        scheme: Colour scheme.
    """
    parts = [part_of_row(row, final_norm=final_norm) for row in table["rows"]]
    steps = [row["checkpoint"] for row in table["rows"]]
    n_layers = len(parts[0]["layers"])
    figure = go.Figure(layout={"template": template(scheme)})
    for layer in range(n_layers):
        figure.add_trace(_layer_line([part["layers"][layer] for part in parts], family, steps, n_layers, log, scheme))
    for layer in range(n_layers):
        figure.add_trace(_legend(layer, family, depth_color(layer, n_layers, scheme)))
    hollow = {"symbol": f"{symbol(family)}-open", "size": 9, "color": text_color(scheme)}
    figure.add_scatter(x=[None], y=[None], name="hollow: on an anchor", mode="markers", marker=hollow)
    found = [layer["families"][family] for part in parts for layer in part["layers"]]
    largest = max(end for one in found for end in (one["best_step"], *(one["best_step_ci"] or ())) if end is not None)
    y_axis = log_step_axis(largest) if log else {"rangemode": "tozero"}
    figure.update_layout(
        title={"text": f"Which step of {label(family)} does each layer match?"},
        xaxis=checkpoint_axis(steps, log=log),
        yaxis={**y_axis, "title": {"text": f"Best-matching step{', log' if log else ''}"}},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
    )
    return figure


def _layer_line(
    found: Sequence[Mapping[str, Any]], family: str, steps: Sequence[int], n_layers: int, log: bool, scheme: Scheme
) -> go.Scatter:
    layer = found[0]["layer"]
    own = [one["families"][family] for one in found]
    drawn = on_log_steps if log else float
    best = [drawn(one["best_step"]) for one in own]
    ends = [one["best_step_ci"] or (None, None) for one in own]
    ends = [
        (one["best_step"] if e[0] is None else e[0], one["best_step"] if e[1] is None else e[1])
        for one, e in zip(own, ends, strict=True)
    ]
    line_color = depth_color(layer, n_layers, scheme)
    return go.Scatter(
        x=[_x(step, log=log) for step in steps],
        y=best,
        name=layer_name(layer).capitalize(),
        legendgroup=str(layer),
        showlegend=False,
        mode="lines+markers",
        line={"color": line_color, "width": 2},
        marker={
            "symbol": [symbol(family) + ("-open" if one["at_anchor"] else "") for one in found],
            "size": 8,
            "color": line_color,
        },
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [max(0.0, drawn(high) - b) for b, (_, high) in zip(best, ends, strict=True)],
            "arrayminus": [max(0.0, b - drawn(low)) for b, (low, _) in zip(best, ends, strict=True)],
            "thickness": 1.2,
            "width": 3,
        },
        hovertext=[_tell_layer(one, family, step) for one, step in zip(found, steps, strict=True)],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _legend(layer: int, family: str, line_color: str) -> go.Scatter:
    """An entry with a filled marker: the line's own would take its first, which is hollow."""
    return go.Scatter(
        x=[None],
        y=[None],
        name=layer_name(layer).capitalize(),
        legendgroup=str(layer),
        mode="lines+markers",
        line={"color": line_color, "width": 2},
        marker={"symbol": symbol(family), "size": 8},
    )


def _tell_layer(layer: Mapping[str, Any], family: str, step: int) -> str:
    one = layer["families"][family]
    lines = [
        f"<b>{layer_name(layer['layer']).capitalize()} at update {step}</b>",
        f"{label(family)}: {one['best_step']} steps {count_interval(one['best_step_ci'])}",
        f"SimE {number(one['best_sim_e'])} {number_interval(one['ci'])}",
        f"chance {number(one['chance'])}, untrained {number(one['untrained'])}",
    ]
    return "<br>".join([*lines, "cannot be told from an anchor"] if layer["at_anchor"] else lines)


def _x(step: int, *, log: bool) -> float:
    return max(float(step), _LOW_X) if log else float(step)


def checkpoint_axis(steps: Sequence[int], *, log: bool) -> dict[str, Any]:
    """The axis of checkpoints; a logarithmic one shows update 0 at its lower end."""
    title = {"text": f"Training step of the checkpoint (updates{', log' if log else ''})"}
    if not log:
        return {"title": title, "rangemode": "tozero"}
    positive = [step for step in steps if step] or [1]
    low, high = log_range(positive, room_below=1.25)
    if len(positive) == len(steps):
        return {"title": title, "type": "log", "range": [low, high], "exponentformat": "SI", "dtick": 1}
    powers = [10**p for p in range(9) if 10**p <= 1.3 * max(positive)]
    return {
        "title": title,
        "type": "log",
        "range": [-0.4, high],
        "tickvals": [_LOW_X, *powers],
        "ticktext": ["0", *(f"{power:,}".replace(",", " ") for power in powers)],
        "minor": {"ticks": ""},
    }


def trend_over_training(
    table: Mapping[str, Any], family: str, *, final_norm: bool = False, log: bool = True, scheme: Scheme = "light"
) -> go.Figure:
    """Rate of the trend of best steps over layers, and how straight the two candidate lines are, at every checkpoint.

    Args:
        table: A table over training.
        family: Algorithm, by registry name.
        final_norm: Whether layers are read through the final norm.
        log: Whether the axis of checkpoints is logarithmic.
        scheme: Colour scheme.
    """
    trends = [part_of_row(row, final_norm=final_norm)["trend"][family] for row in table["rows"]]
    steps = [row["checkpoint"] for row in table["rows"]]
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    line_color = color(family, scheme)
    for shape, unit, marker in (
        ("linear", "steps more a layer", "circle"),
        ("geometric", "times as many a layer", "square"),
    ):
        _add_rates(figure, trends, steps, shape, unit, marker, log=log, line_color=line_color)
        r2 = [trend[f"r2_{shape}"] for trend in trends]
        figure.add_scatter(
            x=[_x(step, log=log) for step in steps],
            y=r2,
            name=f"R² {shape}",
            mode="lines+markers",
            line={"color": line_color, "dash": "solid" if shape == "linear" else "dot", "width": 2},
            marker={"symbol": marker, "size": 8},
            hovertext=[f"update {s}: R² {shape} {number(v)}" for s, v in zip(steps, r2, strict=True)],
            hovertemplate="%{hovertext}<extra></extra>",
            row=2,
            col=1,
        )
    figure.add_hline(y=FIT_ENOUGH, line={"dash": "dash", "width": 1, "color": text_color(scheme)}, row=2, col=1)  # type: ignore[arg-type]
    figure.update_xaxes({**checkpoint_axis(steps, log=log), "title": None})
    figure.update_xaxes(title=checkpoint_axis(steps, log=log)["title"], row=2, col=1)
    figure.update_yaxes(title={"text": "Rate, where<br>a trend is named"}, rangemode="tozero", row=1, col=1)
    figure.update_yaxes(
        title={"text": f"R² over layers<br>(dashed: {FIT_ENOUGH} is needed)"}, range=[-0.05, 1.05], row=2, col=1
    )
    figure.update_layout(
        template=template(scheme),
        title={"text": f"Does {label(family)} advance by equal steps or factors?"},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
    )
    return figure


def _add_rates(
    figure: go.Figure,
    trends: Sequence[Mapping[str, Any]],
    steps: Sequence[int],
    shape: str,
    unit: str,
    marker: str,
    *,
    log: bool,
    line_color: str,
) -> None:
    rates = [trend["rate"] if trend["shape"] == shape else None for trend in trends]
    ends = [trend["rate_ci"] or (None, None) for trend in trends]
    known = [rate is not None and None not in end for rate, end in zip(rates, ends, strict=True)]
    figure.add_scatter(
        x=[_x(step, log=log) for step in steps],
        y=rates,
        name=f"{shape}: {unit}",
        mode="markers",
        marker={"symbol": marker if shape == "linear" else f"{marker}-open", "size": 10, "color": line_color},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [max(0.0, e[1] - r) if k else 0 for k, r, e in zip(known, rates, ends, strict=True)],  # type: ignore[operator]
            "arrayminus": [max(0.0, r - e[0]) if k else 0 for k, r, e in zip(known, rates, ends, strict=True)],  # type: ignore[operator]
        },
        hovertext=[
            f"update {step}: {number(rate, 2)} {number_interval(end, 2)} {unit}"
            for step, rate, end in zip(steps, rates, ends, strict=True)
        ],
        hovertemplate="%{hovertext}<extra></extra>",
        row=1,
        col=1,
    )


def error_over_training(
    table: Mapping[str, Any], *, final_norm: bool = False, log: bool = True, scheme: Scheme = "light"
) -> go.Figure:
    """Mean squared error over d of every layer's read-out and of the output, at every checkpoint.

    Args:
        table: A table over training.
        final_norm: Whether layers are read through the final norm.
        log: Whether the axis of checkpoints is logarithmic.
        scheme: Colour scheme.
    """
    first, last = table["scored_positions"]
    steps = [row["checkpoint"] for row in table["rows"]]
    x = [_x(step, log=log) for step in steps]
    parts = [part_of_row(row, final_norm=final_norm) for row in table["rows"]]
    n_layers = len(parts[0]["layers"])
    figure = go.Figure(layout={"template": template(scheme)})
    drawn: list[Number] = []
    for layer in range(n_layers):
        values = [part["layers"][layer]["error"] for part in parts]
        drawn += values
        _add_errors(figure, x, steps, values, layer_name(layer).capitalize(), depth_color(layer, n_layers, scheme), 1.8)
    output = [_mean(row["model_error"][first : last + 1]) for row in table["rows"]]
    drawn += output
    _add_errors(figure, x, steps, output, "Output", model_color(scheme), 3)
    for name in _REFERENCES:
        value = _mean(table["reference_error"].get(name, [])[first : last + 1])
        if value is not None:
            drawn.append(value)
            figure.add_scatter(
                x=[x[0], x[-1]],
                y=drawable([value, value]),
                name=label(name),
                mode="lines",
                line={"color": color(name, scheme), "dash": dash_style(name), "width": 1.5},
                hovertemplate=f"{label(name)}: {number(value)}<extra></extra>",
            )
    figure.update_layout(
        title={"text": "What do layers and output err by?"},
        xaxis=checkpoint_axis(steps, log=log),
        yaxis={
            "title": {"text": f"Squared error / d, log<br>mean over positions {first} to {last}"},
            **log_axis(*log_range(drawn, room_below=1.5)),
        },
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
    )
    return figure


def _add_errors(
    figure: go.Figure,
    x: Sequence[float],
    steps: Sequence[int],
    values: Sequence[Number],
    name: str,
    line: str,
    width: float | int,
) -> None:
    figure.add_scatter(
        x=list(x),
        y=drawable(values),
        name=name,
        mode="lines+markers",
        line={"color": line, "width": width},
        marker={"size": 5},
        hovertext=[f"<b>{name} at update {s}</b><br>{number(v, 4)}" for s, v in zip(steps, values, strict=True)],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _mean(values: Sequence[Number]) -> Number:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None
