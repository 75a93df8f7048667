"""What pages on agreement records share: choosing run, checkpoint and reading, and saying what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update, set_props

from dashboards.jobs import Jobs
from dashboards.state import FINAL_NORM, RAW, PageState
from dashboards.store import RunStore
from dashboards.theme import label, layer_label
from dashboards.views.parts import command
from workbench.errors import InputError

READINGS = {RAW: "as they are", FINAL_NORM: "through final norm"}
_FIRST_CHOICE = "newton"
_LOOKED_AT = 200
"""Runs looked at for one that has results, where the address names none."""


@dataclass(frozen=True)
class Picking:
    """How a page chooses what it shows.

    Attributes:
        page: Name of the page, the prefix of its ids.
        controls: Fields of `PageState` that it has a control for.
        clicked: Id of a figure in which a click on a column chooses the layer, or None.
        needs: Key that a record's reading must have to be shown here, or None.
    """

    page: str
    controls: tuple[str, ...] = ("run", "checkpoint", "reading")
    clicked: str | None = None
    needs: str | None = None

    def id(self, thing: str) -> str:
        """The id of a component of the page."""
        return f"{self.page}-{thing}"


@dataclass(frozen=True)
class Shown:
    """What a page shows.

    Attributes:
        state: Everything chosen.
        record: The agreement record.
        part: The record itself, or its part for the reading through the final norm.
    """

    state: PageState
    record: Mapping[str, Any]
    part: Mapping[str, Any]


# Layout


def framed(picking: Picking, body: Sequence[Any]) -> html.Div:
    """A page: its controls, what it says where nothing is computed, and its body."""
    return html.Div(
        [
            dcc.Interval(id=picking.id("tick"), interval=1000, disabled=True),
            dcc.Store(id=picking.id("shown")),
            _controls(picking),
            html.Div(
                dmc.Alert(
                    [
                        html.Div(id=picking.id("message")),
                        dmc.Button("Compute now", id=picking.id("compute"), mt="sm", size="sm"),
                    ],
                    color="blue",
                    title="Nothing computed yet",
                ),
                id=picking.id("missing"),
                style={"display": "none"},
            ),
            html.Div(list(body), id=picking.id("body"), style={"display": "none"}),
        ]
    )


def _controls(picking: Picking) -> Any:
    picks = {
        "allowDeselect": False,
        "searchable": True,
        "limit": 100,
        "nothingFoundMessage": "none",
        "clearSearchOnFocus": True,
    }
    made = {
        "run": ("Run", partial(dmc.Select, w=260, **picks)),
        "checkpoint": ("Checkpoint", partial(dmc.Select, w=215, **picks)),
        "reading": ("Layers read", partial(dmc.SegmentedControl, data=[])),
        "family": ("Algorithm", partial(dmc.Select, w=230, **picks)),
        "layer": ("Layer", partial(dmc.Select, w=100, **picks)),
    }
    fields = [
        html.Div([dmc.Text(made[name][0], size="sm", fw=500, mb=2), made[name][1](id=picking.id(name))])
        for name in picking.controls
    ]
    return dmc.Group(fields, gap="md", align="flex-end", mb="md")


# Callbacks


def register_picking(app: Dash, store: RunStore, jobs: Jobs, picking: Picking) -> None:
    """Add the callbacks of the controls and of the message."""
    controls = [picking.id(name) for name in picking.controls]
    clicks = [Input(picking.clicked, "clickData")] if picking.clicked else []
    app.callback(
        *[Output(component, "value") for component in controls],
        *[Output(component, "data") for component in controls],
        Input("url", "search"),
        *[Input(component, "value") for component in controls],
        *clicks,
        Input(picking.id("shown"), "data"),
    )(partial(choose, store, picking))
    app.callback(
        Output(picking.id("message"), "children"),
        Output(picking.id("compute"), "loading"),
        Output(picking.id("compute"), "style"),
        Output(picking.id("missing"), "style"),
        Output(picking.id("body"), "style"),
        Output(picking.id("tick"), "disabled"),
        Output(picking.id("shown"), "data"),
        Input("url", "search"),
        Input(picking.id("tick"), "n_intervals"),
        Input(picking.id("compute"), "n_clicks"),
        State(picking.id("shown"), "data"),
    )(partial(settle, store, jobs, picking))


def choose(store: RunStore, picking: Picking, search: str | None, *values: Any) -> tuple[Any, ...]:
    """Address and controls, each following the other; a click in the figure chooses a layer."""
    given = dict(zip(picking.controls, values))
    given["clicked"] = clicked_layer(values[len(picking.controls)]) if picking.clicked else None
    state, changed = chosen(store, picking, search, str(ctx.triggered_id or "url"), given)
    if changed:
        # Not an output: on other pages the address is there and these controls are not, which Dash calls an error.
        set_props("url", {"search": state.search})
    options = options_of(store, state)
    return *[_value(state, name) for name in picking.controls], *[options[name] for name in picking.controls]


def chosen(
    store: RunStore, picking: Picking, search: str | None, trigger: str, given: Mapping[str, Any]
) -> tuple[PageState, bool]:
    """The state after a control was used, and whether that changes anything.

    Args:
        store: The runs.
        picking: How the page chooses.
        search: Query string of the address.
        trigger: Id of what was used.
        given: Values of the controls, and the layer ``clicked`` in the figure.
    """
    before = complete(store, PageState.of(search))
    click = trigger == picking.clicked
    used = "layer" if click else trigger.removeprefix(picking.id(""))
    value = given.get("clicked" if click else used)
    if used not in picking.controls or value is None:
        return before, False
    after = before.with_values({used: value})
    if used == "run" and after.run != before.run:
        after = replace(after, checkpoint=None, layer=None)
    after = complete(store, after)
    return after, after != before


def clicked_layer(click: Any) -> int | None:
    """The layer whose column was clicked, or None."""
    try:
        return round(float(click["points"][0]["x"]))
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def _value(state: PageState, name: str) -> Any:
    """Value of a control; dmc's selects hold texts."""
    value = getattr(state, name)
    return str(value) if isinstance(value, int) else value


