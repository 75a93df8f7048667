"""The page of one checkpoint: which algorithm each layer matches, at which step."""

from functools import partial
from typing import Any

import dash_mantine_components as dmc
import plotly.graph_objects as go
from dash import Dash, Input, Output, html

from dashboards.figures.agreement import agreement_figure
from dashboards.figures.best_step import best_step_figure, best_step_height
from dashboards.figures.error import error_figure
from dashboards.figures.layer import layer_figure
from dashboards.jobs import Jobs
from dashboards.store import RunStore
from dashboards.tables import CONTROL_NOTE, LAYER_NOTE, control_table, conventions, layer_table
from dashboards.theme import as_scheme, empty_figure, graph
from dashboards.views.agreement_choice import READINGS, shown_of
from dashboards.views.parts import card, text_table, verdict_box
from dashboards.views.picking import Picking, framed, register_picking
from dashboards.views.record import View

PATH = "/agreement"
PICKING = Picking("agreement", ("run", "checkpoint", "reading", "family", "layer"), clicked="agreement-heat")


def layout() -> Any:
    """The page without data."""
    return framed(PICKING, _body())


def _body() -> list[Any]:
    wide, narrow = {"base": 12, "lg": 7}, {"base": 12, "lg": 5}
    return [
        html.Div(id="agreement-verdict"),
        dmc.Grid(
            [
                dmc.GridCol(card(graph("agreement-heat", "mesascope-agreement", 620)), span=wide),
                dmc.GridCol(card(graph("agreement-layer-curve", "mesascope-layer", 620)), span=narrow),
                dmc.GridCol(card(graph("agreement-best", "mesascope-best-steps", 460)), span=wide),
                dmc.GridCol(card(graph("agreement-error", "mesascope-error", 460)), span=narrow),
                dmc.GridCol(card(html.Div(id="agreement-table")), span=12),
            ],
            gutter="md",
            mt="md",
        ),
    ]


def register(app: Dash, store: RunStore, jobs: Jobs) -> None:
    """Add the page's callbacks."""
    register_picking(app, store, jobs, PICKING)
    shown, scheme = Input("agreement-shown", "data"), Input("color-scheme", "data")
    app.callback(Output("agreement-verdict", "children"), shown)(partial(show_verdict, store))
    app.callback(Output("agreement-heat", "figure"), shown, scheme)(partial(show_heat, store))
    app.callback(Output("agreement-layer-curve", "figure"), shown, scheme)(partial(show_layer, store))
    app.callback(Output("agreement-best", "figure"), Output("agreement-best", "style"), shown, scheme)(
        partial(show_best_steps, store)
    )
    app.callback(Output("agreement-error", "figure"), shown, scheme)(partial(show_error, store))
    app.callback(Output("agreement-table", "children"), shown)(partial(show_table, store))


def show_verdict(store: RunStore, search: str | None) -> Any:
    """The verdict's sentence with its evidence."""
    shown = shown_of(store, search)
    if shown is None:
        return None
    return verdict_box(shown.part["verdict"])


def show_heat(store: RunStore, search: str | None, scheme: str | None) -> go.Figure:
    """The heat map with its anchors."""
    shown = shown_of(store, search)
    if shown is None:
        return empty_figure(scheme=as_scheme(scheme))
    return agreement_figure(shown.part, str(shown.state.family), shown.state.layer, as_scheme(scheme))


def show_layer(store: RunStore, search: str | None, scheme: str | None) -> go.Figure:
    """The chosen layer against all algorithms."""
    shown = shown_of(store, search)
    if shown is None or shown.state.layer is None:
        return empty_figure(scheme=as_scheme(scheme))
    return layer_figure(shown.part, shown.state.layer, as_scheme(scheme))


def show_best_steps(store: RunStore, search: str | None, scheme: str | None) -> tuple[go.Figure, dict[str, str]]:
    """Best-matching steps over the layers, and the height that they need."""
    shown = shown_of(store, search)
    if shown is None:
        return empty_figure(scheme=as_scheme(scheme)), {"height": "460px"}
    return best_step_figure(shown.part, as_scheme(scheme)), {"height": f"{best_step_height(shown.part)}px"}


def show_error(store: RunStore, search: str | None, scheme: str | None) -> go.Figure:
    """Errors of model and references."""
    shown = shown_of(store, search)
    return error_figure(shown.record, as_scheme(scheme)) if shown else empty_figure(scheme=as_scheme(scheme))


def show_table(store: RunStore, search: str | None) -> Any:
    """The layers in numbers, and how they were measured."""
    shown = shown_of(store, search)
    if shown is None:
        return None
    return [
        dmc.Title(f"Layers in numbers, read {READINGS[str(shown.state.reading)]}", order=4, mb="xs"),
        text_table(layer_table(shown.part), min_width=840),
        dmc.Text(LAYER_NOTE, size="sm", c="dimmed", mt="xs"),
        dmc.Title("Controls", order=4, mt="md", mb="xs"),
        text_table(control_table(shown.part), min_width=840),
        dmc.Text(CONTROL_NOTE, size="sm", c="dimmed", mt="xs"),
        dmc.Title("How it was measured", order=4, mt="md"),
        html.Ul([html.Li(sentence) for sentence in conventions(shown.record)], className="evidence"),
    ]


AGREEMENT_VIEW = View(name="agreement", label="Agreement", path=PATH, layout=layout, register=register)
