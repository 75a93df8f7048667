"""The page of spectral filters: how much of each eigendirection of its prefix every layer has learnt."""

from functools import partial
from typing import Any

import dash_mantine_components as dmc
import plotly.graph_objects as go
from dash import Dash, Input, Output, html

from dashboards.figures.spectrum import depth_figure, panels_figure, panels_height
from dashboards.jobs import Jobs
from dashboards.store import RunStore
from dashboards.tables import FILTER_NOTE, filter_table
from dashboards.theme import as_scheme, empty_figure, graph
from dashboards.views.agreement_choice import READINGS, shown_of
from dashboards.views.parts import card, text_table
from dashboards.views.picking import Picking, framed, register_picking
from dashboards.views.record import View

PATH = "/spectrum"
PICKING = Picking("spectrum", needs="fingerprint")
_ABOUT = (
    "Gradient descent, Newton, ridge and others differ only in how much of the least squares solution they keep in "
    "each eigendirection of XᵀX: a filter λ f(λ), 0 where nothing is learnt and 1 where the direction is solved. Here "
    "the filter of every layer is fitted to what its read-out says, with no grid of steps, beside each algorithm at "
    "the point of its path that is nearest to the layer."
)


def layout() -> Any:
    """The page without data."""
    return framed(
        PICKING,
        [
            dmc.Text(_ABOUT, size="sm", c="dimmed", mb="md", maw=1000),
            dmc.Stack(
                [
                    card(graph("spectrum-panels", "mesascope-filters", 600)),
                    card(graph("spectrum-depth", "mesascope-filters-by-depth", 480)),
                    card(html.Div(id="spectrum-table")),
                ],
                gap="md",
            ),
        ],
    )


def register(app: Dash, store: RunStore, jobs: Jobs) -> None:
    """Add the page's callbacks."""
    register_picking(app, store, jobs, PICKING)
    shown, scheme = Input("spectrum-shown", "data"), Input("color-scheme", "data")
    app.callback(Output("spectrum-panels", "figure"), Output("spectrum-panels", "style"), shown, scheme)(
        partial(show_panels, store)
    )
    app.callback(Output("spectrum-depth", "figure"), shown, scheme)(partial(show_depth, store))
    app.callback(Output("spectrum-table", "children"), shown)(partial(show_table, store))


def show_panels(store: RunStore, search: str | None, scheme: str | None) -> tuple[go.Figure, dict[str, str]]:
    """One panel per layer, and the height that they need."""
    shown = shown_of(store, search)
    filters = shown.part.get("fingerprint") if shown else None
    figure = panels_figure(filters, as_scheme(scheme)) if shown else empty_figure(scheme=as_scheme(scheme))
    return figure, {"height": f"{panels_height(filters)}px"}


def show_depth(store: RunStore, search: str | None, scheme: str | None) -> go.Figure:
    """All layers in one panel."""
    shown = shown_of(store, search)
    if shown is None:
        return empty_figure(scheme=as_scheme(scheme))
    return depth_figure(shown.part.get("fingerprint"), as_scheme(scheme))


def show_table(store: RunStore, search: str | None) -> Any:
    """Explained shares and distances in numbers."""
    shown = shown_of(store, search)
    if shown is None or not shown.part.get("fingerprint"):
        return None
    return [
        dmc.Title(f"Filters in numbers, layers read {READINGS[str(shown.state.reading)]}", order=4, mb="xs"),
        text_table(filter_table(shown.part["fingerprint"]), min_width=700),
        dmc.Text(FILTER_NOTE, size="sm", c="dimmed", mt="xs"),
    ]


SPECTRUM_VIEW = View(name="spectrum", label="Spectrum", path=PATH, layout=layout, register=register)