def options_of(store: RunStore, state: PageState) -> dict[str, list[dict[str, str]]]:
    """What every control offers."""
    record = record_of(store, state)
    part = part_of(record, state.reading) if record else None
    steps = _checkpoints(store, state.run)
    kept = store.agreements(state.run).records if state.run and steps else {}
    readings = [RAW, FINAL_NORM] if record is None or record.get("final_norm") else [RAW]
    families = list(part["layers"][0]["families"]) if part else [state.family]
    layers = [layer["layer"] for layer in part["layers"]] if part else []
    marked = [
        {"value": str(step), "label": f"step {step}" + (" · computed" if step in kept else "")} for step in steps[::-1]
    ]
    return {
        "run": [{"value": name, "label": name} for name in store.names()],
        "checkpoint": marked,
        "reading": [{"value": key, "label": READINGS[key]} for key in readings],
        "family": [{"value": name, "label": label(name)} for name in families if name],
        "layer": [{"value": str(layer), "label": layer_label(layer)} for layer in layers],
    }


def complete(store: RunStore, state: PageState) -> PageState:
    """The state with a default for everything that is not chosen or not there.

    The default run is the newest with results; its last computed checkpoint; its last layer. A run or checkpoint
    that is named but missing stays, so that the page can say so.
    """
    run = state.run or _first_run(store)
    reading = state.reading if state.reading in READINGS else RAW
    state = replace(state, run=run, reading=reading, family=state.family or _FIRST_CHOICE)
    if state.checkpoint is None:
        state = replace(state, checkpoint=_default_checkpoint(store, run))
    record = record_of(store, state)
    if record is None:
        return state
    if reading == FINAL_NORM and not record.get("final_norm"):
        state = replace(state, reading=RAW)
    layers = part_of(record, state.reading)["layers"]
    families = list(layers[0]["families"])
    layer = state.layer if state.layer is not None and state.layer < len(layers) else len(layers) - 1
    return replace(state, layer=layer, family=state.family if state.family in families else families[0])


