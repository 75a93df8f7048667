"""One measure of every layer against anchors and against its own best steps, in one region of positions."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboards.figures.axes import drawable
from dashboards.theme import (
    Number,
    Scheme,
    anchor_label,
    color,
    dash_style,
    depth_color,
    empty_figure,
    label,
    layer_label,
    layer_name,
    number,
    number_interval,
    plain,
    region_label,
    steps_label,
    symbol,
    template,
)
from workbench.agreement.beside import OUTPUT, Pair, apart, pairs
from workbench.agreement.measures import MEASURES, Measure

_DODGE = 0.07
"""Layers by which series stand beside each other, so that their intervals do not overlap."""
_KINDS = (("mean", "low", "high"), ("median", "median_low", "median_high"))
_REGION_MARKS = (("circle", "solid"), ("diamond", "dash"), ("square", "dot"))


def measures_figure(found: Mapping[str, Any], measure: str, region: str, scheme: Scheme = "light") -> go.Figure:
    """A measure of every layer and the output, the mean over prompts beside the median.

    Anchors are dashed. Each layer stands beside the steps of an iterative algorithm that it matches best. Bars are 95 %
    bootstrap intervals over prompts.

    Args:
        found: A record of measures.
        measure: Name from ``MEASURES``.
        region: Name of a region of context positions.
        scheme: Colour scheme.
    """
    table = _table(found, measure, region)
    if table is None:
        return empty_figure("This measure was not taken in this region.", scheme)
    about = MEASURES[measure]
    series = _series(pairs(found))
    titles = ("Mean over prompts and positions", "Median over prompts")
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.08, shared_yaxes=True, subplot_titles=titles)
    for col, kind in enumerate(_KINDS, 1):
        for place, (name, own) in enumerate(series.items()):
            shift = _DODGE * (place - (len(series) - 1) / 2)
            figure.add_trace(_line(table, about, name, own, kind, shift, scheme, first=col == 1), row=1, col=col)
    figure.update_xaxes(row_axis(found["rows"]))
    figure.update_yaxes(_value_axis(about))
    figure.update_yaxes(title={"text": _axis_title(about)}, row=1, col=1)
    figure.update_annotations(font={"size": 13})
    where = next((region_label(each) for each in found["regions"] if each["name"] == region), region)
    figure.update_layout(
        template=template(scheme),
        title={"text": f"{about.label}, {plain(where)}<br><sup>{about.unit}; bars: 95 % bootstrap over prompts</sup>"},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
        margin={"t": 104},
    )
    return figure


def _table(found: Mapping[str, Any], measure: str, region: str) -> Mapping[str, Any] | None:
    same = (t for t in found["tables"] if (t["measure"], t["region"]) == (measure, region))
    return next(same, None) if measure in MEASURES else None


def _series(found: Sequence[Pair]) -> dict[str, list[Pair]]:
    """The pairs by algorithm, anchors first."""
    names = dict.fromkeys(pair.name for pair in sorted(found, key=lambda pair: pair.step is not None))
    return {name: [pair for pair in found if pair.name == name] for name in names}


def _line(
    table: Mapping[str, Any],
    about: Measure,
    name: str,
    own: Sequence[Pair],
    kind: tuple[str, str, str],
    shift: float,
    scheme: Scheme,
    *,
    first: bool,
) -> go.Scatter:
    is_anchor = own[0].step is None
    values, lows, highs = ([table[key][pair.row_place][pair.place] for pair in own] for key in kind)
    shown = drawable(values) if _is_log(about) else list(values)
    undefined = [table["undefined"][pair.row_place][pair.place] for pair in own]
    return go.Scatter(
        x=[pair.row_place + shift for pair in own],
        y=shown,
        name=tell_algorithm(name, own[0]),
        legendgroup=name,
        showlegend=first,
        mode="lines+markers",
        line={"color": color(name, scheme), "width": 1.5, "dash": dash_style(name) if is_anchor else "solid"},
        marker={"symbol": symbol(name), "size": 8, "color": color(name, scheme)},
        error_y=_bars(shown, lows, highs),
        hovertext=[
            f"<b>{_row_name(pair.row)}</b><br>{tell_pair(pair)}<br>{kind[0]} {number(value)} {number_interval(ends)}"
            + (f"<br>undefined and left out: {100 * out:.3g} %" if out else "")
            for pair, value, ends, out in zip(own, values, zip(lows, highs, strict=True), undefined, strict=True)
        ],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _bars(values: Sequence[Number], lows: Sequence[Number], highs: Sequence[Number]) -> dict[str, Any]:
    known = [None not in ends for ends in zip(values, lows, highs, strict=True)]
    up = [max(high - value, 0) if k else 0 for k, value, high in zip(known, values, highs, strict=True)]  # type: ignore[operator]
    down = [max(value - low, 0) if k else 0 for k, value, low in zip(known, values, lows, strict=True)]  # type: ignore[operator]
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 1.3, "width": 3}


def tell_algorithm(name: str, pair: Pair) -> str:
    """A series in a legend: an anchor's name, or an algorithm at each layer's best steps."""
    if pair.step is not None:
        return f"{label(name)}, each layer's best step"
    return anchor_label("bayes") if "ridge" in pair.options else anchor_label(name)


def tell_pair(pair: Pair) -> str:
    """One algorithm in a table cell or a tooltip, with its steps."""
    return tell_algorithm(pair.name, pair) if pair.step is None else steps_label(pair.name, pair.step)


def _row_name(row: str) -> str:
    return "The output" if row == OUTPUT else layer_name(int(row)).capitalize()


def row_axis(rows: Sequence[str]) -> dict[str, Any]:
    """The axis of layers with the model's output at its end; labels thinned out in deep models."""
    stride = 1 + (len(rows) - 1) // 26
    shown = [i for i, row in enumerate(rows) if row == OUTPUT or (i % stride == 0 and i < len(rows) - stride)]
    return {
        "title": {"text": "Layer (emb: embedding, out: the output)"},
        "tickvals": shown,
        "ticktext": ["out" if rows[i] == OUTPUT else layer_label(int(rows[i])) for i in shown],
        "range": [-0.5, len(rows) - 0.5],
    }


