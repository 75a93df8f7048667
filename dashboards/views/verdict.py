"""The page of the verdict: which algorithm it is, what speaks for it, and how often such verdicts are right."""

from functools import partial
from typing import Any

import dash_mantine_components as dmc
import plotly.graph_objects as go
from dash import Dash, Input, Output, html

from dashboards.figures.confusion import CONSTRUCTED_TITLE, confusion_figure
from dashboards.figures.nearness import lean_figure, lean_height, misfit_figure, path_figure
from dashboards.jobs import Jobs
from dashboards.planted import planted_confusion
from dashboards.store import RunStore
from dashboards.tables import NEARNESS_NOTE, nearness_table, tell_equals, tell_ridge
from dashboards.theme import as_scheme, empty_figure, graph
from dashboards.views.agreement_choice import shown_of
from dashboards.views.parts import card, command, sentences, text_table, verdict_box
from dashboards.views.picking import Picking, framed, register_picking
from dashboards.views.record import View

PATH = "/verdict"
PICKING = Picking("verdict")


def layout() -> Any:
    """The page without data."""
    half = {"base": 12, "lg": 6}
    return framed(
        PICKING,
        [
            html.Div(id="verdict-sentence"),
            html.Div(
                dmc.Grid(
                    [
                        dmc.GridCol(card(graph("verdict-lean", "mesascope-lean", 460)), span=12),
                        dmc.GridCol(card(graph("verdict-misfit", "mesascope-misfit", 460)), span=half),
                        dmc.GridCol(card(graph("verdict-path", "mesascope-path", 460)), span=half),
                    ],
                    gutter="md",
                    mt="md",
                ),
                id="verdict-figures",
            ),
            card(html.Div(id="verdict-evidence"), mt="md"),
            card(html.Div(id="verdict-table"), mt="md"),
            html.Div(
                card(graph("verdict-confusion", "mesascope-planted", 500), mt="md"),
                id="verdict-planted",
                style={"display": "none"},
            ),
            html.Div(
                card(graph("verdict-constructed-confusion", "mesascope-constructed", 480), mt="md"),
                id="verdict-constructed",
                style={"display": "none"},
            ),
        ],
    )


def register(app: Dash, store: RunStore, jobs: Jobs) -> None:
    """Add the page's callbacks."""
    register_picking(app, store, jobs, PICKING)
    shown, scheme = Input("verdict-shown", "data"), Input("color-scheme", "data")
    app.callback(Output("verdict-sentence", "children"), shown)(partial(show_sentence, store))
    app.callback(Output("verdict-figures", "style"), shown)(partial(show_figures, store))
    app.callback(Output("verdict-lean", "figure"), Output("verdict-lean", "style"), shown, scheme)(
        partial(show_lean, store)
    )
    app.callback(Output("verdict-misfit", "figure"), shown, scheme)(partial(show_misfit, store))
    app.callback(Output("verdict-path", "figure"), shown, scheme)(partial(show_path, store))
    app.callback(Output("verdict-evidence", "children"), shown)(partial(show_evidence, store))
    app.callback(Output("verdict-table", "children"), shown)(partial(show_table, store))
    app.callback(Output("verdict-confusion", "figure"), Output("verdict-planted", "style"), shown, scheme)(
        show_confusion
    )
    app.callback(
        Output("verdict-constructed-confusion", "figure"), Output("verdict-constructed", "style"), shown, scheme
    )(show_constructed)


def show_sentence(store: RunStore, search: str | None) -> Any:
    """The verdict in large letters."""
    shown = shown_of(store, search)
    return verdict_box(shown.part["verdict"], size="xl", evidence=False) if shown else None


def show_figures(store: RunStore, search: str | None) -> dict[str, str]:
    """Whether there is anything to draw."""
    shown = shown_of(store, search)
    return {"display": "block" if shown and shown.part["verdict"].get("nearness") else "none"}


def show_lean(store: RunStore, search: str | None, scheme: str | None) -> tuple[go.Figure, dict[str, str]]:
    """How far the layers lean towards each algorithm, and the height that the chart needs."""
    shown = shown_of(store, search)
    verdict = shown.part["verdict"] if shown else None
    figure = lean_figure(verdict, as_scheme(scheme)) if verdict else empty_figure(scheme=as_scheme(scheme))
    return figure, {"height": f"{lean_height(verdict)}px"}


def show_misfit(store: RunStore, search: str | None, scheme: str | None) -> go.Figure:
    """Every layer's distance from every algorithm."""
    shown = shown_of(store, search)
    if shown is None:
        return empty_figure(scheme=as_scheme(scheme))
    return misfit_figure(shown.part["verdict"], as_scheme(scheme))


def show_path(store: RunStore, search: str | None, scheme: str | None) -> go.Figure:
    """Where the layers stand on the path of the nearest algorithm."""
    shown = shown_of(store, search)
    if shown is None:
        return empty_figure(scheme=as_scheme(scheme))
    return path_figure(shown.part["verdict"], as_scheme(scheme))


def show_evidence(store: RunStore, search: str | None) -> Any:
    """The facts behind the verdict."""
    shown = shown_of(store, search)
    if shown is None:
        return None
    verdict = shown.part["verdict"]
    told = [sentence for sentence in (*verdict["evidence"], tell_equals(verdict), tell_ridge(shown.record)) if sentence]
    return [
        dmc.Title("Evidence", order=4, mb="xs"),
        sentences(told) if told else dmc.Text("No fact speaks for or against: no layer says anything yet.", size="sm"),
    ]


def show_table(store: RunStore, search: str | None) -> Any:
    """Every algorithm in numbers."""
    shown = shown_of(store, search)
    if shown is None:
        return None
    if "nearness" not in shown.part["verdict"]:
        typed = f"mesascope agree {shown.state.run} --step {shown.state.checkpoint}"
        told = ["This record is of an older version and holds no distances. Type ", command(typed), " for a new one."]
        return dmc.Text(html.Span(told), size="sm")
    if not shown.part["verdict"]["nearness"]:
        return dmc.Text("No algorithm is near: no layer says anything yet.", size="sm")
    return [
        dmc.Title("Algorithms in numbers, nearest first", order=4, mb="xs"),
        text_table(nearness_table(shown.part["verdict"]), min_width=900),
        dmc.Text(NEARNESS_NOTE, size="sm", c="dimmed", mt="xs"),
    ]


def show_confusion(_search: str | None, scheme: str | None) -> tuple[go.Figure, dict[str, str]]:
    """How often verdicts on planted models are right; hidden where no benchmark has been run."""
    confusion = planted_confusion()
    if confusion is None:
        return empty_figure(scheme=as_scheme(scheme)), {"display": "none"}
    return confusion_figure(confusion, as_scheme(scheme)), {"display": "block"}


def show_constructed(_search: str | None, scheme: str | None) -> tuple[go.Figure, dict[str, str]]:
    """The same of transformers whose weights are written down."""
    confusion = planted_confusion(part="constructed")
    if confusion is None:
        return empty_figure(scheme=as_scheme(scheme)), {"display": "none"}
    return confusion_figure(confusion, as_scheme(scheme), title=CONSTRUCTED_TITLE), {"display": "block"}


VERDICT_VIEW = View(name="verdict", label="Verdict", path=PATH, layout=layout, register=register)
