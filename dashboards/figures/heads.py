"""One score of every head: layer by layer beside its chance level, and checkpoint by checkpoint."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboards.head_scores import LABEL_LETTERS, LABELS, Head, HeadScore, head_name, head_of, scores_of
from dashboards.theme import (
    OUTLINE,
    Number,
    Scheme,
    depth_color,
    empty_figure,
    number,
    plain,
    template,
    text_color,
)

_CHANCE_ROOM = 0.07
"""Share of a colour bar that the mark of chance keeps free of other marks."""
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "pentagon", "hexagon")


def heads_figure(
    record: Mapping[str, Any], score: str, chosen: str | None = None, scheme: Scheme = "light"
) -> go.Figure:
    """A score of every head, layers down and heads across, with chance on the colour bar and letters for labels.

    Args:
        record: A head record.
        score: Name from `scores_of`.
        chosen: Name of the head to be outlined.
        scheme: Colour scheme.
    """
    about = scores_of(record).get(score)
    if about is None:
        return empty_figure("This record has no such score.", scheme)
    heads = record["heads"]
    n_layers, n_heads = (1 + max(head[axis] for head in heads) for axis in ("layer", "head"))
    shown = np.full((n_layers, n_heads), np.nan, dtype=np.float32)
    letters = [[""] * n_heads for _ in range(n_layers)]
    told = [[""] * n_heads for _ in range(n_layers)]
    for head in heads:
        row, col = head["layer"], head["head"]
        value = _drawn(about, about.of(head))
        shown[row, col] = math.nan if value is None else value
        letters[row][col] = " ".join(LABEL_LETTERS.get(label, "?") for label in head["labels"])
        told[row][col] = tell_head(about, head)
    figure = go.Figure(
        go.Heatmap(
            z=shown,
            text=letters,
            texttemplate="%{text}",
            textfont={"size": 13 if n_layers <= 16 else 11},
            hovertext=told,
            hovertemplate="%{hovertext}<extra></extra>",
            coloraxis="coloraxis",
            xgap=1,
            ygap=1,
        )
    )
    if chosen is not None:
        head = head_of(record, chosen)
        box = {"x0": head["head"] - 0.5, "x1": head["head"] + 0.5, "y0": head["layer"] - 0.5, "y1": head["layer"] + 0.5}
        figure.add_shape(type="rect", **box, line={"color": OUTLINE, "width": 3})
    figure.update_xaxes(title={"text": "Head"}, showgrid=False, zeroline=False, **_whole(n_heads))
    figure.update_yaxes(
        title={"text": "Layer"}, showgrid=False, zeroline=False, autorange="reversed", **_whole(n_layers)
    )
    earned = dict.fromkeys(label for head in heads for label in head["labels"])
    key = ", ".join(f"{LABEL_LETTERS.get(each, '?')} {LABELS.get(each, plain(each))}" for each in earned)
    figure.update_layout(
        template=template(scheme),
        title={"text": f"{plain(about.label)}<br><sup>{key or 'no head has earned a label'}</sup>"},
        coloraxis=_color_axis(about, heads, shown),
        margin={"t": 80},
    )
    return figure


def _whole(n: int) -> dict[str, Any]:
    stride = 1 + (n - 1) // 24
    return {"tickvals": list(range(0, n, stride)), "ticktext": [str(i) for i in range(0, n, stride)]}


def tell_head(about: HeadScore, head: Head) -> str:
    """A head's score in a tooltip: its standard error, chance, and labels."""
    error, named = about.error_of(head), ", ".join(LABELS.get(each, plain(each)) for each in head["labels"])
    bar = "" if error is None else f" ± {number(error)} s.e."
    return (
        f"<b>{head_name(head)}</b><br>{number(about.of(head))}{bar}<br>chance {number(about.chance_of(head))}"
        f"<br>{named or 'no label'}"
    )


def _drawn(about: HeadScore, value: Number) -> Number:
    """The value on the colour scale: ratios by their logarithm."""
    if value is None or about.scale != "ratio":
        return value
    return math.log10(max(value, 1e-3))


