"""The part of the page of probes that tells whether what is decoded is used."""

import shlex
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import dash_mantine_components as dmc
import plotly.graph_objects as go
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update

from dashboards.figures.steering import erasing_figure, slope_figure
from dashboards.jobs import Jobs, steer_command
from dashboards.state import PageState
from dashboards.steering_studies import Steering
from dashboards.steering_tables import STEERING_NOTE, steering_table
from dashboards.store import RunStore
from dashboards.theme import as_scheme, empty_figure, graph
from dashboards.views.missing import tell_job
from dashboards.views.one_run import checkpoints
from dashboards.views.parts import card, command, text_table
from workbench.errors import InputError

Complete = Callable[[RunStore, PageState], PageState]
_ABOUT = (
    "What can be decoded need not be used. Here decoded weights are replaced by those of another prompt, or erased; "
    "then the rest of the model runs on from the changed stream, beside as many random directions."
)


def part() -> Any:
    """The part without data."""
    half = {"base": 12, "lg": 6}
    missing = dmc.Alert(
        [
            html.Div(id="probes-steering-message"),
            dmc.Button("Compute now", id="probes-steering-compute", mt="sm", size="sm"),
        ],
        color="blue",
        title="Not steered yet",
    )
    pick = dmc.Select(
        id="probes-steered", label="Replaced and erased", w=430, allowDeselect=False, searchable=True, mb="md"
    )
    figures = [
        dmc.GridCol(card(graph("probes-steering-slope", "mesascope-steering", 520)), span=half),
        dmc.GridCol(card(graph("probes-steering-erasing", "mesascope-erasing", 520)), span=half),
        dmc.GridCol(card(html.Div(id="probes-steering-table")), span=12),
    ]
    return html.Div(
        [
            dcc.Interval(id="probes-steering-tick", interval=1000, disabled=True),
            dcc.Store(id="probes-steering-shown"),
            dmc.Title("Is it used?", order=3, mt="lg", mb="xs"),
            dmc.Text(_ABOUT, size="sm", c="dimmed", mb="md", maw=1000),
            html.Div(missing, id="probes-steering-missing", style={"display": "none"}),
            html.Div([pick, dmc.Grid(figures, gutter="md")], id="probes-steering-body", style={"display": "none"}),
        ],
        id="probes-steering",
        style={"display": "none"},
    )


def register_steering(app: Dash, store: RunStore, complete: Complete) -> None:
    """Add the part's callbacks, but for its select, which is one of the page's controls.

    Args:
        app: The app.
        store: The runs.
        complete: Fills in what is not chosen on the page.
    """
    jobs = Jobs(steer_command)
    app.callback(
        Output("probes-steering-message", "children"),
        Output("probes-steering-compute", "loading"),
        Output("probes-steering-missing", "style"),
        Output("probes-steering-body", "style"),
        Output("probes-steering", "style"),
        Output("probes-steering-tick", "disabled"),
        Output("probes-steering-shown", "data"),
        Input("url", "search"),
        Input("probes-steering-tick", "n_intervals"),
        Input("probes-steering-compute", "n_clicks"),
        State("probes-steering-shown", "data"),
    )(partial(settle, store, jobs, complete))
    shown, scheme = Input("probes-steering-shown", "data"), Input("color-scheme", "data")
    for name, draw in FIGURES.items():
        app.callback(Output(f"probes-steering-{name}", "figure"), shown, scheme)(partial(show, store, draw))
    app.callback(Output("probes-steering-table", "children"), shown)(partial(show_table, store))


# What is chosen


def steerings_at(store: RunStore, state: PageState) -> tuple[Steering, ...]:
    """What is kept of the chosen run and checkpoint, the last made at the end."""
    try:
        found = store.steering(state.run)[0] if state.run else ()
    except InputError:
        return ()
    return tuple(each for each in found if each.checkpoint == state.checkpoint)


def steering_of(store: RunStore, state: PageState) -> Steering | None:
    """The chosen one; else of the chosen target, or of weights, all tokens changed if there is such."""
    there = steerings_at(store, state)
    named = next((each for each in there if each.key == state.steered), None)
    best = sorted(there, key=lambda e: (e.target == state.target, e.target.startswith("w_"), e.tokens == "all"))
    return named or (best[-1] if best else None)


# What is missing


def words_for(store: RunStore, state: PageState) -> list[str] | None:
    """Words of the command that steers; None where it has been done or cannot be.

    Args:
        store: The runs.
        state: All that is chosen.
    """
    there = state.run is not None and state.checkpoint in checkpoints(store, state.run)
    return [] if there and steering_of(store, state) is None else None


def settle(
    store: RunStore,
    jobs: Jobs,
    complete: Complete,
    search: str | None,
    _ticks: Any,
    clicks: Any,
    before: str | None,
) -> tuple[Any, ...]:
    """What there is to show, or the way there."""
    state = complete(store, PageState.of(search))
    found, words = steering_of(store, state), words_for(store, state)
    if clicks and ctx.triggered_id == "probes-steering-compute" and words is not None and state.run:
        jobs.start(store.folder(state.run), state.checkpoint, words)
    job = None if words is None or not state.run else jobs.find(state.run, state.checkpoint, words)
    running = job is not None and job.running
    shown = f"{state.search}&kept={len(found.rows)}" if found else None
    return (
        [*_tell_missing(state, words), *_faults(store, state), *tell_job(job)],
        running,
        _shown_if(words is not None or bool(_faults(store, state))),
        _shown_if(found is not None),
        _shown_if(words is not None or found is not None),
        not running,
        no_update if shown and shown == before else shown,
    )


def _shown_if(holds: bool) -> dict[str, str]:
    return {"display": "block" if holds else "none"}


def _tell_missing(state: PageState, words: Sequence[str] | None) -> list[Any]:
    if words is None:
        return []
    typed = shlex.join(["mesascope", "steer", str(state.run), "--step", str(state.checkpoint), *words])
    sentence = f"Nothing was replaced in {state.run} at step {state.checkpoint} yet. Type "
    return [html.Div([sentence, command(typed), " or press the button."])]


def _faults(store: RunStore, state: PageState) -> list[html.Div]:
    try:
        found = store.steering(state.run)[1] if state.run else ()
    except InputError:
        return []
    return [html.Div(fault, className="failure") for fault in found]


# What is shown


def _draw_slope(found: Steering, scheme: str | None) -> go.Figure:
    return slope_figure(found, as_scheme(scheme))


def _draw_erasing(found: Steering, scheme: str | None) -> go.Figure:
    return erasing_figure(found, scheme=as_scheme(scheme))


FIGURES = {"slope": _draw_slope, "erasing": _draw_erasing}


def _shown(store: RunStore, search: str | None) -> Steering | None:
    return steering_of(store, PageState.of(search)) if search else None


def show(store: RunStore, draw: Any, search: str | None, scheme: str | None) -> go.Figure:
    """A figure of what is chosen, empty without it."""
    found = _shown(store, search)
    return draw(found, scheme) if found else empty_figure(scheme=as_scheme(scheme))


def show_table(store: RunStore, search: str | None) -> Any:
    """The same in numbers."""
    found = _shown(store, search)
    if found is None:
        return None
    return [
        dmc.Title(f"{found.target} replaced and erased, in numbers", order=4, mb="xs"),
        text_table(steering_table(found), min_width=1100),
        dmc.Text(f"{found.settings} {STEERING_NOTE}", size="sm", c="dimmed", mt="xs"),
    ]
