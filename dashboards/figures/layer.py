"""One layer against the steps of every algorithm."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from dashboards.figures.axes import log_step_axis, on_log_steps
from dashboards.theme import (
    Number,
    Scheme,
    anchor_label,
    color,
    cosine,
    dash_style,
    label,
    layer_name,
    number,
    number_interval,
    symbol,
    template,
    text_color,
)


def layer_figure(part: Mapping[str, Any], layer: int, scheme: Scheme = "light") -> go.Figure:
    """SimE of a layer against the number of steps, for all algorithms, with anchors and controls.

    The bar at the best step is its 95 % bootstrap interval over prompts.

    Args:
        part: An agreement record, or its part for the reading through the final norm.
        layer: 0 is the embedding.
        scheme: Colour scheme.
    """
    found = part["layers"][layer]
    figure = go.Figure(layout={"template": template(scheme)})
    for name, one in found["families"].items():
        _add_family(figure, name, one, scheme)
    _add_control(figure, found, "untrained", "untrained model, at the best steps", "triangle-down-open", scheme)
    _add_control(figure, found, "chance", "chance (other prompts), at the best steps", "x-thin-open", scheme)
    largest = max(max(one["steps"]) for one in found["families"].values())
    for name, value in found["anchors"].items():
        _add_anchor(figure, name, value, largest, scheme)
    figure.update_layout(
        title={"text": f"{layer_name(layer).capitalize()}: agreement at each step"},
        xaxis={**log_step_axis(largest), "title": {"text": "Steps of the algorithm, log"}},
        yaxis={"title": {"text": "SimE (cosine of residuals)"}, "range": [min(-0.05, _lowest(found)), 1.05]},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0, "font": {"size": 12}},
    )
    return figure


def _lowest(found: Mapping[str, Any]) -> float:
    values = [v for one in found["families"].values() for v in (*one["sim_e"], one["chance"], one["untrained"])]
    return min((v for v in values if v is not None), default=0.0) - 0.05


def _add_family(figure: go.Figure, name: str, one: Mapping[str, Any], scheme: Scheme) -> None:
    line_color = color(name, scheme)
    best, low, high = one["best_sim_e"], *(one["ci"] or (None, None))
    figure.add_scatter(
        x=[on_log_steps(step) for step in one["steps"]],
        y=one["sim_e"],
        name=label(name),
        legendgroup=label(name),
        mode="lines",
        line={"color": line_color, "width": 2},
        hovertext=[f"{label(name)}, {s} steps: {number(v)}" for s, v in zip(one["steps"], one["sim_e"], strict=True)],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    known = None not in (best, low, high)
    figure.add_scatter(
        x=[on_log_steps(one["best_step"])],
        y=[best],
        name=f"{label(name)}, best step",
        legendgroup=label(name),
        showlegend=False,
        mode="markers",
        marker={"symbol": symbol(name), "size": 11, "color": line_color},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [high - best] if known else [0],
            "arrayminus": [best - low] if known else [0],
        },
        hovertext=[f"{label(name)}, best at {one['best_step']} steps: {number(best)} {number_interval(one['ci'])}"],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _add_control(figure: go.Figure, found: Mapping[str, Any], key: str, told: str, marker: str, scheme: Scheme) -> None:
    families = found["families"]
    figure.add_scatter(
        x=[on_log_steps(one["best_step"]) for one in families.values()],
        y=[one[key] for one in families.values()],
        name=told,
        legendgroup=key,
        showlegend=False,
        mode="markers",
        marker={
            "symbol": marker,
            "size": 10,
            "color": [color(name, scheme) for name in families],
            "line": {"width": 2, "color": [color(name, scheme) for name in families]},
        },
        hovertext=[f"{label(name)}, {told}: {number(one[key])}" for name, one in families.items()],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    neutral = {"symbol": marker, "size": 10, "color": text_color(scheme), "line": {"width": 2}}
    figure.add_scatter(x=[None], y=[None], name=told, legendgroup=key, mode="markers", marker=neutral)


def _add_anchor(figure: go.Figure, name: str, value: Number, largest: float | int, scheme: Scheme) -> None:
    if value is None:
        return
    figure.add_scatter(
        x=[on_log_steps(0), 1.3 * largest],
        y=[value, value],
        name=f"{anchor_label(name)} {cosine(value)}",
        mode="lines",
        line={"color": color(name, scheme), "dash": dash_style(name), "width": 1.5},
        hovertemplate=f"{anchor_label(name)}: {number(value)}<extra></extra>",
    )
