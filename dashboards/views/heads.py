"""The page of heads: what each attends to, weighs and is worth, beside chance, and the patterns themselves."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
import plotly.graph_objects as go
from dash import Dash, Input, Output, ctx, html, set_props

from dashboards.figures.extreme_tokens import extreme_figure
from dashboards.figures.head_contrast import contrast_figure
from dashboards.figures.heads import heads_figure, heads_over_training
from dashboards.figures.prompt_patterns import patterns_figure
from dashboards.head_scores import head_name, head_of, sink_positions
from dashboards.head_tables import (
    HEAD_NOTE,
    PARTNER_NOTE,
    SINK_NOTE,
    head_table,
    induction_table,
    partner_table,
    sink_rate_table,
    sink_table,
    tell_labels,
    tell_measured,
    tell_repeated,
)
from dashboards.jobs import Jobs, heads_command
from dashboards.state import PageState
from dashboards.store import RunStore
from dashboards.theme import as_scheme, empty_figure, graph
from dashboards.views import missing
from dashboards.views.heads_choice import (
    CONTROLS,
    chosen,
    clicked_head,
    clicked_prompt,
    complete,
    is_on_tokens,
    options_of,
    record_of,
    records_of,
    value_of,
)
from dashboards.views.one_run import LOOKED_AT, selects, slider, slider_marks
from dashboards.views.parts import card, command, offered, text_table
from dashboards.views.record import View
from dashboards.views.replaced import register_replaced
from workbench.errors import InputError

if TYPE_CHECKING:
    from circuits.prompt_patterns import PromptPatterns

PATH = "/heads"
_N_NAMED = 5
_ABOUT = (
    "Every head of a run on tokens or of a language model, scored on text and on repeated random tokens. A score means "
    "little without its chance level, and attention little without the loss that silencing the head costs: both stand "
    "beside it. Heads and layers are counted from 0. Click a head in the map, or a prompt in the scatter, to look "
    "closer."
)


def layout() -> Any:
    """The page without data."""
    controls = {
        "run": ("Run or language model", 270),
        "checkpoint": ("Checkpoint or record", 270),
        "score": ("Score", 410),
        "head": ("Head", 210),
        "prompt": ("First prompt", 110),
    }
    half = {"base": 12, "lg": 6}
    body = dmc.Grid(
        [
            dmc.GridCol(card(graph("heads-map", "mesascope-heads", 520)), span=half),
            dmc.GridCol(card(html.Div(id="heads-card"), h="100%"), span=half),
            dmc.GridCol(card(graph("heads-patterns", "mesascope-patterns-of-a-head", 520)), span=12),
            dmc.GridCol(card(graph("heads-contrast", "mesascope-domain-contrast", 480)), span=12),
            dmc.GridCol(
                card(graph("heads-extreme", "mesascope-extreme-tokens", 480), html.Div(id="heads-sinks")), span=12
            ),
            dmc.GridCol(card(html.Div(id="heads-induction")), id="heads-induction-place", span=12),
            dmc.GridCol(
                card(graph("heads-training", "mesascope-heads-over-training", 460)), id="heads-training-place", span=12
            ),
        ],
        gutter="md",
    )
    told = [
        dmc.Text(_ABOUT, size="sm", c="dimmed", mb="xs", maw=1000),
        html.Div(id="heads-about", className="about-record"),
    ]
    choosing = [selects("heads", controls, limit=200), slider("heads")]
    return missing.framed("heads", choosing, [*told, body])


def register(app: Dash, store: RunStore, _jobs: Jobs) -> None:
    """Add the page's callbacks; its computations are commands of their own."""
    jobs = Jobs(heads_command)
    ids = [f"heads-{name}" for name in CONTROLS]
    app.callback(
        *[Output(one, "value") for one in ids],
        *[Output(one, "data") for one in ids],
        Input("url", "search"),
        *[Input(one, "value") for one in ids],
        Input("heads-map", "clickData"),
        Input("heads-contrast", "clickData"),
        Input("heads-shown", "data"),
    )(partial(choose, store))
    register_replaced(app, "heads", ("score", "head", "prompt"), partial(complete, store))
    missing.register_settling(app, "heads", "No heads to show yet", partial(settle, store, jobs))
    shown, scheme = Input("heads-shown", "data"), Input("color-scheme", "data")
    for name, draw in FIGURES.items():
        app.callback(Output(f"heads-{name}", "figure"), shown, scheme)(partial(show, store, draw))
    app.callback(Output("heads-training", "style"), Output("heads-training-place", "style"), shown)(
        partial(show_height, store)
    )
    app.callback(Output("heads-map", "style"), shown)(partial(show_map_height, store))
    for name, tell in TABLES.items():
        app.callback(Output(f"heads-{name}", "children"), shown)(partial(show_table, store, tell))
    app.callback(Output("heads-induction-place", "style"), shown)(partial(show_induction_place, store))
    app.callback(
        Output("heads-slider", "value"),
        Output("heads-slider", "max"),
        Output("heads-slider", "marks"),
        Output("heads-slider-step", "children"),
        Output("heads-slider-place", "style"),
        Input("url", "search"),
        Input("heads-slider", "value"),
        shown,
    )(partial(slide, store))


