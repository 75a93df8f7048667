"""The page of heads: what each attends to, weighs and is worth, beside chance, and the patterns themselves."""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import dash_mantine_components as dmc
import plotly.graph_objects as go
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update, set_props

from dashboards.figures.extreme_tokens import extreme_figure
from dashboards.figures.head_contrast import contrast_figure
from dashboards.figures.heads import heads_figure, heads_over_training
from dashboards.figures.prompt_patterns import patterns_figure
from dashboards.head_scores import head_name, head_of, scores_of, sink_positions
from dashboards.head_tables import HEAD_NOTE, PARTNER_NOTE, head_table, partner_table, sink_table, tell_labels
from dashboards.jobs import Jobs, heads_command
from dashboards.state import PageState
from dashboards.store import RunStore
from dashboards.theme import as_scheme, empty_figure, graph
from dashboards.views.parts import card, command, offered, text_table
from dashboards.views.picking import tell_job
from dashboards.views.record import View
from workbench.errors import InputError

PATH = "/heads"
CONTROLS = ("run", "checkpoint", "score", "head", "prompt")
_LOOKED_AT = 200
_N_NAMED = 5
_ABOUT = (
    "Every head of a run on tokens, scored on the task's own text and on repeated random tokens. A score means little "
    "without its chance level, and attention little without the loss that silencing the head costs: both stand beside "
    "it. Heads and layers are counted from 0. Click a head in the map, or a prompt in the scatter, to look closer."
)


def layout() -> Any:
    """The page without data."""
    picks: dict[str, Any] = {"allowDeselect": False, "searchable": True, "limit": 200, "clearSearchOnFocus": True}
    names = {
        "run": ("Run", 260),
        "checkpoint": ("Checkpoint", 215),
        "score": ("Score", 460),
        "head": ("Head", 220),
        "prompt": ("First prompt", 110),
    }
    fields = [
        html.Div([dmc.Text(title, size="sm", fw=500, mb=2), dmc.Select(id=f"heads-{name}", w=width, **picks)])
        for name, (title, width) in names.items()
    ]
    missing = dmc.Alert(
        [html.Div(id="heads-message"), dmc.Button("Compute now", id="heads-compute", mt="sm", size="sm")],
        color="blue",
        title="No heads to show yet",
    )
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
            dmc.GridCol(card(graph("heads-training", "mesascope-heads-over-training", 460)), span=12),
        ],
        gutter="md",
    )
    return html.Div(
        [
            dcc.Interval(id="heads-tick", interval=1000, disabled=True),
            dcc.Store(id="heads-shown"),
            dmc.Group(fields, gap="md", align="flex-end", mb="md"),
            html.Div(missing, id="heads-missing", style={"display": "none"}),
            html.Div(
                [dmc.Text(_ABOUT, size="sm", c="dimmed", mb="md", maw=1000), body],
                id="heads-body",
                style={"display": "none"},
            ),
        ]
    )


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
    app.callback(
        Output("heads-message", "children"),
        Output("heads-compute", "loading"),
        Output("heads-compute", "style"),
        Output("heads-missing", "style"),
        Output("heads-body", "style"),
        Output("heads-tick", "disabled"),
        Output("heads-shown", "data"),
        Input("url", "search"),
        Input("heads-tick", "n_intervals"),
        Input("heads-compute", "n_clicks"),
        State("heads-shown", "data"),
    )(partial(settle, store, jobs))
    shown, scheme = Input("heads-shown", "data"), Input("color-scheme", "data")
    for name, draw in FIGURES.items():
        app.callback(Output(f"heads-{name}", "figure"), shown, scheme)(partial(show, store, draw))
    app.callback(Output("heads-training", "style"), shown)(partial(show_height, store))
    app.callback(Output("heads-card", "children"), shown)(partial(show_card, store))
    app.callback(Output("heads-sinks", "children"), shown)(partial(show_sinks, store))


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
    shown = [offered(getattr(after, name), options[name]) for name in CONTROLS]
    return *shown, *[options[name] for name in CONTROLS]