def _is_log(about: Measure) -> bool:
    return not about.higher_is_better


def _value_axis(about: Measure) -> dict[str, Any]:
    if _is_log(about):
        return {"type": "log", "exponentformat": "power", "dtick": 1}
    return {"rangemode": "normal", "zeroline": True}


def _axis_title(about: Measure) -> str:
    good = "log; less is more alike" if _is_log(about) else "more is more alike"
    return f"{about.label.split(':')[0]}<br>({good})"


def linearity_figure(found: Mapping[str, Any], scheme: Scheme = "light") -> go.Figure:
    """How linear in a fresh query every layer is, by region; where it is not, induced weights say little.

    Args:
        found: A record of measures.
        scheme: Colour scheme.
    """
    by_region = {each["region"]: each for each in found["linearity"]}
    shown = [region for region in apart(found["regions"]) if region["name"] in by_region]
    if not shown:
        return empty_figure("Induced weights were not measured.", scheme)
    figure = go.Figure(layout={"template": template(scheme)})
    for place, region in enumerate(shown):
        own = by_region[region["name"]]
        marker, dash = _REGION_MARKS[place % len(_REGION_MARKS)]
        line_color = depth_color(place, len(_REGION_MARKS) + 1, scheme)
        figure.add_scatter(
            x=[i + _DODGE * (place - 1) for i in range(len(found["rows"]))],
            y=own["mean"],
            name=plain(region_label(region)),
            mode="lines+markers",
            line={"color": line_color, "dash": dash, "width": 2},
            marker={"symbol": marker, "size": 8},
            error_y=_bars(own["mean"], own["low"], own["high"]),
            hovertext=[
                f"<b>{_row_name(row)}</b><br>{plain(region_label(region))}<br>R² {number(own['mean'][i])} "
                f"{number_interval((own['low'][i], own['high'][i]))}<br>median {number(own['median'][i])}"
                for i, row in enumerate(found["rows"])
            ],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    known = [
        v
        for each in shown
        for v in (*by_region[each["name"]]["mean"], *by_region[each["name"]]["low"])
        if v is not None
    ]
    figure.update_layout(
        title={"text": "Are the layers linear in the query?"},
        xaxis=row_axis(found["rows"]),
        yaxis={
            "title": {"text": "R² of the linear fit<br>to fresh queries"},
            "range": [min([0.0, *known]) - 0.02, 1.03],
        },
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
    )
    return figure
