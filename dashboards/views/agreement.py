"""The page of one checkpoint: which algorithm each layer matches, at which step."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import dash_mantine_components as dmc
import plotly.graph_objects as go
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update, set_props

from dashboards.figures.agreement import agreement_figure
from dashboards.figures.best_step import best_step_figure
from dashboards.figures.error import error_figure
from dashboards.figures.layer import layer_figure
from dashboards.jobs import Jobs
from dashboards.state import FINAL_NORM, RAW, PageState
from dashboards.store import RunStore
from dashboards.tables import CONTROL_NOTE, LAYER_NOTE, control_table, conventions, layer_table
from dashboards.theme import as_scheme, empty_figure, graph, label, layer_label
from dashboards.views.parts import card, command, text_table
from dashboards.views.record import View
from workbench.errors import InputError

PATH = "/agreement"
_CONTROLS = ("run", "checkpoint", "reading", "family", "layer")
_READINGS = {RAW: "as they are", FINAL_NORM: "through final norm"}
_FIRST_CHOICE = "newton"
_LOOKED_AT = 200
"""Runs looked at for one that has results, where the address names none."""


@dataclass(frozen=True)
class Shown:
    """What the page shows.

    Attributes:
        state: Everything chosen.
        record: The agreement record.
        part: The record itself, or its part for the reading through the final norm.
    """

    state: PageState
    record: Mapping[str, Any]
    part: Mapping[str, Any]


# Layout


def layout() -> Any:
    """The page without data."""
    return html.Div(
        [
            dcc.Interval(id="agreement-tick", interval=1000, disabled=True),
            dcc.Store(id="agreement-shown"),
            _controls(),
            html.Div(
                dmc.Alert(
                    [
                        html.Div(id="agreement-message"),
                        dmc.Button("Compute now", id="agreement-compute", mt="sm", size="sm"),
                    ],
                    color="blue",
                    title="Nothing computed yet",
                ),
                id="agreement-missing",
                style={"display": "none"},
            ),
            html.Div(_body(), id="agreement-body", style={"display": "none"}),
        ]
    )


def _controls() -> Any:
    def field(title: str, control: Any) -> Any:
        return html.Div([dmc.Text(title, size="sm", fw=500, mb=2), control])

    picks = {
        "allowDeselect": False,
        "searchable": True,
        "limit": 100,
        "nothingFoundMessage": "none",
        "clearSearchOnFocus": True,
    }
    controls = [
        field("Run", dmc.Select(id="agreement-run", w=260, **picks)),
        field("Checkpoint", dmc.Select(id="agreement-checkpoint", w=215, **picks)),
        field("Layers read", dmc.SegmentedControl(id="agreement-reading", data=[])),
        field("Algorithm", dmc.SegmentedControl(id="agreement-family", data=[])),
        field("Layer", dmc.Select(id="agreement-layer", w=100, **picks)),
    ]
    return dmc.Group(controls, gap="md", align="flex-end", mb="md")


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


# Callbacks


def register(app: Dash, store: RunStore, jobs: Jobs) -> None:
    """Add the page's callbacks."""
    controls = [f"agreement-{name}" for name in _CONTROLS]
    app.callback(
        *[Output(component, "value") for component in controls],
        *[Output(component, "data") for component in controls],
        Input("url", "search"),
        *[Input(component, "value") for component in controls],
        Input("agreement-heat", "clickData"),
        Input("agreement-shown", "data"),
    )(partial(choose, store))
    app.callback(
        Output("agreement-message", "children"),
        Output("agreement-compute", "loading"),
        Output("agreement-compute", "style"),
        Output("agreement-missing", "style"),
        Output("agreement-body", "style"),
        Output("agreement-tick", "disabled"),
        Output("agreement-shown", "data"),
        Input("url", "search"),
        Input("agreement-tick", "n_intervals"),
        Input("agreement-compute", "n_clicks"),
        State("agreement-shown", "data"),
    )(partial(settle, store, jobs))
    shown, scheme = Input("agreement-shown", "data"), Input("color-scheme", "data")
    app.callback(Output("agreement-verdict", "children"), shown)(partial(show_verdict, store))
    app.callback(Output("agreement-heat", "figure"), shown, scheme)(partial(show_heat, store))
    app.callback(Output("agreement-layer-curve", "figure"), shown, scheme)(partial(show_layer, store))
    app.callback(Output("agreement-best", "figure"), shown, scheme)(partial(show_best_steps, store))
    app.callback(Output("agreement-error", "figure"), shown, scheme)(partial(show_error, store))
    app.callback(Output("agreement-table", "children"), shown)(partial(show_table, store))


