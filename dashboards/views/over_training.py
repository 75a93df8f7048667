"""The page over training: how best steps, trends and errors came about, checkpoint by checkpoint."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import dash_mantine_components as dmc
import plotly.graph_objects as go
from dash import Dash, Input, Output, ctx, html, no_update

from dashboards.beside_tables import OVER_TRAINING_NOTE, over_training_table
from dashboards.figures.over_training import (
    best_steps_over_training,
    error_over_training,
    part_of_row,
    trend_over_training,
)
from dashboards.jobs import Job, Jobs
from dashboards.state import FINAL_NORM, PageState
from dashboards.store import RunStore
from dashboards.theme import as_scheme, empty_figure, graph
from dashboards.views.agreement_choice import READINGS, complete
from dashboards.views.missing import tell_fault, tell_job, tell_no_run
from dashboards.views.parts import card, command, text_table
from dashboards.views.picking import Picking, framed, register_picking
from dashboards.views.record import View
from workbench.errors import InputError

PATH = "/over-training"
_ASKED = ("--all-checkpoints",)
_ABOUT = (
    "The same comparison at every checkpoint of a run, on the same prompts: when layers leave the anchors, when their "
    "best steps begin to rise with depth, and whether the trend was there before the error was small."
)


def families(store: RunStore, state: PageState) -> list[str]:
    """Algorithms that the chosen run's checkpoints have been compared with."""
    table = _table(store, state)
    return list(table["rows"][0]["trend"]) if table else [str(state.family)]


PICKING = Picking(
    "over-training", ("run", "reading", "family", "scale"), missing="Checkpoints to compare", families=families
)


def layout() -> Any:
    """The page without data."""
    half = {"base": 12, "lg": 6}
    return framed(
        PICKING,
        [
            dmc.Text(_ABOUT, size="sm", c="dimmed", mb="md", maw=1000),
            dmc.Grid(
                [
                    dmc.GridCol(card(graph("over-training-best", "mesascope-over-training", 540)), span=12),
                    dmc.GridCol(card(graph("over-training-trend", "mesascope-trends", 540)), span=half),
                    dmc.GridCol(card(graph("over-training-error", "mesascope-errors", 540)), span=half),
                    dmc.GridCol(card(html.Div(id="over-training-table")), span=12),
                ],
                gutter="md",
            ),
        ],
    )


def register(app: Dash, store: RunStore, jobs: Jobs) -> None:
    """Add the page's callbacks."""
    register_picking(app, store, jobs, PICKING, settle)
    shown, scheme = Input("over-training-shown", "data"), Input("color-scheme", "data")
    for name, draw in FIGURES.items():
        app.callback(Output(f"over-training-{name}", "figure"), shown, scheme)(partial(show_figure, store, draw))
    app.callback(Output("over-training-table", "children"), shown)(partial(show_table, store))


def settle(
    store: RunStore, jobs: Jobs, picking: Picking, search: str | None, _ticks: Any, clicks: Any, before: str | None
) -> tuple[Any, ...]:
    """What there is of the table, and the way to what is missing of it."""
    state = complete(store, PageState.of(search))
    if clicks and ctx.triggered_id == picking.id("compute") and state.run:
        jobs.start(store.folder(state.run), None, _ASKED)
    job = jobs.find(state.run, None, _ASKED) if state.run else None
    running = job is not None and job.running
    table = _table(store, state)
    told, can_compute = _tell(store, state, table, job)
    shown = f"{state.search}&rows={len(table['rows'])}" if table else None
    return (
        told,
        running,
        {} if can_compute else {"display": "none"},
        {"display": "block" if told else "none", "marginBottom": 16},
        {"display": "block" if table else "none"},
        not running,
        no_update if shown and shown == before else shown,
    )


def _table(store: RunStore, state: PageState) -> Mapping[str, Any] | None:
    try:
        return store.over_training(state.run) if state.run else None
    except InputError:
        return None


def _tell(
    store: RunStore, state: PageState, table: Mapping[str, Any] | None, job: Job | None
) -> tuple[list[Any], bool]:
    """What is missing, and whether the page itself can mend it; nothing where nothing is missing."""
    if state.run is None:
        return [tell_no_run(store)], False
    try:
        steps = store.checkpoints(state.run)
        store.over_training(state.run)
    except InputError as error:
        return [tell_fault(store, state.run, error)], False
    known = {row["checkpoint"] for row in table["rows"]} if table else set()
    missing = [step for step in steps if step not in known]
    if not steps and not known:
        return [f"Run {state.run} has no checkpoint yet; there is nothing to compare."], False
    told = tell_job(job)
    if not missing:
        return told, False
    return [_tell_missing(str(state.run), len(steps), missing), *told], True


def _tell_missing(run: str, n_steps: int, missing: Sequence[int]) -> html.Div:
    typed = command(f"mesascope agree {run} --all-checkpoints")
    if len(missing) == n_steps:
        first = f"No checkpoint of {run} has been compared over training yet; it has {n_steps}. Type "
    else:
        first = f"{len(missing)} of {n_steps} checkpoints of {run} have not been compared yet. Type "
    return html.Div([first, typed, " or press the button: each takes as long as one agreement record."])


Draw = Callable[[Mapping[str, Any], PageState, str | None], go.Figure]


def _shared(state: PageState, scheme: str | None) -> dict[str, Any]:
    return {
        "final_norm": state.reading == FINAL_NORM,
        "log": state.scale != "linear",
        "scheme": as_scheme(scheme),
    }


def _family(table: Mapping[str, Any], state: PageState) -> str | None:
    """The chosen algorithm if every checkpoint has been compared with it."""
    return state.family if state.family in part_of_row(table["rows"][0], final_norm=False)["trend"] else None


def _draw_best(table: Mapping[str, Any], state: PageState, scheme: str | None) -> go.Figure:
    family = _family(table, state)
    if family is None:
        return _not_compared(scheme)
    return best_steps_over_training(table, family, **_shared(state, scheme))


def _draw_trend(table: Mapping[str, Any], state: PageState, scheme: str | None) -> go.Figure:
    family = _family(table, state)
    return trend_over_training(table, family, **_shared(state, scheme)) if family else _not_compared(scheme)


def _not_compared(scheme: str | None) -> go.Figure:
    return empty_figure("The checkpoints have not been compared with this algorithm.", as_scheme(scheme))


def _draw_error(table: Mapping[str, Any], state: PageState, scheme: str | None) -> go.Figure:
    return error_over_training(table, **_shared(state, scheme))


FIGURES: dict[str, Draw] = {"best": _draw_best, "trend": _draw_trend, "error": _draw_error}


def show_figure(store: RunStore, draw: Draw, search: str | None, scheme: str | None) -> go.Figure:
    """A figure of the table, empty without one."""
    state = PageState.of(search)
    table = _table(store, state) if search else None
    return draw(table, state, scheme) if table else empty_figure(scheme=as_scheme(scheme))


def show_table(store: RunStore, search: str | None) -> Any:
    """Every checkpoint in numbers."""
    state = PageState.of(search)
    table = _table(store, state) if search else None
    if table is None:
        return None
    final_norm = state.reading == FINAL_NORM
    return [
        dmc.Title(f"Checkpoints in numbers, layers read {READINGS[str(state.reading)]}", order=4, mb="xs"),
        text_table(over_training_table(table, final_norm=final_norm), min_width=1300),
        dmc.Text(OVER_TRAINING_NOTE, size="sm", c="dimmed", mt="xs"),
    ]


OVER_TRAINING_VIEW = View(name="over-training", label="Over training", path=PATH, layout=layout, register=register)
