"""Weights in the coordinates of the data, beside what theory says of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboards.figures.axes import drawable, log_range
from dashboards.theme import Number, Scheme, empty_figure, model_color, number, template, text_color

NO_DISTANCE = "How far from theory the model was over training has not been measured, or no closed form tells."
NO_GAMMA = "No closed form says what Gamma is for this task and model."
SIGNED = "RdBu"
"""Diverging, white in the middle; blue above 0."""
_PRINTED_UP_TO = 8
"""Coordinates up to which values are printed in cells."""
_SMALL = 0.01
"""Share of a matrix's largest entry below which cells print 0; the number itself stands in the text on hovering."""


def gamma_figure(record: Mapping[str, Any], scheme: Scheme = "light") -> go.Figure:
    """Gamma by theory, as the model's predictions have it, and their difference, in one colour scale.

    Args:
        record: A theory record.
        scheme: Colour scheme.
    """
    if not record["gamma"]:
        return empty_figure(NO_GAMMA, scheme)
    theory, found = record["gamma"]["theory"], record["gamma"]["behaviour"]
    apart = [[b - a for a, b in zip(*rows, strict=True)] for rows in zip(theory, found, strict=True)]
    names = [f"x{i + 1}" for i in range(len(theory))]
    titles = ["Theory", "The model's predictions", "Difference"]
    figure = make_subplots(rows=1, cols=3, subplot_titles=titles, horizontal_spacing=0.07)
    for col, matrix in enumerate((theory, found, apart), 1):
        figure.add_trace(heat_map(matrix, names, names, "row {}, column {}"), row=1, col=col)
    title = "Gamma of the prediction q · Γ g, g the mean of y x over the examples"
    return finished_maps(figure, title, [theory, found, apart], scheme, down="Query coordinate", across="g coordinate")


def products_figure(record: Mapping[str, Any], layer: int, scheme: Scheme = "light") -> go.Figure:
    """Key-query products of a layer's heads, and below what each reads of a key, in data coordinates.

    Args:
        record: A theory record.
        layer: 1 is the first block.
        scheme: Colour scheme.
    """
    weights = record["weights"]
    if not weights:
        return empty_figure(f"Not told in the coordinates of the data: {record['unfolded']}.", scheme)
    scores, read = weights["key_query"][layer - 1], weights["read"][layer - 1]
    n_heads = len(scores)
    figure = make_subplots(
        rows=2,
        cols=n_heads,
        row_heights=[0.8, 0.2],
        vertical_spacing=0.2,
        horizontal_spacing=min(0.08, 0.3 / n_heads),
        subplot_titles=[f"KQ, head {head}" for head in range(n_heads)] + ["Read by the output"] * n_heads,
    )
    names = token_names(len(read[0]), weights["d_input"])
    for head in range(n_heads):
        figure.add_trace(heat_map(scores[head], names, names, "key {}, query {}"), row=1, col=head + 1)
        trace = heat_map([read[head]], [""], names, "{}key {}").update(coloraxis="coloraxis2")
        figure.add_trace(trace, row=2, col=head + 1)
    figure = finished_maps(figure, f"Layer {layer}: products of its heads", scores, scheme, down="Key", across="Query")
    figure.update_xaxes(title={"text": "Key"}, row=2)
    figure.update_yaxes(title={"text": ""}, showticklabels=False, row=2)
    figure.update_layout(coloraxis2=_scale([read], 0.12, 0.3, "read"), coloraxis=_scale(scores, 0.67, 0.7, "score"))
    return figure


def token_names(d_token: int, d_input: int) -> list[str]:
    """Coordinates of a token: those of x, then those of y."""
    labels = d_token - d_input
    return [f"x{i + 1}" for i in range(d_input)] + (["y"] if labels == 1 else [f"y{i + 1}" for i in range(labels)])


def heat_map(matrix: Sequence[Sequence[float]], down: Sequence[str], across: Sequence[str], told: str) -> go.Heatmap:
    """A matrix as cells, with values in them where there is room.

    Args:
        matrix: Rows downwards.
        down: Names of rows.
        across: Names of columns.
        told: What a cell is called, of the names of its row and column.
    """
    printed, floor = len(across) <= _PRINTED_UP_TO, _SMALL * max((abs(v) for row in matrix for v in row), default=0.0)
    return go.Heatmap(
        z=matrix,
        x=list(across),
        y=list(down),
        text=[[_in_cell(v, floor) if printed else "" for v in row] for row in matrix],
        texttemplate="%{text}",
        textfont={"size": 11},
        hovertext=[
            [f"{told.format(d, a)}<br>{number(v, 4)}" for a, v in zip(across, row, strict=True)]
            for d, row in zip(down, matrix, strict=True)
        ],
        hovertemplate="%{hovertext}<extra></extra>",
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
    )


