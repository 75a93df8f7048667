"""The page of probes: what can be decoded where, and what that is worth."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import dash_mantine_components as dmc
import plotly.graph_objects as go
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update, set_props

from dashboards.figures.probe_map import map_figure, map_height, pooling_figure, poolings_of
from dashboards.figures.probe_scores import by_examples_figure, scores_figure
from dashboards.jobs import Jobs, probe_command
from dashboards.probe_studies import Study, method_label, target_label, tell_place, words_of
from dashboards.probe_tables import BITS_NOTE, PROBE_NOTE, bits_table, has_bits, score_table
from dashboards.state import PageState
from dashboards.store import RunStore
from dashboards.theme import as_scheme, empty_figure, graph
from dashboards.views.missing import tell_job
from dashboards.views.one_run import checkpoint_options, checkpoints, options, selects, with_run
from dashboards.views.parts import card, command, offered, text_table
from dashboards.views.record import View
from dashboards.views.steering_part import part, register_steering, steering_of, steerings_at
from probes.methods import PROBES
from workbench.errors import InputError

PATH = "/probes"
CONTROLS = ("run", "checkpoint", "study", "method", "component", "place", "target", "steered")
_ASKED = ("method", "component", "place", "target")
"""Controls that choose rows of a study, each among what the ones before leave."""
OFFERS = ("missing", "examples", "pooled")
_POOLED = "pooled_linear"
_NAMED = 12
"""Checkpoints up to which all that were probed are named on the slider."""
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
        dmc.GridCol(card(_offer("examples"), graph("probes-by-n", "mesascope-probes-by-examples", 520)), span=half),
        dmc.GridCol(card(_offer("pooled"), graph("probes-pooling", "mesascope-probe-pooling", 400)), span=12),
        dmc.GridCol(card(html.Div(id="probes-table")), span=12),
    ]
    return html.Div(
        [
            dcc.Interval(id="probes-tick", interval=1000, disabled=True),
            dcc.Store(id="probes-shown"),
            selects("probes", names),
            html.Div(_slider(), id="probes-slide", style={"display": "none"}),
            _offer("missing"),
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


def _offer(name: str) -> html.Div:
    """Where a page says what is missing, with a button that computes it."""
    button = dmc.Button("Compute now", id=f"probes-{name}-compute", mt="sm", size="sm")
    told = dmc.Alert([html.Div(id=f"probes-{name}-message"), button], color="blue", title=_TITLES[name])
    return html.Div(told, id=f"probes-{name}", style={"display": "none"})


_TITLES = {
    "missing": "Not probed yet",
    "examples": "Not probed at several numbers of examples",
    "pooled": "No probe that pools over tokens",
}


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
        Input("url", "search"),
        Input("probes-tick", "n_intervals"),
        *[Input(f"probes-{name}-compute", "n_clicks") for name in OFFERS],
        State("probes-shown", "data"),
    )(partial(settle, store, jobs))
    shown, scheme = Input("probes-shown", "data"), Input("color-scheme", "data")
    for name, draw in FIGURES.items():
        app.callback(Output(f"probes-{name}", "figure"), shown, scheme)(partial(show, store, draw))
    app.callback(Output("probes-map", "style"), shown)(partial(show_height, store))
    app.callback(Output("probes-by-n", "style"), shown)(partial(show_by_n, store))
    app.callback(Output("probes-pooling", "style"), shown)(partial(show_pooling, store))
    app.callback(Output("probes-table", "children"), shown)(partial(show_table, store))
    register_steering(app, store, complete)


# What is chosen


def choose(store: RunStore, search: str | None, *values: Any) -> tuple[Any, ...]:
    """Address and controls, each following the other."""
    used = str(ctx.triggered_id or "url").removeprefix("probes-")
    before = complete(store, PageState.of(search))
    given: dict[str, Any] = dict(zip(CONTROLS, values))
    if used == "slider":
        used, given = "checkpoint", {"checkpoint": slid(store, before, values[len(CONTROLS)])}
    after = chosen(store, before, used, given)
    if after != before:
        set_props("url", {"search": after.search})
    offers = options_of(store, after)
    shown = [offered(getattr(after, name), offers[name]) for name in CONTROLS]
    return *shown, *[offers[name] for name in CONTROLS], *slider_of(store, after)


def slid(store: RunStore, state: PageState, index: Any) -> int | None:
    """The checkpoint at a place of the slider."""
    steps = checkpoints(store, state.run)
    return steps[index] if isinstance(index, int) and 0 <= index < len(steps) else None


def slider_of(store: RunStore, state: PageState) -> tuple[int, int, list[dict[str, Any]], dict[str, str]]:
    """Place, last place, marks and style of the slider: the steps that were probed are named, as far as they fit."""
    steps = checkpoints(store, state.run)
    kept = {study.checkpoint for study in _studies(store, state.run)}
    named = [step for step in steps if step in kept or step in (steps[0], steps[-1])]
    named = named[:: 1 + len(named) // _NAMED]
    marks = [{"value": i, "label": str(step)} if step in named else {"value": i} for i, step in enumerate(steps)]
    place = steps.index(state.checkpoint) if state.checkpoint in steps else 0
    return place, max(len(steps) - 1, 1), marks, {"display": "block" if len(steps) > 1 else "none"}


def chosen(store: RunStore, before: PageState, used: str, given: Mapping[str, Any]) -> PageState:
    """The state after a control was used."""
    value = given.get(used)
    if value is None:
        return before
    after = before.with_values({used: value})
    if used == "target":
        after = replace(after, steered=None)  # what is steered follows what is looked at
    if used == "run" and after.run != before.run:
        after = replace(after, checkpoint=None, study=None, steered=None)
    return complete(store, after)


def complete(store: RunStore, state: PageState) -> PageState:
    """The state with a default for what is not chosen or not there: the newest run with probes, its last study."""
    state = with_run(store, state, store.has_probes, lambda run: {s.checkpoint for s in _studies(store, run)})
    study = study_of(store, state)
    if study is not None:
        state = _with_rows(study, replace(state, study=study.key))
    steering = steering_of(store, state)
    return state if steering is None else replace(state, steered=steering.key)


def _with_rows(study: Study, state: PageState) -> PageState:
    """The state with what chooses rows of a study, each among what the ones before leave."""
    wanted: dict[str, str] = {}
    for name in _ASKED:
        there = study.values(name, **wanted)
        default = there[-1] if name == "place" else there[0]
        asked = getattr(state, name)
        wanted[name] = asked if asked in there else default
    return state.with_values(wanted)


def _studies(store: RunStore, run: str | None) -> tuple[Study, ...]:
    try:
        return store.probes(run)[0] if run else ()
    except InputError:
        return ()


def study_of(store: RunStore, state: PageState) -> Study | None:
    """The chosen study at the chosen checkpoint, else the last one there, if there is one."""
    there = [s for s in _studies(store, state.run) if s.checkpoint == state.checkpoint and s.rows]
    return next((s for s in there if s.key == state.study), there[-1] if there else None)


def options_of(store: RunStore, state: PageState) -> dict[str, list[dict[str, str]]]:
    """What every control offers."""
    known = _studies(store, state.run)
    kept = {study.checkpoint for study in known}
    here = [(s.key, s.label) for s in known[::-1] if s.checkpoint == state.checkpoint]
    return {
        "run": options((name, name) for name in store.names()),
        "checkpoint": checkpoint_options(checkpoints(store, state.run), kept),
        "study": options(here),
        "steered": options((each.key, each.label) for each in steerings_at(store, state)[::-1]),
        **{name: options(pairs) for name, pairs in _asked_options(store, state).items()},
    }


def _asked_options(store: RunStore, state: PageState) -> dict[str, list[tuple[str, str]]]:
    study = study_of(store, state)
    if study is None:
        return {name: [] for name in _ASKED}
    told, wanted = {}, {}
    labels = {"method": method_label, "target": target_label, "component": str}
    for name in _ASKED:
        values = study.values(name, **wanted)
        if name == "place":
            pairs = [(value, tell_place(study.picked(place=value, **wanted)[0])) for value in values]
        else:
            pairs = [(value, labels[name](value)) for value in values]
        told[name], wanted[name] = pairs, getattr(state, name)
    return told


# What is missing


def settle(store: RunStore, jobs: Jobs, search: str | None, _ticks: Any, *rest: Any) -> tuple[Any, ...]:
    """What there is to show, what is missing of it, and the way there."""
    *clicks, before = rest
    state = complete(store, PageState.of(search))
    study = study_of(store, state)
    asked = {name: words_for(store, state, name) for name in OFFERS}
    for name, n_clicks in zip(OFFERS, clicks):
        words = asked[name]
        if n_clicks and ctx.triggered_id == f"probes-{name}-compute" and words is not None and state.run:
            jobs.start(store.folder(state.run), state.checkpoint, words)
    told = {name: _tell_offer(store, jobs, state, name, asked[name]) for name in OFFERS}
    running = {name: _is_running(jobs, state, asked[name]) for name in OFFERS}
    shown = f"{state.search}&rows={len(study.rows)}" if study else None
    return (
        *[told[name] for name in OFFERS],
        *[running[name] for name in OFFERS],
        *[{} if asked[name] is not None else {"display": "none"} for name in OFFERS],
        *[{"display": "block" if told[name] else "none"} for name in OFFERS],
        {"display": "block" if study else "none"},
        not any(running.values()),
        no_update if shown and shown == before else shown,
    )


def words_for(store: RunStore, state: PageState, name: str) -> list[str] | None:
    """Words of the command that computes what an offer is about; None where nothing is missing or can be done.

    Args:
        store: The runs.
        state: All that is chosen.
        name: One of `OFFERS`.
    """
    study = study_of(store, state)
    if study is None:
        known = _studies(store, state.run)
        there = state.run is not None and state.checkpoint in checkpoints(store, state.run)
        if name != "missing" or not there:
            return None
        return words_of(known[-1].config, known[-1].control) if known else []
    found = replace(study.config, methods=(str(state.method),), components=(str(state.component),))
    if name == "examples" and len(study.values("place", **_wanted(state, "method", "component", "target"))) < 2:
        if study.config.reading in ("last", "shared"):
            return None  # one token only, or one probe for all
        wanted = replace(found, targets=(str(state.target),), n_contexts=None, positions=None)
        return words_of(wanted, study.control)
    says_numbers = state.method in PROBES and PROBES[str(state.method)].says == "numbers"
    if name == "pooled" and says_numbers and not any(PROBES[m].pools for m in study.values("method") if m in PROBES):
        return words_of(replace(found, methods=(_POOLED,), targets=(str(state.target),)), study.control)
    return None


def _wanted(state: PageState, *names: str) -> dict[str, Any]:
    return {name: getattr(state, name) for name in names}


def _is_running(jobs: Jobs, state: PageState, words: Sequence[str] | None) -> bool:
    job = None if words is None or not state.run else jobs.find(state.run, state.checkpoint, words)
    return job is not None and job.running


def _tell_offer(
    store: RunStore, jobs: Jobs, state: PageState, name: str, words: Sequence[str] | None
) -> list[Any] | None:
    """Why there is nothing to see, and what to type; None where nothing is missing."""
    if words is None:
        return _tell_nothing(store, state) if name == "missing" else None
    typed = shlex.join(["mesascope", "probe", str(state.run), "--step", str(state.checkpoint), *words])
    sentence = {
        "missing": f"{state.run} at step {state.checkpoint} has not been probed yet. Type ",
        "examples": f"{state.target} was probed at one place only. Type ",
        "pooled": f"Probes of this study read one token; {state.target} may be spread over several. Type ",
    }[name]
    faults = store.probes(str(state.run))[1] if name == "missing" else ()
    job = jobs.find(str(state.run), state.checkpoint, words)
    told = html.Div([sentence, command(typed), " or press the button."])
    return [told, *[html.Div(fault, className="failure") for fault in faults], *tell_job(job)]


def _tell_nothing(store: RunStore, state: PageState) -> list[Any] | None:
    """Why nothing can be computed; damaged records of a run that has others."""
    if state.run is None:
        return [html.Span([f"There is no run in {store.root} yet. Type ", command("mesascope demo"), "."])]
    try:
        steps, (_, faults) = store.checkpoints(state.run), store.probes(state.run)
    except InputError as error:
        return [str(error)]
    if study_of(store, state) is not None:
        return [html.Div(fault, className="failure") for fault in faults] or None
    if not steps:
        return [f"Run {state.run} has no checkpoint yet; there is nothing to probe."]
    return [f"Run {state.run} has no checkpoint at step {state.checkpoint}. Choose one above."]


# What is shown


def _draw_map(study: Study, state: PageState, scheme: str | None) -> go.Figure:
    return map_figure(study, **_wanted(state, "method", "component", "place"), scheme=as_scheme(scheme))


def _draw_scores(study: Study, state: PageState, scheme: str | None) -> go.Figure:
    return scores_figure(study, **_wanted(state, *_ASKED), scheme=as_scheme(scheme))


def _draw_by_n(study: Study, state: PageState, scheme: str | None) -> go.Figure:
    return by_examples_figure(study, **_wanted(state, "method", "component", "target"), scheme=as_scheme(scheme))


def _draw_pooling(study: Study, state: PageState, scheme: str | None) -> go.Figure:
    return pooling_figure(study, **_wanted(state, *_ASKED), scheme=as_scheme(scheme))


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
    height = map_height(study, **_wanted(state, "method", "component", "place")) if study else 520
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
    rows = study.picked(**_wanted(state, *_ASKED))
    return _room(150 + 28 * max(len(rows), 6) if poolings_of(study, rows) else 70, hidden=False)


def _room(height: int, *, hidden: bool) -> dict[str, str]:
    return {"display": "none"} if hidden else {"height": f"{height}px"}


def show_table(store: RunStore, search: str | None) -> Any:
    """The chosen target's scores in numbers."""
    state, study = _shown(store, search)
    if study is None:
        return None
    rows = study.picked(**_wanted(state, *_ASKED))
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