def choose(store: RunStore, search: str | None, *values: Any) -> tuple[Any, ...]:
    """Address and controls, each following the other; a click on the heat map chooses a layer."""
    *controls, click, _shown = values
    given = dict(zip(_CONTROLS, controls, strict=True)) | {"clicked": _clicked_layer(click)}
    state, changed = chosen(store, search, str(ctx.triggered_id or "url"), given)
    if changed:
        # Not an output: on other pages the address is there and these controls are not, which Dash calls an error.
        set_props("url", {"search": state.search})
    return *_values(state), *_options(store, state)


def chosen(store: RunStore, search: str | None, trigger: str, given: Mapping[str, Any]) -> tuple[PageState, bool]:
    """The state after a control was used, and whether that changes anything.

    Args:
        store: The runs.
        search: Query string of the address.
        trigger: Id of what was used.
        given: Values of the controls, and the layer ``clicked`` in the heat map.
    """
    before = complete(store, PageState.of(search))
    used = "layer" if trigger == "agreement-heat" else trigger.removeprefix("agreement-")
    value = given.get("clicked" if trigger == "agreement-heat" else used)
    if used not in _CONTROLS or value is None:
        return before, False
    after = before.with_values({used: value})
    if used == "run" and after.run != before.run:
        after = replace(after, checkpoint=None, layer=None)
    after = complete(store, after)
    return after, after != before


def _clicked_layer(click: Any) -> int | None:
    try:
        return round(float(click["points"][0]["x"]))
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def _values(state: PageState) -> list[Any]:
    """Values of the controls; dmc's selects hold texts."""
    as_text = {"checkpoint": state.checkpoint, "layer": state.layer}
    texts = {key: None if v is None else str(v) for key, v in as_text.items()}
    return [state.run, texts["checkpoint"], state.reading, state.family, texts["layer"]]


def _options(store: RunStore, state: PageState) -> list[Any]:
    record = _record(store, state)
    part = _part(record, state.reading) if record else None
    steps = _checkpoints(store, state.run)
    kept = store.agreements(state.run).records if state.run and steps else {}
    readings = [RAW, FINAL_NORM] if record is None or record.get("final_norm") else [RAW]
    families = list(part["layers"][0]["families"]) if part else [state.family]
    layers = [layer["layer"] for layer in part["layers"]] if part else []
    marked = [
        {"value": str(step), "label": f"step {step}" + (" · computed" if step in kept else "")} for step in steps[::-1]
    ]
    return [
        [{"value": name, "label": name} for name in store.names()],
        marked,
        [{"value": key, "label": _READINGS[key]} for key in readings],
        [{"value": name, "label": label(name)} for name in families if name],
        [{"value": str(layer), "label": layer_label(layer)} for layer in layers],
    ]


def complete(store: RunStore, state: PageState) -> PageState:
    """The state with a default for everything that is not chosen or not there.

    The default run is the newest with results; its last computed checkpoint; its last layer. A run or checkpoint
    that is named but missing stays, so that the page can say so.
    """
    run = state.run or _first_run(store)
    reading = state.reading if state.reading in _READINGS else RAW
    state = replace(state, run=run, reading=reading, family=state.family or _FIRST_CHOICE)
    if state.checkpoint is None:
        state = replace(state, checkpoint=_default_checkpoint(store, run))
    record = _record(store, state)
    if record is None:
        return state
    if reading == FINAL_NORM and not record.get("final_norm"):
        state = replace(state, reading=RAW)
    layers = _part(record, state.reading)["layers"]
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