# Choosing


def choose(store: RunStore, search: str | None, *values: Any) -> tuple[Any, ...]:
    """Address and controls, each following the other; clicks choose a head or a prompt."""
    used = str(ctx.triggered_id or "url").removeprefix("heads-")
    n = len(CONTROLS)
    before = complete(store, PageState.of(search))
    given: dict[str, Any] = dict(zip(CONTROLS, values))
    clicked = {"map": ("head", clicked_head(values[n])), "contrast": ("prompt", clicked_prompt(values[n + 1]))}
    if used in clicked:
        used, value = clicked[used]
        given = {used: value}
    after = chosen(store, before, used, given)
    if after != before:
        set_props("url", {"search": after.search})
    options = options_of(store, after)
    shown = [offered(value_of(after, name), options[name]) for name in CONTROLS]
    return *shown, *[options[name] for name in CONTROLS]


def slide(store: RunStore, search: str | None, value: int | None, _shown: Any) -> tuple[Any, ...]:
    """The slider over the measured checkpoints of a run, which follows the address and is followed by it."""
    state = complete(store, PageState.of(search))
    steps = _measured(store, state)
    if ctx.triggered_id == "heads-slider" and value is not None and 0 <= value < len(steps):
        after = replace(state, checkpoint=steps[value])
        if after != state:
            set_props("url", {"search": after.search})
            state = after
    return slider_of(store, state)


def _measured(store: RunStore, state: PageState) -> list[int]:
    return [] if state.model is not None else sorted(records_of(store, state.run))


def slider_of(store: RunStore, state: PageState) -> tuple[Any, ...]:
    """Place, last place, marks, step and style of the slider; hidden where fewer than two checkpoints are measured."""
    steps = _measured(store, state)
    if len(steps) < 2:
        return 0, 1, [], "", {"display": "none"}
    at = steps.index(state.checkpoint) if state.checkpoint in steps else len(steps) - 1
    return at, len(steps) - 1, slider_marks(steps), f"step {steps[at]}", {}


# What is missing


def settle(
    store: RunStore, jobs: Jobs, search: str | None, _ticks: Any, clicks: Any, before: str | None
) -> tuple[Any, ...]:
    """Whether there is a record to show; else why not, and the way to one."""
    state = complete(store, PageState.of(search))
    if record_of(store, state) is not None:
        return missing.show_body(state.search, before)
    can_compute = state.model is None and state.run is not None and state.checkpoint is not None
    if clicks and ctx.triggered_id == "heads-compute" and can_compute:
        jobs.start(store.folder(str(state.run)), state.checkpoint)
    job = jobs.find(str(state.run), state.checkpoint) if can_compute else None
    sentence, can_compute = tell_missing(store, state)
    return missing.show_missing(sentence, job, can_compute=can_compute)


def tell_missing(store: RunStore, state: PageState) -> tuple[Any, bool]:
    """A sentence, and whether the page itself can mend what is missing."""
    if state.model is not None:
        return _tell_no_record(store, state.model), False
    if state.run is None:
        return missing.tell_no_run(store, "mesascope train repeated_tokens --preset demo --out induction"), False
    try:
        steps, on_tokens = store.checkpoints(state.run), store.is_on_tokens(state.run)
        faults = store.heads(state.run).faults
    except InputError as error:
        return missing.tell_fault(store, state.run, error), False
    if not on_tokens:
        return _tell_vectors(store, state.run), False
    absent = missing.tell_no_checkpoint(state, steps, "measure")
    if absent is not None:
        return absent, False
    sentence = f"The heads of {state.run} at step {state.checkpoint} have not been measured yet."
    return missing.tell_way(sentence, f"mesascope heads {state.run} --step {state.checkpoint}", faults), True


def _tell_no_record(store: RunStore, model: str) -> html.Div:
    """That nothing is kept of a language model, and how to measure one."""
    try:
        faults = store.model_heads(model).faults
    except InputError as error:
        faults = (str(error),)
    typed = command("mesascope heads --model smollm2-135m")
    told = [html.Div(fault, className="failure") for fault in faults]
    return html.Div([f"No head record of a language model {model} is kept here. Type ", typed, ".", *told])


def _tell_vectors(store: RunStore, run: str) -> html.Div:
    """That a run on vectors has no such scores, and which runs have."""
    names = [row.name for row in store.rows(budget_s=0.0)][:LOOKED_AT]
    on_tokens = [name for name in names if is_on_tokens(store, name)][:_N_NAMED]
    first = f"The prompts of {run} are vectors. Scores of heads are about tokens: what came before, what comes again. "
    if on_tokens:
        return html.Div([first, f"Runs on tokens here: {', '.join(on_tokens)}. Choose one above."])
    typed = command("mesascope train repeated_tokens --preset demo --out induction")
    return html.Div([first, "No run here is on tokens yet. Type ", typed, "."])


# What is shown


