"""What is predicted after decoded weights were replaced or erased, layer by layer, beside random directions."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from dashboards.steering_studies import TOKENS, Row, Steering
from dashboards.theme import Number, Scheme, empty_figure, faint, model_color, number, plain, template, text_color

_GREY = "#7a7a7a"
_LEGEND = {"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0}
_SIGNED = "RdBu"
NOT_REPLACED = "Nothing to replace: no probe decodes it at these tokens, or it has another size than x."
LOSSES = {"error": "Squared error / d", "to_ols": "Squared distance to least squares / d"}


def slope_figure(found: Steering, scheme: Scheme = "light") -> go.Figure:
    """Slope of the prediction against w'.x in every layer, with its interval, beside random and untrained ones.

    Where each token was changed alone, a map of layers and tokens.

    Args:
        found: What steering found.
        scheme: Colour scheme.
    """
    rows = [row for row in found.rows if row["steered"] is not None]
    if not rows:
        return empty_figure(NOT_REPLACED, scheme)
    if found.tokens == "each":
        return _slope_map(found, scheme)
    layers = [row["layer"] for row in found.rows]
    figure = go.Figure(layout={"template": template(scheme)})
    steered = [row["steered"] for row in found.rows]
    ranges = [None if each is None else each["random_range"] for each in steered]
    _band(figure, layers, ranges, "random directions, 95 % of draws")
    neutral = text_color(scheme)
    untrained = [row.get("untrained") for row in found.rows]
    if any(each is not None for each in untrained):
        slopes = [None if each is None else each["slope"] for each in untrained]
        bars = _bars(slopes, [None if each is None else each["slope_ci"] for each in untrained])
        figure.add_trace(_marks(layers, slopes, bars, "before training", "#d9730d", "square-open", "dashdot"))
    kept = [None if each is None else each["kept"] for each in steered]
    bars = _bars(kept, [None if each is None else each["kept_ci"] for each in steered])
    figure.add_trace(_marks(layers, kept, bars, "of the prediction before", neutral, "diamond-open", "dot"))
    slopes = [None if each is None else each["slope"] for each in steered]
    bars = _bars(slopes, [None if each is None else each["slope_ci"] for each in steered])
    drawn = _marks(layers, slopes, bars, "of w'·x, 95 % over prompts", model_color(scheme), "circle", "solid")
    drawn.update(hovertext=[_told(row) for row in found.rows], hovertemplate="%{hovertext}<extra></extra>")
    figure.add_trace(drawn)
    for at in (0.0, 1.0):
        figure.add_hline(y=at, line={"color": neutral, "width": 1, "dash": "dash"}, opacity=0.5)
    _axes(figure, layers, "Coefficient in the prediction")
    known = [value for value in (*slopes, *kept) if value is not None]
    figure.update_yaxes(range=[min(-0.15, *known) - 0.05, max(1.1, *known) + 0.05])
    figure.update_layout(title={"text": f"Do predictions follow {plain(found.target)} put in?{_where(found)}"})
    return figure


def _slope_map(found: Steering, scheme: Scheme) -> go.Figure:
    layers = sorted({row["layer"] for row in found.rows})
    positions = sorted({row["positions"][0] for row in found.rows})
    cells = {(row["layer"], row["positions"][0]): row for row in found.rows}
    lines = [[cells.get((layer, position)) for position in positions] for layer in layers]
    values = [[_slope(row) for row in line] for line in lines]
    most = max([0.1, *(abs(value) for line in values for value in line if value is not None)])
    figure = go.Figure(layout={"template": template(scheme)})
    figure.add_trace(
        go.Heatmap(
            z=values,
            x=[f"{'y' if position % 2 else 'x'}{position // 2 + 1}" for position in positions],
            y=[_layer(layer) for layer in layers],
            zmin=-most,
            zmax=most,
            colorscale=_SIGNED,
            reversescale=True,
            colorbar={"title": {"text": "Slope of w'·x", "side": "right"}, "thickness": 14},
            hovertext=[["" if row is None else _told(row) for row in line] for line in lines],
            hovertemplate="%{hovertext}<extra></extra>",
            xgap=1,
            ygap=1,
        )
    )
    figure.update_xaxes(type="category", showgrid=False, title={"text": "Token changed"})
    figure.update_yaxes(type="category", showgrid=False, autorange="reversed", title={"text": "Layer"})
    title = f"Do predictions follow {plain(found.target)} put in? Empty: not decoded there{_where(found)}"
    figure.update_layout(title={"text": title})
    return figure


def _slope(row: Row | None) -> Number:
    return None if row is None or row["steered"] is None else row["steered"]["slope"]


def erasing_figure(found: Steering, loss: str = "error", scheme: Scheme = "light") -> go.Figure:
    """What predictions lose when all that is linear in the target is erased, beside as many random directions.

    Args:
        found: What steering found, a set of tokens changed together.
        loss: ``error``, of labels, or ``to_ols``, of least squares.
        scheme: Colour scheme.
    """
    if found.tokens == "each":
        return empty_figure("Choose tokens that are changed together to see what erasing costs.", scheme)
    layers, erased = [row["layer"] for row in found.rows], [row["erased"] for row in found.rows]
    figure = go.Figure(layout={"template": template(scheme)})
    losses = [each[loss] for each in erased]
    _band(figure, layers, [each["random_range"] for each in losses], "as many random directions, 95 % of draws")
    neutral = text_color(scheme)
    before = [each[f"{loss}_before"] for each in erased]
    figure.add_trace(_marks(layers, before, None, "nothing erased", neutral, None, "dash"))
    values = [each["value"] for each in losses]
    name = f"{plain(found.target)} erased, 95 % over prompts"
    bars = _bars(values, [each["ci"] for each in losses])
    drawn = _marks(layers, values, bars, name, model_color(scheme), "circle", "solid")
    drawn.update(hovertext=[_told_loss(row, loss) for row in found.rows], hovertemplate="%{hovertext}<extra></extra>")
    figure.add_trace(drawn)
    _axes(figure, layers, LOSSES[loss])
    figure.update_yaxes(type="log", exponentformat="power")
    figure.update_layout(title={"text": f"What does it cost to lose {plain(found.target)}?{_where(found)}"})
    return figure


def _where(found: Steering) -> str:
    told = f"{found.n_context} examples seen, changed: {TOKENS.get(found.tokens, found.tokens)}"
    return f"<br><sup>{plain(told)}</sup>"


def _layer(layer: int) -> str:
    return "emb" if layer == 0 else str(layer)


def _axes(figure: go.Figure, layers: Sequence[int], title: str) -> None:
    figure.update_xaxes(
        title={"text": "Layer after which the stream is changed"},
        tickvals=list(layers),
        ticktext=[_layer(layer) for layer in layers],
        range=[min(layers) - 0.5, max(layers) + 0.5],
    )
    figure.update_yaxes(title={"text": title})
    figure.update_layout(legend=_LEGEND, margin={"t": 64})


def _band(figure: go.Figure, x: Sequence[int], ends: Sequence[Sequence[Number] | None], name: str) -> None:
    """A grey band, and marks at its ends so that a band one layer wide shows too."""
    low, high = ([None if each is None else each[end] for each in ends] for end in (0, 1))
    edge = {"color": _GREY, "width": 1}
    for values, more in ((high, {"showlegend": False}), (low, {"fill": "tonexty", "fillcolor": faint(_GREY, 0.25)})):
        shown = {"mode": "lines+markers", "line": edge, "marker": {"symbol": "line-ew-open", "size": 8}}
        figure.add_trace(go.Scatter(x=list(x), y=values, name=name, hoverinfo="skip", **shown, **more))


def _marks(
    x: Sequence[int],
    y: Sequence[Number],
    bars: Mapping[str, Any] | None,
    name: str,
    color: str,
    symbol: str | None,
    dash: str,
) -> go.Scatter:
    return go.Scatter(
        x=list(x),
        y=list(y),
        error_y=bars,
        mode="lines+markers" if symbol else "lines",
        line={"color": color, "dash": dash, "width": 2},
        marker={"symbol": symbol or "circle", "size": 7, "color": color},
        name=name,
    )


def _bars(values: Sequence[Number], ends: Sequence[Sequence[Number] | None]) -> dict[str, Any]:
    pairs = [_lengths(value, end) for value, end in zip(values, ends, strict=True)]
    return {
        "type": "data",
        "symmetric": False,
        "array": [high for _, high in pairs],
        "arrayminus": [low for low, _ in pairs],
        "thickness": 1.5,
        "width": 3,
    }


def _lengths(value: Number, ends: Sequence[Number] | None) -> tuple[Number, Number]:
    """How far an interval reaches below and above its value."""
    low, high = ends or (None, None)
    return (None, None) if value is None or low is None or high is None else (value - low, high - value)


def _told(row: Row) -> str:
    """All that stands beside a slope, for hovering."""
    found = row["steered"]
    if found is None:
        return ""
    low, high = found["slope_ci"]
    first, last = found["random_range"]
    lines = [
        f"layer {_layer(row['layer'])}, {found['n_tokens']} tokens moved, R² of the probes {number(row['r2'])}",
        f"slope {number(found['slope'])} ({number(low)} to {number(high)}), p {number(found['p_value'])}",
        f"random directions {number(first)} to {number(last)}",
        f"of the prediction before {number(found['kept'])}",
        f"length of the move {number(found['length'])}",
    ]
    if row.get("untrained") is not None:
        lines.append(f"slope before training {number(row['untrained']['slope'])}")
    return "<br>".join(lines)


def _told_loss(row: Row, loss: str) -> str:
    found, before = row["erased"][loss], row["erased"][f"{loss}_before"]
    low, high = found["excess_ci"]
    return "<br>".join(
        (
            f"layer {_layer(row['layer'])}, {row['erased']['rank']} directions erased",
            f"{LOSSES[loss]} {number(found['value'])}, before {number(before)}",
            f"random {number(found['random'])}; excess {number(low)} to {number(high)}, p {number(found['p_value'])}",
        )
    )