def clicked_head(click: Any) -> str | None:
    """The head whose cell was clicked."""
    try:
        point = click["points"][0]
        return f"L{int(point['y'])}H{int(point['x'])}"
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def clicked_prompt(click: Any) -> int | None:
    """The number of the prompt whose point was clicked, from 1; None for the point of a head."""
    try:
        found = re.match(r"<b>Prompt (\d+)</b>", click["points"][0]["hovertext"])
    except (KeyError, IndexError, TypeError):
        return None
    return int(found[1]) if found else None


def chosen(store: RunStore, before: PageState, used: str, given: Mapping[str, Any]) -> PageState:
    """The state after a control was used."""
    value = given.get(used)
    if value is None or used not in CONTROLS:
        return before
    after = before.with_values({used: value})
    if used == "run" and after.run != before.run:
        after = replace(after, checkpoint=None, head=None, score=None, prompt=None)
    return complete(store, after)


def complete(store: RunStore, state: PageState) -> PageState:
    """The state with a default for what is not chosen or not there.

    The default run is the newest with a head record, its last one; the head whose silencing costs most; its induction
    score; the first prompt.
    """
    run = state.run or _first_run(store)
    state = replace(state, run=run)
    if run is not None and state.checkpoint is None:
        steps = _checkpoints(store, run)
        kept = [step for step in _records(store, run) if step in steps]
        state = replace(state, checkpoint=(kept or steps or [None])[-1])
    record = record_of(store, state)
    if record is None:
        return state
    names = list(scores_of(record))
    score = state.score if state.score in names else ("induction" if "induction" in names else names[0])
    prompt = min(max(state.prompt or 1, 1), record["config"]["n_prompts"])
    return replace(state, score=score, head=head_name(head_of(record, state.head)), prompt=prompt)


def _first_run(store: RunStore) -> str | None:
    names = [row.name for row in store.rows(budget_s=0.0)][:_LOOKED_AT]
    return next((name for name in names if store.has_heads(name)), None) or next(
        (name for name in names if _is_on_tokens(store, name)), names[0] if names else None
    )


def _is_on_tokens(store: RunStore, name: str) -> bool:
    try:
        return store.is_on_tokens(name)
    except InputError:
        return False


def _checkpoints(store: RunStore, run: str) -> list[int]:
    try:
        return store.checkpoints(run)
    except InputError:
        return []


def _records(store: RunStore, run: str) -> Mapping[int, Mapping[str, Any]]:
    try:
        return store.heads(run).records
    except InputError:
        return {}


def record_of(store: RunStore, state: PageState) -> Mapping[str, Any] | None:
    """The head record of the chosen run and checkpoint, if there is one."""
    if state.run is None or state.checkpoint is None:
        return None
    return _records(store, state.run).get(state.checkpoint)


def options_of(store: RunStore, state: PageState) -> dict[str, list[dict[str, str]]]:
    """What every control offers."""
    record = record_of(store, state)
    steps = _checkpoints(store, state.run) if state.run else []
    kept = _records(store, state.run) if state.run else {}
    heads = record["heads"] if record else []
    n_prompts = record["config"]["n_prompts"] if record else 0
    return {
        "run": [{"value": name, "label": name} for name in store.names()],
        "checkpoint": [
            {"value": str(step), "label": f"step {step}" + (" · computed" if step in kept else "")}
            for step in steps[::-1]
        ],
        "score": [{"value": name, "label": each.label} for name, each in (scores_of(record) if record else {}).items()],
        "head": [{"value": head_name(head), "label": _head_label(head)} for head in heads],
        "prompt": [{"value": str(i), "label": str(i)} for i in range(1, n_prompts + 1)],
    }


def _head_label(head: Mapping[str, Any]) -> str:
    return f"{head_name(head)} · {tell_labels(head)}" if head["labels"] else head_name(head)


# What is missing


def settle(
    store: RunStore, jobs: Jobs, search: str | None, _ticks: Any, clicks: Any, before: str | None
) -> tuple[Any, ...]:
    """Whether there is a record to show; else why not, and the way to one."""
    state = complete(store, PageState.of(search))
    if record_of(store, state) is not None:
        shown = no_update if state.search == before else state.search
        return None, False, {}, {"display": "none"}, {"display": "block"}, True, shown
    if clicks and ctx.triggered_id == "heads-compute" and state.run and state.checkpoint is not None:
        jobs.start(store.folder(state.run), state.checkpoint)
    job = jobs.find(state.run, state.checkpoint) if state.run and state.checkpoint is not None else None
    running = job is not None and job.running
    sentence, can_compute = tell_missing(store, state)
    button = {} if can_compute else {"display": "none"}
    told = [html.Div(sentence), *tell_job(job)]
    return told, running, button, {"display": "block"}, {"display": "none"}, not running, None