def _draw_map(_: RunStore, state: PageState, record: Mapping[str, Any], scheme: Any) -> go.Figure:
    return heads_figure(record, str(state.score), state.head, scheme)


def _draw_patterns(store: RunStore, state: PageState, record: Mapping[str, Any], scheme: Any) -> go.Figure:
    prompts = _patterns(store, state)
    head = head_of(record, state.head)
    return patterns_figure(
        prompts, head["layer"], head["head"], sink_positions(record), list(record["domains"]), scheme
    )


def _patterns(store: RunStore, state: PageState) -> "list[PromptPatterns]":
    if state.model is not None:
        return store.model_patterns(state.model, str(state.record))
    assert state.run is not None
    assert state.checkpoint is not None
    return store.patterns(state.run, state.checkpoint, (state.prompt or 1) - 1)


def _draw_contrast(_: RunStore, state: PageState, record: Mapping[str, Any], scheme: Any) -> go.Figure:
    return contrast_figure(record, head_of(record, state.head), scheme)


def _draw_extreme(_: RunStore, _state: PageState, record: Mapping[str, Any], scheme: Any) -> go.Figure:
    return extreme_figure(record, scheme)


def _draw_training(store: RunStore, state: PageState, _: Mapping[str, Any], scheme: Any) -> go.Figure:
    records = {} if state.model is not None else records_of(store, state.run)
    return heads_over_training(records, str(state.score), state.head, scheme)


FIGURES = {
    "map": _draw_map,
    "patterns": _draw_patterns,
    "contrast": _draw_contrast,
    "extreme": _draw_extreme,
    "training": _draw_training,
}


def _shown(store: RunStore, search: str | None) -> tuple[PageState, Mapping[str, Any] | None]:
    state = complete(store, PageState.of(search)) if search else PageState()
    return state, record_of(store, state)


def show(store: RunStore, draw: Any, search: str | None, scheme: str | None) -> go.Figure:
    """A figure of the record, empty without one."""
    state, record = _shown(store, search)
    return draw(store, state, record, as_scheme(scheme)) if record else empty_figure(scheme=as_scheme(scheme))


def show_height(store: RunStore, search: str | None) -> tuple[dict[str, str], dict[str, str]]:
    """Room for the figure over training: a line where there is but one checkpoint to draw, none for a model without."""
    state, _ = _shown(store, search)
    several = len(records_of(store, state.run)) > 1
    place = {"display": "none"} if state.model is not None else {}
    return {"height": "460px" if several else "70px"}, place


def show_map_height(store: RunStore, search: str | None) -> dict[str, str]:
    """A map of many layers needs more room, so that letters stay apart."""
    _, record = _shown(store, search)
    n_layers = len(record["layers"]) if record else 0
    return {"height": f"{max(520, 170 + 21 * n_layers)}px"}


def show_induction_place(store: RunStore, search: str | None) -> dict[str, str]:
    """Room for what heads are worth on repeated tokens, where that was measured."""
    _, record = _shown(store, search)
    return {} if record and record.get("repeated") else {"display": "none"}


def show_table(store: RunStore, tell: Any, search: str | None) -> Any:
    """Something of the record in words and numbers; nothing without one."""
    state, record = _shown(store, search)
    return tell(state, record) if record else None


def _tell_about(_: PageState, record: Mapping[str, Any]) -> Any:
    return dmc.Text(tell_measured(record), size="sm", mb="md", maw=1000)


def _tell_card(state: PageState, record: Mapping[str, Any]) -> Any:
    head = head_of(record, state.head)
    partners = partner_table(head)
    told = [
        dmc.Title(f"{head_name(head)}: {tell_labels(head)}", order=4, mb="xs"),
        text_table(head_table(record, head), min_width=480),
        dmc.Text(HEAD_NOTE, size="sm", c="dimmed", mt="xs"),
    ]
    if partners.rows:
        told += [
            dmc.Title("Composition", order=4, mt="md", mb="xs"),
            text_table(partners, min_width=400),
            dmc.Text(PARTNER_NOTE, size="sm", c="dimmed", mt="xs"),
        ]
    return told


def _tell_sinks(_: PageState, record: Mapping[str, Any]) -> Any:
    return [
        text_table(sink_table(record), min_width=600),
        dmc.Title("Sink rate", order=4, mt="md", mb="xs"),
        text_table(sink_rate_table(record), min_width=600),
        dmc.Text(SINK_NOTE, size="sm", c="dimmed", mt="xs"),
    ]


def _tell_induction(_: PageState, record: Mapping[str, Any]) -> Any:
    if not record.get("repeated"):
        return None
    return [
        dmc.Title("What induction heads are worth on repeated tokens", order=4, mb="xs"),
        text_table(induction_table(record), min_width=600),
        dmc.Text(tell_repeated(record), size="sm", c="dimmed", mt="xs"),
    ]


TABLES = {"about": _tell_about, "card": _tell_card, "sinks": _tell_sinks, "induction": _tell_induction}

HEADS_VIEW = View(name="heads", label="Heads", path=PATH, layout=layout, register=register)
