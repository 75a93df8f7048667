"""The page of probes: what can be decoded where, and what that is worth."""

from functools import partial
from typing import Any

import dash_mantine_components as dmc
import plotly.graph_objects as go
from dash import Dash, Input, Output, State, dcc, html

from dashboards.figures.probe_map import map_figure, map_height, pooling_figure, poolings_of
from dashboards.figures.probe_scores import by_examples_figure, scores_figure
from dashboards.jobs import Jobs, probe_command
from dashboards.probe_studies import Study
from dashboards.probe_tables import BITS_NOTE, PROBE_NOTE, bits_table, has_bits, score_table
from dashboards.state import PageState
from dashboards.store import RunStore
from dashboards.theme import as_scheme, empty_figure, graph
from dashboards.views.one_run import selects
from dashboards.views.parts import card, text_table
from dashboards.views.probes_choice import ASKED, CONTROLS, asked_of, choose, complete, study_of
from dashboards.views.probes_missing import OFFERS, offer, settle, words_for
from dashboards.views.record import View
from dashboards.views.replaced import note, register_replaced
from dashboards.views.steering_part import part, register_steering

PATH = "/probes"
_ABOUT = (
    "A probe is fitted to activations and scored on other prompts. A score shows what is there, not what is used, and "
    "an untrained transformer already spreads its inputs: read every score beside the ceiling, the model before "
    "training, shuffled targets and the embedding."
)


def layout() -> Any:
    """The page without data."""
    names = {
        "run": ("Run", 220),
        "checkpoint": ("Checkpoint", 215),
        "study": ("Study", 350),
        "method": ("Method", 230),
        "component": ("Read from", 120),
        "place": ("Place", 270),
        "target": ("Target", 400),
    }
    half = {"base": 12, "lg": 6}
    figures = [
        dmc.GridCol(card(graph("probes-map", "mesascope-probes", 520)), span=12),
        dmc.GridCol(card(graph("probes-scores", "mesascope-probe-scores", 520)), span=half),
        dmc.GridCol(card(offer("examples"), graph("probes-by-n", "mesascope-probes-by-examples", 520)), span=half),
        dmc.GridCol(card(offer("pooled"), graph("probes-pooling", "mesascope-probe-pooling", 400)), span=12),
        dmc.GridCol(card(html.Div(id="probes-table")), span=12),
    ]
    return html.Div(
        [
            dcc.Interval(id="probes-tick", interval=1000, disabled=True),
            dcc.Store(id="probes-shown"),
            selects("probes", names),
            html.Div(_slider(), id="probes-slide", style={"display": "none"}),
            note("probes"),
            offer("missing"),
            html.Div(
                [dmc.Text(_ABOUT, size="sm", c="dimmed", mb="md", maw=1000), dmc.Grid(figures, gutter="md")],
                id="probes-body",
                style={"display": "none"},
            ),
            part(),
        ]
    )


def _slider() -> Any:
    """Slides over the checkpoints of a run, the way training went."""
    return [
        dmc.Text("Checkpoints over training", size="sm", fw=500, mb=2),
        dmc.Slider(
            id="probes-slider", min=0, max=1, step=1, label=None, updatemode="mouseup", mb="xl", mx="md", maw=1000
        ),
    ]


def register(app: Dash, store: RunStore, _jobs: Jobs) -> None:
    """Add the page's callbacks; its computations are commands of their own."""
    jobs = Jobs(probe_command)
    ids = [f"probes-{name}" for name in CONTROLS]
    app.callback(
        *[Output(one, "value") for one in ids],
        *[Output(one, "data") for one in ids],
        *[Output("probes-slider", name) for name in ("value", "max", "marks")],
        Output("probes-slide", "style"),
        Input("url", "search"),
        *[Input(one, "value") for one in ids],
        Input("probes-slider", "value"),
        Input("probes-shown", "data"),
        Input("probes-steering-shown", "data"),
    )(partial(choose, store))
    app.callback(
        *[Output(f"probes-{name}-message", "children") for name in OFFERS],
        *[Output(f"probes-{name}-compute", "loading") for name in OFFERS],
        *[Output(f"probes-{name}-compute", "style") for name in OFFERS],
        *[Output(f"probes-{name}", "style") for name in OFFERS],
        Output("probes-body", "style"),
        Output("probes-tick", "disabled"),
        Output("probes-shown", "data"),
        Output("probes-missing-alert", "title"),
        Input("url", "search"),
        Input("probes-tick", "n_intervals"),
        *[Input(f"probes-{name}-compute", "n_clicks") for name in OFFERS],
        State("probes-shown", "data"),
    )(partial(settle, store, jobs))
    register_replaced(app, "probes", CONTROLS[1:], partial(complete, store))
    shown, scheme = Input("probes-shown", "data"), Input("color-scheme", "data")
    for name, draw in FIGURES.items():
        app.callback(Output(f"probes-{name}", "figure"), shown, scheme)(partial(show, store, draw))
    app.callback(Output("probes-map", "style"), shown)(partial(show_height, store))
    app.callback(Output("probes-by-n", "style"), shown)(partial(show_by_n, store))
    app.callback(Output("probes-pooling", "style"), shown)(partial(show_pooling, store))
    app.callback(Output("probes-table", "children"), shown)(partial(show_table, store))
    register_steering(app, store, complete)