def _first_run(store: RunStore) -> str | None:
    names = [row.name for row in store.rows(budget_s=0.0)]
    with_results = (name for name in names[:_LOOKED_AT] if store.has_agreement(name))
    return next(with_results, names[0] if names else None)


def _default_checkpoint(store: RunStore, run: str | None) -> int | None:
    steps = _checkpoints(store, run)
    if not steps or run is None:
        return None
    kept = [step for step in store.agreements(run).records if step in steps]
    return kept[-1] if kept else steps[-1]


def _checkpoints(store: RunStore, run: str | None) -> list[int]:
    try:
        return store.checkpoints(run) if run else []
    except InputError:
        return []


def record_of(store: RunStore, state: PageState) -> Mapping[str, Any] | None:
    """The agreement record of the chosen run and checkpoint, if there is one."""
    if state.run is None or state.checkpoint is None:
        return None
    try:
        return store.agreements(state.run).records.get(state.checkpoint)
    except InputError:
        return None


def part_of(record: Mapping[str, Any], reading: str | None) -> Mapping[str, Any]:
    """The record itself, or its part for the reading through the final norm."""
    return record["final_norm"] if reading == FINAL_NORM and record.get("final_norm") else record


def settle(
    store: RunStore,
    jobs: Jobs,
    picking: Picking,
    search: str | None,
    _ticks: Any,
    clicks: Any,
    before: str | None,
) -> tuple[Any, ...]:
    """Whether there is a record to show; else why not, and the way to one."""
    state = complete(store, PageState.of(search))
    record = record_of(store, state)
    if record is not None and (picking.needs is None or picking.needs in part_of(record, state.reading)):
        shown = no_update if state.search == before else state.search
        return None, False, {}, {"display": "none"}, {"display": "block"}, True, shown
    if clicks and ctx.triggered_id == picking.id("compute") and state.run and state.checkpoint is not None:
        jobs.start(store.folder(state.run), state.checkpoint)
    return *_missing(store, jobs, state, older=record is not None), None


def _missing(store: RunStore, jobs: Jobs, state: PageState, *, older: bool) -> tuple[Any, ...]:
    """Message, button, visibility of message and figures, and whether to stop looking again."""
    job = jobs.find(state.run, state.checkpoint) if state.run and state.checkpoint is not None else None
    running = job is not None and job.running
    sentence, can_compute = _tell_missing(store, state, older=older)
    told = [html.Div(sentence)]
    if running:
        told.append(html.Div("Computing; the figures appear by themselves.", className="note"))
    elif job is not None and job.error:
        told.append(html.Div(f"The last try failed: {job.error}", className="failure"))
    button = {} if can_compute else {"display": "none"}
    return told, running, button, {"display": "block"}, {"display": "none"}, not running


def _tell_missing(store: RunStore, state: PageState, *, older: bool) -> tuple[Any, bool]:
    """A sentence, and whether the page itself can mend what is missing."""
    if state.run is None:
        return html.Span([f"There is no run in {store.root} yet. Type ", command("mesascope demo"), "."]), False
    try:
        steps = store.checkpoints(state.run)
        faults = store.agreements(state.run).faults
    except InputError as error:
        return str(error), False
    if not steps:
        return f"Run {state.run} has no checkpoint yet; there is nothing to compare.", False
    if state.checkpoint not in steps:
        return f"Run {state.run} has no checkpoint at step {state.checkpoint}. Choose one above.", False
    typed = f"mesascope agree {state.run} --step {state.checkpoint}"
    what = "were compared by an older version, without what this page shows" if older else "have not been compared yet"
    sentence = f"The layers of {state.run} at step {state.checkpoint} {what}. Type "
    told = [html.Div(fault, className="failure") for fault in faults]
    return html.Div([sentence, command(typed), " or press the button.", *told]), True


def shown_of(store: RunStore, search: str | None) -> Shown | None:
    """What a complete query string shows, or None without a record."""
    state = PageState.of(search)
    record = record_of(store, state) if search else None
    return Shown(state, record, part_of(record, state.reading)) if record else None