def tell_missing(store: RunStore, state: PageState) -> tuple[Any, bool]:
    """A sentence, and whether the page itself can mend what is missing."""
    if state.run is None:
        typed = command("mesascope train repeated_tokens --preset demo --out induction")
        return html.Span([f"There is no run in {store.root} yet. Type ", typed, "."]), False
    try:
        steps, on_tokens = store.checkpoints(state.run), store.is_on_tokens(state.run)
        faults = store.heads(state.run).faults
    except InputError as error:
        return str(error), False
    if not on_tokens:
        return _tell_vectors(store, state.run), False
    if not steps:
        return f"Run {state.run} has no checkpoint yet; there is nothing to measure.", False
    if state.checkpoint not in steps:
        return f"Run {state.run} has no checkpoint at step {state.checkpoint}. Choose one above.", False
    sentence = f"The heads of {state.run} at step {state.checkpoint} have not been measured yet. Type "
    typed = command(f"mesascope heads {state.run} --step {state.checkpoint}")
    told = [html.Div(fault, className="failure") for fault in faults]
    return html.Div([sentence, typed, " or press the button.", *told]), True


def _tell_vectors(store: RunStore, run: str) -> html.Div:
    """That a run on vectors has no such scores, and which runs have."""
    names = [row.name for row in store.rows(budget_s=0.0)][:_LOOKED_AT]
    on_tokens = [name for name in names if _is_on_tokens(store, name)][:_N_NAMED]
    first = f"The prompts of {run} are vectors. Scores of heads are about tokens: what came before, what comes again. "
    if on_tokens:
        return html.Div([first, f"Runs on tokens here: {', '.join(on_tokens)}. Choose one above."])
    typed = command("mesascope train repeated_tokens --preset demo --out induction")
    return html.Div([first, "No run here is on tokens yet. Type ", typed, "."])


# What is shown


def _draw_map(_: RunStore, state: PageState, record: Mapping[str, Any], scheme: Any) -> go.Figure:
    return heads_figure(record, str(state.score), state.head, scheme)


def _draw_patterns(store: RunStore, state: PageState, record: Mapping[str, Any], scheme: Any) -> go.Figure:
    assert state.run is not None
    assert state.checkpoint is not None
    prompts = store.patterns(state.run, state.checkpoint, (state.prompt or 1) - 1)
    head = head_of(record, state.head)
    return patterns_figure(
        prompts, head["layer"], head["head"], sink_positions(record), list(record["domains"]), scheme
    )


def _draw_contrast(_: RunStore, state: PageState, record: Mapping[str, Any], scheme: Any) -> go.Figure:
    return contrast_figure(record, head_of(record, state.head), scheme)


def _draw_extreme(_: RunStore, _state: PageState, record: Mapping[str, Any], scheme: Any) -> go.Figure:
    return extreme_figure(record, scheme)


def _draw_training(store: RunStore, state: PageState, _: Mapping[str, Any], scheme: Any) -> go.Figure:
    return heads_over_training(_records(store, str(state.run)), str(state.score), state.head, scheme)


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


def show_height(store: RunStore, search: str | None) -> dict[str, str]:
    """The height of the figure over training: a line where there is but one checkpoint to draw."""
    state, _ = _shown(store, search)
    several = state.run is not None and len(_records(store, state.run)) > 1
    return {"height": "460px" if several else "70px"}


def show_card(store: RunStore, search: str | None) -> Any:
    """The chosen head in numbers."""
    state, record = _shown(store, search)
    if record is None:
        return None
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


def show_sinks(store: RunStore, search: str | None) -> Any:
    """The positions that heads rest on, in numbers."""
    _, record = _shown(store, search)
    return text_table(sink_table(record), min_width=600) if record else None


HEADS_VIEW = View(name="heads", label="Heads", path=PATH, layout=layout, register=register)