# What is shown


def _draw_map(study: Study, state: PageState, scheme: str | None) -> go.Figure:
    return map_figure(study, **asked_of(state, "method", "component", "place"), scheme=as_scheme(scheme))


def _draw_scores(study: Study, state: PageState, scheme: str | None) -> go.Figure:
    return scores_figure(study, **asked_of(state, *ASKED), scheme=as_scheme(scheme))


def _draw_by_n(study: Study, state: PageState, scheme: str | None) -> go.Figure:
    return by_examples_figure(study, **asked_of(state, "method", "component", "target"), scheme=as_scheme(scheme))


def _draw_pooling(study: Study, state: PageState, scheme: str | None) -> go.Figure:
    return pooling_figure(study, **asked_of(state, *ASKED), scheme=as_scheme(scheme))


FIGURES = {"map": _draw_map, "scores": _draw_scores, "by-n": _draw_by_n, "pooling": _draw_pooling}


def _shown(store: RunStore, search: str | None) -> tuple[PageState, Study | None]:
    state = complete(store, PageState.of(search)) if search else PageState()
    return state, study_of(store, state) if search else None


def show(store: RunStore, draw: Any, search: str | None, scheme: str | None) -> go.Figure:
    """A figure of the study, empty without one."""
    state, study = _shown(store, search)
    return draw(study, state, scheme) if study else empty_figure(scheme=as_scheme(scheme))


def show_height(store: RunStore, search: str | None) -> dict[str, str]:
    """The height that the map needs."""
    state, study = _shown(store, search)
    height = map_height(study, **asked_of(state, "method", "component", "place")) if study else 520
    return {"height": f"{height}px"}


def show_by_n(store: RunStore, search: str | None) -> dict[str, str]:
    """Room for scores against examples, where it is not offered instead."""
    state, study = _shown(store, search)
    return _room(520, hidden=study is not None and words_for(store, state, "examples") is not None)


def show_pooling(store: RunStore, search: str | None) -> dict[str, str]:
    """Room for what a pooling probe reads; little for a sentence where the method reads one token."""
    state, study = _shown(store, search)
    if study is None or words_for(store, state, "pooled") is not None:
        return _room(0, hidden=True)
    rows = study.picked(**asked_of(state, *ASKED))
    return _room(150 + 28 * max(len(rows), 6) if poolings_of(study, rows) else 70, hidden=False)


def _room(height: int, *, hidden: bool) -> dict[str, str]:
    return {"display": "none"} if hidden else {"height": f"{height}px"}


def show_table(store: RunStore, search: str | None) -> Any:
    """The chosen target's scores in numbers."""
    state, study = _shown(store, search)
    if study is None:
        return None
    rows = study.picked(**asked_of(state, *ASKED))
    how = f"Fitted on {study.config.n_fit} prompts, scored on {study.config.n_prompts} others."
    told = [
        dmc.Title(f"{state.target} in numbers", order=4, mb="xs"),
        text_table(score_table(rows), min_width=1000),
        dmc.Text(f"{how} {PROBE_NOTE}", size="sm", c="dimmed", mt="xs"),
    ]
    if has_bits(rows):
        told += [
            dmc.Title("In bits per prompt", order=4, mt="lg", mb="xs"),
            text_table(bits_table(rows), min_width=700),
            dmc.Text(BITS_NOTE, size="sm", c="dimmed", mt="xs"),
        ]
    return told


PROBES_VIEW = View(name="probes", label="Probes", path=PATH, layout=layout, register=register)
