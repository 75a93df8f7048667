"""The page of measures: every layer against the algorithms in every way, by region of the prompt."""

from functools import partial
from typing import Any

import dash_mantine_components as dmc
import plotly.graph_objects as go
from dash import Dash, Input, Output, html

from dashboards.beside_tables import MEASURE_NOTE, linearity_table, measure_table
from dashboards.figures.forgetting import forgetting_figure
from dashboards.figures.measures import linearity_figure, measures_figure
from dashboards.jobs import Jobs
from dashboards.state import PageState
from dashboards.store import RunStore
from dashboards.theme import as_scheme, empty_figure, graph, region_label
from dashboards.views.agreement_choice import DEFAULTS, READINGS, Shown, beside_of, shown_of
from dashboards.views.parts import card, text_table
from dashboards.views.picking import Picking, framed, register_picking
from dashboards.views.record import View
from workbench.analyses import FORGETTING, MEASURES

PATH = "/measures"
PICKING = Picking("measures", ("run", "checkpoint", "reading", "measure", "region"), beside=(MEASURES, FORGETTING))
_ABOUT = (
    "SimE looks at errors alone, and two algorithms that err alike need not do alike. Here every layer is held against "
    "anchors and against each algorithm at the layer's best step in other ways too: what it predicts (SPD, skill), "
    "which weights it uses for fresh queries (SimW, ILWD), how it moves with the query (sensitivity), with each label "
    "(influence), and with w through all labels (response). With fewer examples than coordinates (t < d) algorithms "
    "differ most; near d least squares of noisy labels has no finite mean error, which is what medians are for."
)


def layout() -> Any:
    """The page without data."""
    return framed(
        PICKING,
        [
            dmc.Text(_ABOUT, size="sm", c="dimmed", mb="md", maw=1000),
            dmc.Grid(
                [
                    dmc.GridCol(card(graph("measures-figure", "mesascope-measures", 520)), span=12),
                    dmc.GridCol(
                        card(graph("measures-linearity", "mesascope-linearity", 480)), span={"base": 12, "lg": 5}
                    ),
                    dmc.GridCol(
                        card(graph("measures-forgetting", "mesascope-forgetting", 480)), span={"base": 12, "lg": 7}
                    ),
                    dmc.GridCol(card(html.Div(id="measures-table")), span=12),
                ],
                gutter="md",
            ),
        ],
    )


def register(app: Dash, store: RunStore, jobs: Jobs) -> None:
    """Add the page's callbacks."""
    register_picking(app, store, jobs, PICKING)
    shown, scheme = Input("measures-shown", "data"), Input("color-scheme", "data")
    app.callback(Output("measures-figure", "figure"), shown, scheme)(partial(show_measure, store))
    app.callback(Output("measures-linearity", "figure"), shown, scheme)(partial(show_linearity, store))
    app.callback(Output("measures-forgetting", "figure"), shown, scheme)(partial(show_forgetting, store))
    app.callback(Output("measures-table", "children"), shown)(partial(show_table, store))


def show_measure(store: RunStore, search: str | None, scheme: str | None) -> go.Figure:
    """The chosen measure in the chosen region, layer by layer."""
    shown = shown_of(store, search)
    found = beside_of(store, shown.state, MEASURES) if shown else None
    if shown is None or found is None:
        return empty_figure(scheme=as_scheme(scheme))
    measure = shown.state.measure or DEFAULTS["measure"]
    return measures_figure(found, measure, _region(shown.state), as_scheme(scheme))


def _region(state: PageState) -> str:
    return state.region or DEFAULTS["region"]


def show_linearity(store: RunStore, search: str | None, scheme: str | None) -> go.Figure:
    """How linear in the query the layers are."""
    found = _beside(store, search, MEASURES)
    return linearity_figure(found, as_scheme(scheme)) if found else empty_figure(scheme=as_scheme(scheme))


def show_forgetting(store: RunStore, search: str | None, scheme: str | None) -> go.Figure:
    """How well the layers answer for examples again."""
    found = _beside(store, search, FORGETTING)
    return forgetting_figure(found, as_scheme(scheme)) if found else empty_figure(scheme=as_scheme(scheme))


def _beside(store: RunStore, search: str | None, analysis: str) -> Any:
    shown: Shown | None = shown_of(store, search)
    return beside_of(store, shown.state, analysis) if shown else None


def show_table(store: RunStore, search: str | None) -> Any:
    """Every measure in numbers."""
    shown = shown_of(store, search)
    found = beside_of(store, shown.state, MEASURES) if shown else None
    if shown is None or found is None:
        return None
    region = _region(shown.state)
    labels = {each["name"]: region_label(each) for each in found["regions"]}
    counts = found["n_prompts"]
    how = f"{counts['predictions']} prompts for predictions, {counts.get('weights', 0)} for the rest"
    return [
        dmc.Title(
            f"Measures in numbers, {labels.get(region, region)}, read {READINGS[str(shown.state.reading)]}",
            order=4,
            mb="xs",
        ),
        text_table(measure_table(found, region), min_width=1500),
        dmc.Text(f"{MEASURE_NOTE} {how}; {found['n_query']} fresh queries a prefix.", size="sm", c="dimmed", mt="xs"),
        dmc.Title("Linearity in numbers", order=4, mt="md", mb="xs"),
        text_table(linearity_table(found), min_width=600),
    ]


MEASURES_VIEW = View(name="measures", label="Measures", path=PATH, layout=layout, register=register)