def _record(store: RunStore, state: PageState) -> Mapping[str, Any] | None:
    if state.run is None or state.checkpoint is None:
        return None
    try:
        return store.agreements(state.run).records.get(state.checkpoint)
    except InputError:
        return None


def _part(record: Mapping[str, Any], reading: str | None) -> Mapping[str, Any]:
    return record["final_norm"] if reading == FINAL_NORM and record.get("final_norm") else record


def settle(
    store: RunStore,
    jobs: Jobs,
    search: str | None,
    _ticks: Any,
    clicks: Any,
    before: str | None,
) -> tuple[Any, ...]:
    """Whether there is a record to show; else why not, and the way to one."""
    state = complete(store, PageState.of(search))
    record = _record(store, state)
    if record is not None:
        shown = no_update if state.search == before else state.search
        return None, False, {}, {"display": "none"}, {"display": "block"}, True, shown
    if clicks and ctx.triggered_id == "agreement-compute" and state.run and state.checkpoint is not None:
        jobs.start(store.folder(state.run), state.checkpoint)
    return *_missing(store, jobs, state), None


def _missing(store: RunStore, jobs: Jobs, state: PageState) -> tuple[Any, ...]:
    """Message, button, visibility of message and figures, and whether to stop looking again."""
    job = jobs.find(state.run, state.checkpoint) if state.run and state.checkpoint is not None else None
    running = job is not None and job.running
    sentence, can_compute = _tell_missing(store, state)
    told = [html.Div(sentence)]
    if running:
        told.append(html.Div("Computing; the figures appear by themselves.", className="note"))
    elif job is not None and job.error:
        told.append(html.Div(f"The last try failed: {job.error}", className="failure"))
    button = {} if can_compute else {"display": "none"}
    return told, running, button, {"display": "block"}, {"display": "none"}, not running


def _tell_missing(store: RunStore, state: PageState) -> tuple[Any, bool]:
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
    sentence = f"The layers of {state.run} at step {state.checkpoint} have not been compared yet. Type "
    told = [html.Div(fault, className="failure") for fault in faults]
    return html.Div([sentence, command(typed), " or press the button.", *told]), True


def shown_of(store: RunStore, search: str | None) -> Shown | None:
    """What a complete query string shows, or None without a record."""
    state = PageState.of(search)
    record = _record(store, state) if search else None
    return Shown(state, record, _part(record, state.reading)) if record else None


def show_verdict(store: RunStore, search: str | None) -> Any:
    """The verdict's sentence with its evidence."""
    shown = shown_of(store, search)
    if shown is None:
        return None
    verdict = shown.part["verdict"]
    named = not verdict["abstained"]
    return dmc.Alert(
        [
            dmc.Text(verdict["sentence"], fw=600, size="md"),
            html.Ul([html.Li(sentence) for sentence in verdict["evidence"]], className="evidence"),
        ],
        color="teal" if named else "yellow",
    )


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


def show_best_steps(store: RunStore, search: str | None, scheme: str | None) -> go.Figure:
    """Best-matching steps over the layers."""
    shown = shown_of(store, search)
    return best_step_figure(shown.part, as_scheme(scheme)) if shown else empty_figure(scheme=as_scheme(scheme))


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
        dmc.Title(f"Layers in numbers, read {_READINGS[str(shown.state.reading)]}", order=4, mb="xs"),
        text_table(layer_table(shown.part), min_width=840),
        dmc.Text(LAYER_NOTE, size="sm", c="dimmed", mt="xs"),
        dmc.Title("Controls", order=4, mt="md", mb="xs"),
        text_table(control_table(shown.part), min_width=840),
        dmc.Text(CONTROL_NOTE, size="sm", c="dimmed", mt="xs"),
        dmc.Title("How it was measured", order=4, mt="md"),
        html.Ul([html.Li(sentence) for sentence in conventions(shown.record)], className="evidence"),
    ]


AGREEMENT_VIEW = View(name="agreement", label="Agreement", path=PATH, layout=layout, register=register)
