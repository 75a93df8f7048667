"""How everything looks: templates, colours by registry name, number formats, the one way to make a graph."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import plotly.graph_objects as go
from dash import dcc
from plotly.colors import sample_colorscale

from workbench.baselines import BASELINES

Scheme = Literal["light", "dark"]
Number = float | int | None
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif'
MODEL_COLOR = "#2166d1"
SIM_E_SCALE = "Viridis"
DEPTH_SCALE = "Viridis"
OUTLINE = "#ff3b30"
"""Outline of a best cell: stands out from every colour of the scale, in both schemes."""

_PAPER = {"light": "#ffffff", "dark": "#242424"}
_TEXT = {"light": "#1f2328", "dark": "#d8d8d8"}
_GRID = {"light": "#e3e6ea", "dark": "#3c4045"}
_OTHER = "#7a7a7a"
_SYMBOLS: dict[str, tuple[str, ...]] = {
    "anchor": ("x", "hourglass", "bowtie", "cross"),
    "first-order": ("square", "star-square", "octagon", "arrow-wide", "arrow"),
    "second-order": ("circle", "pentagon", "hexagon", "hexagon2"),
    "krylov": ("diamond",),
    "accelerated": ("triangle-up", "triangle-down", "triangle-left"),
    "online": ("triangle-ne", "triangle-se", "triangle-sw"),
    "kernel": ("star", "hexagram", "triangle-right"),
    "sparse": ("star-triangle-up", "star-triangle-down"),
    "bayes": ("diamond-tall", "diamond-wide", "diamond-x", "star-diamond"),
}
"""Markers of each family's algorithms, alike within a family and none used twice."""
_SPARE_SYMBOL = "triangle-nw"
_DASHES = (
    *("dash", "dot", "dashdot", "longdash", "longdashdot", "8px 3px 2px 3px"),
    *("3px 2px", "14px 3px 3px 3px 3px 3px", "7px 2px 1px 2px", "10px 6px", "1px 3px 6px 3px"),
)
_ANCHOR_LABELS = {
    "gd_1": "One gradient step, tuned",
    "ridge": "Nearest ridge",
    "bayes": "Bayes",
    "output": "Output of the layer before",
}
_BAYES_COLOR = "#66a61e"


def as_scheme(name: str | None) -> Scheme:
    """The colour scheme called ``name``; light for anything else."""
    return "dark" if name == "dark" else "light"


def template(scheme: Scheme) -> go.layout.Template:
    """The plotly template of a colour scheme. Nothing is registered process-wide."""
    axis = {
        "gridcolor": _GRID[scheme],
        "zerolinecolor": _GRID[scheme],
        "linecolor": _GRID[scheme],
        "ticks": "outside",
        "tickcolor": _GRID[scheme],
        "automargin": True,
        "title": {"standoff": 8},
    }
    layout = {
        "paper_bgcolor": _PAPER[scheme],
        "plot_bgcolor": _PAPER[scheme],
        "font": {"family": FONT, "size": 13, "color": _TEXT[scheme]},
        "title": {
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"l": 12, "t": 14},
            "font": {"size": 16},
        },
        "xaxis": axis,
        "yaxis": axis,
        "hoverlabel": {"font": {"family": FONT, "size": 13}},
        "legend": {"bgcolor": "rgba(0,0,0,0)"},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": _OTHER, "activecolor": _TEXT[scheme]},
        "margin": {"l": 64, "r": 24, "t": 56, "b": 56},
    }
    return go.layout.Template(layout=layout)


def text_color(scheme: Scheme) -> str:
    """Colour of text and of neutral lines."""
    return _TEXT[scheme]


def model_color(scheme: Scheme) -> str:
    """Colour of the model's own curve."""
    return _on(MODEL_COLOR, scheme)


def color(name: str, scheme: Scheme = "light") -> str:
    """Colour of a reference algorithm or anchor, by registry name."""
    if name == "bayes":
        return _on(_BAYES_COLOR, scheme)
    known = BASELINES.get("gd" if name == "gd_1" else name)
    return _on(known.color if known else _OTHER, scheme)


def _on(base: str, scheme: Scheme) -> str:
    """``base`` itself on white; lighter on a dark ground, and nearly white where it was nearly black."""
    if scheme == "light":
        return base
    parts = [int(base[i : i + 2], 16) for i in (1, 3, 5)]
    if max(parts) < 48:
        return "#ededed"
    return "#" + "".join(f"{round(part + 0.35 * (255 - part)):02x}" for part in parts)


def label(name: str) -> str:
    """A reference algorithm's name for people; an unknown name as plain text."""
    return BASELINES[name].label if name in BASELINES else plain(name)


def short_label(name: str) -> str:
    """A label for a narrow column: GD, CG, Newton."""
    return name.upper() if len(name) <= 3 and name in BASELINES else label(name)


def anchor_label(name: str) -> str:
    """An anchor's name for people."""
    return _ANCHOR_LABELS.get(name) or label(name)