def _in_cell(value: float, floor: float) -> str:
    return "0" if abs(value) < floor else number(value, 2)


def finished_maps(figure: go.Figure, title: str, matrices: Any, scheme: Scheme, *, down: str, across: str) -> go.Figure:
    """Axes, title and one colour scale for all matrices of a figure.

    Args:
        figure: Of heat maps.
        title: Its title.
        matrices: All of them.
        scheme: Colour scheme.
        down: Title of rows.
        across: Title of columns.
    """
    figure.update_xaxes(showgrid=False, type="category", title={"text": across})
    figure.update_yaxes(showgrid=False, type="category", autorange="reversed")
    figure.update_yaxes(title={"text": down}, row=1, col=1)
    figure.update_annotations(font={"size": 13})
    figure.update_layout(
        template=template(scheme),
        title={"text": title},
        coloraxis=_scale(matrices, 0.5, 1.0, "weight"),
        margin={"t": 92},
    )
    return figure


def _scale(matrices: Any, middle: float, length: float, unit: str) -> dict[str, Any]:
    """A diverging scale that is white at 0 and reaches as far down as up."""
    largest = max(abs(v) for matrix in matrices for row in matrix for v in row) or 1.0
    bar = {"title": {"text": unit, "side": "right"}, "thickness": 14, "len": length, "y": middle}
    return {"colorscale": SIGNED, "cmin": -largest, "cmax": largest, "colorbar": bar}


def patterns_figure(record: Mapping[str, Any], scheme: Scheme = "light") -> go.Figure:
    """Every pattern's score, layer by layer and head by head, beside random weights of equal norm.

    Args:
        record: A theory record.
        scheme: Colour scheme.
    """
    if not record["weights"]:
        return empty_figure(f"Not told in the coordinates of the data: {record['unfolded']}.", scheme)
    rows = [row for pattern in record["weights"]["patterns"] for row in pattern_rows(pattern)]
    names = [row[0] for row in rows]
    figure = go.Figure(layout={"template": template(scheme)})
    nulls = [row[2] for row in rows]
    figure.add_trace(
        go.Scatter(
            x=[n[0] for n in nulls],
            y=names,
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [_apart(low=mean, high=high) for mean, _, high in nulls],
                "arrayminus": [_apart(low=low, high=mean) for mean, low, _ in nulls],
                "thickness": 5,
                "width": 0,
            },
            mode="markers",
            marker={"symbol": "line-ns-open", "size": 12},
            line={"color": "#7a7a7a"},
            marker_color="#7a7a7a",
            name="random weights of equal norm: mean, 95 % of draws",
        )
    )
    perfect = [row[3] for row in rows]
    marks = {"symbol": "x-thin-open", "size": 11, "color": text_color(scheme), "line": {"width": 2}}
    figure.add_trace(go.Scatter(x=perfect, y=names, mode="markers", marker=marks, name="perfect pattern"))
    dots = {"symbol": "diamond", "size": 11, "color": model_color(scheme)}
    figure.add_trace(go.Scatter(x=[row[1] for row in rows], y=names, mode="markers", marker=dots, name="the model"))
    largest = max([1.0, *(v for row in rows for v in (row[1], row[2][2]) if v is not None)])
    figure.update_xaxes(title={"text": "Score"}, range=[-0.04, 1.05 * largest])
    figure.update_yaxes(type="category", autorange="reversed")
    figure.update_layout(
        title={"text": "Do the weights have the patterns of theory?"},
        legend={"orientation": "h", "y": 1, "yanchor": "bottom", "x": 0},
        margin={"t": 100},
    )
    return figure


def patterns_height(record: Mapping[str, Any] | None) -> int:
    """Height in pixels of the figure of patterns."""
    weights = record["weights"] if record else None
    n = sum(len(pattern_rows(pattern)) for pattern in weights["patterns"]) if weights else 4
    return 170 + 28 * max(n, 4)


Null = tuple[float | None, float | None, float | None]


def pattern_rows(pattern: Mapping[str, Any]) -> list[tuple[str, float | None, Null, float]]:
    """Place, score, null (mean, low, high) and the perfect score, for every layer or head."""
    flat = [_flat(pattern[name]) for name in ("scores", "null_mean", "null_low", "null_high")]
    return [
        (f"{pattern['label']}, {where}", score, (mean, low, high), pattern["perfect"])
        for (where, score), (_, mean), (_, low), (_, high) in zip(*flat, strict=True)
    ]


def _flat(scores: Sequence[Any]) -> list[tuple[str, float | None]]:
    if scores and isinstance(scores[0], list):
        return [(f"layer {i + 1}, head {j}", v) for i, row in enumerate(scores) for j, v in enumerate(row)]
    return [(f"layer {i + 1}", v) for i, v in enumerate(scores)]


