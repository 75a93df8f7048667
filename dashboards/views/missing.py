"""What pages say where nothing is computed yet: why, the command to type, a button, and how the computation goes."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html, no_update

from dashboards.jobs import Job
from dashboards.state import PageState
from dashboards.store import RunStore
from dashboards.views.parts import command
from dashboards.views.replaced import note
from workbench.errors import InputError

_SHOWN = {"display": "block"}
_HIDDEN = {"display": "none"}
NOTHING = "Nothing to show"
"""Title where nothing can be computed either."""


def framed(page: str, controls: Sequence[Any], body: Sequence[Any]) -> html.Div:
    """A page: its controls, and its body or what it says where nothing is computed.

    Args:
        page: Name of the page, the prefix of its ids.
        controls: What chooses what is shown.
        body: What is hidden until there is something to show.
    """
    button = dmc.Button("Compute now", id=f"{page}-compute", mt="sm", size="sm")
    told = dmc.Alert([html.Div(id=f"{page}-message"), button], color="blue", id=f"{page}-alert")
    return html.Div(
        [
            dcc.Interval(id=f"{page}-tick", interval=1000, disabled=True),
            dcc.Store(id=f"{page}-shown"),
            *controls,
            note(page),
            html.Div(told, id=f"{page}-missing", style=_HIDDEN),
            html.Div(list(body), id=f"{page}-body", style=_HIDDEN),
        ]
    )


def register_settling(app: Dash, page: str, title: str, settle: Callable[..., tuple[Any, ...]]) -> None:
    """Let a function say whether a framed page has something to show, whenever the address changes and while it waits.

    Args:
        app: The app.
        page: Name of the page.
        title: What is missing where something can be computed.
        settle: From the address, ticks, clicks and what is shown to `show_body` or `show_missing`.
    """
    app.callback(
        Output(f"{page}-message", "children"),
        Output(f"{page}-compute", "loading"),
        Output(f"{page}-compute", "style"),
        Output(f"{page}-missing", "style"),
        Output(f"{page}-body", "style"),
        Output(f"{page}-tick", "disabled"),
        Output(f"{page}-shown", "data"),
        Output(f"{page}-alert", "title"),
        Input("url", "search"),
        Input(f"{page}-tick", "n_intervals"),
        Input(f"{page}-compute", "n_clicks"),
        State(f"{page}-shown", "data"),
    )(partial(_titled, title, settle))


def _titled(title: str, settle: Callable[..., tuple[Any, ...]], *given: Any) -> tuple[Any, ...]:
    told = settle(*given)
    _, running, button, *_ = told
    return *told, title if running or button != _HIDDEN else NOTHING


def show_body(search: str, before: str | None) -> tuple[Any, ...]:
    """The body, for what an address chooses; nothing is drawn again for the same address."""
    return None, False, {}, _HIDDEN, _SHOWN, True, no_update if search == before else search


def show_missing(sentence: Any, job: Job | None, *, can_compute: bool) -> tuple[Any, ...]:
    """What is missing, how its computation goes, and the button if there is one to press; looks again while it runs."""
    running = job is not None and job.running
    button = {} if can_compute else _HIDDEN
    return [html.Div(sentence), *tell_job(job)], running, button, _SHOWN, _HIDDEN, not running, None


def tell_job(job: Job | None) -> list[html.Div]:
    """What a computation is at, or why it failed."""
    if job is not None and job.running:
        stage = f" Now: {job.said}." if job.said else ""
        return [html.Div(f"Computing; the figures appear by themselves.{stage}", className="note")]
    if job is not None and job.error:
        return [html.Div(f"The last try failed: {job.error}", className="failure")]
    return []


def tell_no_run(store: RunStore, typed: str = "mesascope demo") -> html.Span:
    """That there is no run at all, and the command that makes one."""
    return html.Span([f"There is no run in {store.root} yet. Type ", command(typed), "."])


def tell_fault(store: RunStore, run: str, error: InputError) -> str:
    """Why a run cannot be shown: that there is none of that name, or what is wrong with it."""
    names = store.names()
    if not str(error).startswith("no run at "):
        return str(error)
    return f"There is no run named {run} among the {len(names)} runs in {store.root}. Choose one above."


def tell_no_checkpoint(state: PageState, steps: Sequence[int], todo: str = "compare") -> str | None:
    """That the chosen checkpoint is not among those of its run; None where it is."""
    if not steps:
        return f"Run {state.run} has no checkpoint yet; there is nothing to {todo}."
    if state.checkpoint not in steps:
        return f"Run {state.run} has no checkpoint at step {state.checkpoint}. Choose one above."
    return None


def tell_way(sentence: str, typed: str, faults: Sequence[str]) -> html.Div:
    """What has not been computed, the command that does it, and records that could not be read."""
    told = [html.Div(fault, className="failure") for fault in faults]
    return html.Div([f"{sentence} Type ", command(typed), " or press the button.", *told])