def _color_axis(about: HeadScore, heads: Sequence[Head], shown: np.ndarray) -> dict[str, Any]:
    """The scale with a mark at the mean chance level of the heads."""
    chances = [c for c in (about.chance_of(head) for head in heads) if c is not None]
    chance = sum(chances) / len(chances) if chances else math.nan
    if about.scale == "share":
        low, high, colors = 0.0, 1.0, "Viridis"
    else:
        reach = float(np.nanmax(np.abs(shown))) if np.isfinite(shown).any() else 1.0
        reach = 1.0 if about.name == "copying" else max(reach, 0.01)
        low, high, colors = -reach, reach, "RdBu"
    at = _drawn(about, chance)
    span = high - low
    known = at is not None and at == at
    ticks = [low + span * i / 4 for i in range(5)]
    ticks = [tick for tick in ticks if not known or abs(tick - at) > _CHANCE_ROOM * span]  # type: ignore[operator]
    texts = [f"{10**tick:.2g}" if about.scale == "ratio" else f"{tick:.2g}" for tick in ticks]
    if known:
        ticks, texts = [*ticks, at], [*texts, f"◂ chance {chance:.2g}"]  # type: ignore[list-item]
    bar = {
        "title": {"text": about.unit, "side": "top"},
        "thickness": 14,
        "tickvals": ticks,
        "ticktext": texts,
        "ticks": "outside",
    }
    return {"colorscale": colors, "cmin": low, "cmax": high, "colorbar": bar}


def heads_over_training(
    records: Mapping[int, Mapping[str, Any]], score: str, chosen: str | None = None, scheme: Scheme = "light"
) -> go.Figure:
    """The score of every head at every checkpoint that has a record; chance dotted, the chosen head in front.

    Args:
        records: Head records by checkpoint.
        score: Name from `scores_of`.
        chosen: Name of the head drawn strongly, or None for all.
        scheme: Colour scheme.
    """
    told = {step: record for step, record in records.items() if score in scores_of(record)}
    if len(told) < 2:
        return empty_figure("Measure another checkpoint, chosen above, to see how the score came about.", scheme)
    last = told[max(told)]
    about = scores_of(last)[score]
    figure = go.Figure(layout={"template": template(scheme)})
    n_layers = 1 + max(head["layer"] for head in last["heads"])
    for head in last["heads"]:
        figure.add_trace(_line(about, told, head_name(head), head, n_layers, chosen, scheme))
    chances = [about.chance_of(head_of(record, chosen)) for record in told.values()]
    figure.add_scatter(
        x=[step + 1 for step in told],
        y=chances,
        name="chance",
        mode="lines",
        line={"dash": "dot", "color": text_color(scheme), "width": 1.5},
        hoverinfo="skip",
    )
    figure.update_layout(
        title={"text": f"Over training: {plain(about.label)}<br><sup>bars: ± 1 standard error over prompts</sup>"},
        xaxis={"type": "log", "title": {"text": "1 + updates (log)"}, "exponentformat": "power", "dtick": 1},
        yaxis={"title": {"text": about.unit}, **({"type": "log"} if about.scale == "ratio" else {})},
        margin={"t": 80},
    )
    return figure


def _line(
    about: HeadScore,
    records: Mapping[int, Mapping[str, Any]],
    name: str,
    head: Head,
    n_layers: int,
    chosen: str | None,
    scheme: Scheme,
) -> go.Scatter:
    heads = [head_of(record, name) for record in records.values()]
    errors = [about.error_of(each) for each in heads]
    strong = chosen is None or name == chosen
    return go.Scatter(
        x=[step + 1 for step in records],
        y=[about.of(each) for each in heads],
        name=name,
        mode="lines+markers",
        opacity=1.0 if strong else 0.4,
        line={"color": depth_color(head["layer"], n_layers, scheme), "width": 2.5 if strong else 1.2},
        marker={"symbol": _SYMBOLS[head["head"] % len(_SYMBOLS)], "size": 7},
        error_y={"type": "data", "array": [e or 0.0 for e in errors], "visible": strong and None not in errors},
        hovertext=[f"step {step}<br>{tell_head(about, each)}" for step, each in zip(records, heads, strict=True)],
        hovertemplate="%{hovertext}<extra></extra>",
    )