def distance_figure(record: Mapping[str, Any], scheme: Scheme = "light") -> go.Figure:
    """Distance to theory at every checkpoint up to the one shown.

    Args:
        record: A theory record.
        scheme: Colour scheme.
    """
    lines = record["over_training"]
    known = {
        "gamma_error": "Γ, relative error",
        "nmse": "predictions, squared distance over their square",
    }
    drawn = [name for name in known if any(line.get(name) is not None for line in lines)]
    if not drawn:
        return empty_figure(NO_DISTANCE, scheme)
    figure = go.Figure(layout={"template": template(scheme)})
    styles = {"gamma_error": ("circle", "solid"), "nmse": ("square", "dash")}
    for name in drawn:
        symbol, dash = styles[name]
        shade = text_color(scheme) if name == "nmse" else model_color(scheme)
        figure.add_trace(
            go.Scatter(
                x=[line["step"] + 1 for line in lines],
                y=drawable(line[name] for line in lines),
                mode="lines+markers",
                marker={"symbol": symbol, "size": 8},
                line={"dash": dash, "color": shade},
                name=known[name],
            )
        )
    low, high = log_range([line[name] for line in lines for name in drawn])
    figure.update_xaxes(type="log", title={"text": "Training step + 1"}, exponentformat="power", dtick=1)
    figure.update_yaxes(
        type="log", title={"text": "Distance to theory"}, range=[low, high], exponentformat="power", dtick=1
    )
    figure.update_layout(
        title={"text": "Does training reach what theory says?"},
        legend={"orientation": "h", "y": 1, "yanchor": "bottom", "x": 0},
        margin={"t": 90},
    )
    return figure


def curves_figure(record: Mapping[str, Any], scheme: Scheme = "light") -> go.Figure:
    """The model's risk by examples and by input scale, with its intervals, on theory's curves.

    Args:
        record: A theory record.
        scheme: Colour scheme.
    """
    found = [form for form in record["closed_forms"] if form["applies"] and form["curve"] and form["curve"]["is_model"]]
    if not found:
        return empty_figure("No closed form draws a curve for this task and model.", scheme)
    axes = {"n_examples": "Examples in the prompt", "input_scale": "Factor on all inputs"}
    titles = [form["label"] for form in found]
    figure = make_subplots(rows=1, cols=len(found), subplot_titles=titles, horizontal_spacing=0.1)
    for col, form in enumerate(found, 1):
        curve = form["curve"]
        line = {"color": text_color(scheme), "dash": "dash"}
        told = go.Scatter(x=curve["at"], y=curve["theory"], mode="lines", line=line, name="theory", showlegend=col == 1)
        figure.add_trace(told, row=1, col=col)
        figure.add_trace(measured_trace(curve, scheme, told=col == 1), row=1, col=col)
        figure.update_xaxes(title={"text": axes[curve["axis"]]}, type="log", row=1, col=col)
        if len(curve["at"]) <= 8:
            ticks = {"tickvals": curve["at"], "ticktext": [f"{at:g}" for at in curve["at"]]}
            figure.update_xaxes(**ticks, minor={"ticks": ""}, row=1, col=col)
    figure.update_yaxes(type="log", exponentformat="power", dtick=1)
    figure.update_yaxes(title={"text": "Excess risk, in units of y²"}, row=1, col=1)
    figure.update_annotations(font={"size": 13})
    figure.update_layout(
        template=template(scheme),
        title={"text": "Does its risk follow theory where it was not trained?"},
        legend={"orientation": "h", "y": 1.1, "yanchor": "bottom", "x": 0},
        margin={"t": 110},
    )
    return figure


def measured_trace(curve: Mapping[str, Any], scheme: Scheme, *, told: bool) -> go.Scatter:
    """Points of a model with their intervals.

    Args:
        curve: ``at``, ``measured``, ``low`` and ``high``, place by place.
        scheme: Colour scheme.
        told: Whether the legend names them.
    """
    ends = list(zip(curve["measured"], curve["low"], curve["high"], strict=True))
    return go.Scatter(
        x=curve["at"],
        y=curve["measured"],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [_apart(low=m, high=high) for m, _, high in ends],
            "arrayminus": [_apart(low=low, high=m) for m, low, _ in ends],
        },
        mode="markers",
        marker={"symbol": "circle", "size": 8, "color": model_color(scheme)},
        name="the model, 95 % bootstrap over prompts",
        showlegend=told,
    )


def _apart(*, low: Number, high: Number) -> Number:
    """Length of a side of an error bar; none where an end is missing."""
    return None if low is None or high is None else high - low