def symbol(name: str) -> str:
    """Marker of an algorithm, so that colour is never the only difference: its own, of its family's kind."""
    if name not in BASELINES:
        return _SPARE_SYMBOL
    family = BASELINES[name].family
    place = [each.name for each in BASELINES.values() if each.family == family].index(name)
    kinds = _SYMBOLS.get(family, ())
    return kinds[place] if place < len(kinds) else _SPARE_SYMBOL


def dash_style(name: str) -> str:
    """Dash pattern of a reference line."""
    return _DASHES[_place(name) % len(_DASHES)]


def _place(name: str) -> int:
    known = [*BASELINES, *_ANCHOR_LABELS]
    return known.index(name) if name in known else len(known)


def depth_color(layer: int, n_layers: int, scheme: Scheme = "light") -> str:
    """Colour of a layer, from violet at the embedding to green-yellow at the last; readable on the scheme's ground."""
    low, high = (0.0, 0.88) if scheme == "light" else (0.22, 1.0)
    place = low + (high - low) * layer / max(n_layers - 1, 1)
    return str(sample_colorscale(DEPTH_SCALE, [place])[0])


def faint(line_color: str, opacity: float | int) -> str:
    """A colour of ``#rrggbb`` form, seen through."""
    parts = (int(line_color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({','.join(map(str, parts))},{opacity})"


def layer_label(layer: int) -> str:
    """``emb`` for the embedding, else the number of blocks passed."""
    return "emb" if layer == 0 else str(layer)


def layer_name(layer: int) -> str:
    """A layer in a sentence."""
    return "the embedding" if layer == 0 else f"layer {layer}"


def region_label(region: Mapping[str, Any]) -> str:
    """A region of context positions for people."""
    told = str(region["label"]).replace("<=", "≤").replace(" - ", " − ")
    return ", ".join(filter(None, ("all", told))) if region["name"] == "all" else told


def steps_label(name: str, step: int) -> str:
    """An algorithm with its number of steps."""
    return f"{label(name)}, {step} step{'' if step == 1 else 's'}"


def plain(text: object) -> str:
    """Text for a figure, where plotly would otherwise read markup and links."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def number(value: Number, digits: int = 3) -> str:
    """A number for people; a dash for None and NaN."""
    if value is None or value != value:
        return "–"
    if value == 0 or 10.0**-digits <= abs(value) < 1e6:
        return f"{value:.{digits}f}"
    return f"{value:.1e}"


def count(value: Number) -> str:
    """A number of steps: whole where it is whole."""
    if value is None or value != value:
        return "–"
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.1f}"


def percent(value: Number) -> str:
    """A share as a percentage."""
    return "–" if value is None or value != value else f"{100 * value:.3g} %"


def amount(value: Number) -> str:
    """A number of steps or a strength, in three figures."""
    if value is None or value != value:
        return "–"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def cosine(value: Number) -> str:
    """A SimE in a narrow column."""
    return "–" if value is None or value != value else f"{value:.2f}"


def number_interval(ends: Sequence[Number] | None, digits: int = 3) -> str:
    """An interval in brackets, or a dash."""
    return "–" if ends is None else f"[{number(ends[0], digits)}, {number(ends[1], digits)}]"


def cosine_interval(ends: Sequence[Number]) -> str:
    """An interval in brackets, with two decimals."""
    return f"[{cosine(ends[0])}, {cosine(ends[1])}]"


def count_interval(ends: Sequence[Number] | None) -> str:
    """An interval of numbers of steps, or a dash."""
    return "–" if ends is None else f"[{count(ends[0])}, {count(ends[1])}]"


def moment(seconds: Number) -> str:
    """A time of day in UTC, or a dash."""
    if not seconds:
        return "–"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def figure_config(filename: str) -> dict[str, Any]:
    """The config of every graph and every exported figure: nothing to share, export as SVG.

    Args:
        filename: Name of the exported file, without its ending.
    """
    return {
        "showSendToCloud": False,
        "plotlyServerURL": "",
        "displaylogo": False,
        "responsive": True,
        "toImageButtonOptions": {"format": "svg", "filename": filename},
        "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"],
    }


def graph(component_id: str, filename: str, height: int) -> dcc.Graph:
    """An empty graph.

    Args:
        component_id: Its id.
        filename: Name of the exported file, without its ending.
        height: In pixels.
    """
    config: Any = figure_config(filename)
    return dcc.Graph(
        id=component_id,
        config=config,
        figure=empty_figure(),
        style={"height": f"{height}px"},
        responsive=True,
    )


def empty_figure(sentence: str = "", scheme: Scheme = "light") -> go.Figure:
    """A figure without axes that says why there is nothing to see."""
    figure = go.Figure(layout={"template": template(scheme), "paper_bgcolor": "rgba(0,0,0,0)"})
    figure.update_layout(plot_bgcolor="rgba(0,0,0,0)")
    figure.update_xaxes(visible=False).update_yaxes(visible=False)
    if sentence:
        figure.add_annotation(text=plain(sentence), showarrow=False, font={"size": 14})
    return figure
