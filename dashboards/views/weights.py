"""The page of weights: products in data coordinates and what theory says of them, at the end and over training."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import dash_mantine_components as dmc
import plotly.graph_objects as go
from dash import Dash, Input, Output, ctx, html, set_props

from dashboards.figures.copying import copying_figure
from dashboards.figures.implied import implied_figure, spectra_figure
from dashboards.figures.shifts import shifts_figure, shifts_height
from dashboards.figures.weights import (
    curves_figure,
    distance_figure,
    gamma_figure,
    patterns_figure,
    patterns_height,
    products_figure,
)
from dashboards.jobs import Jobs, theory_command
from dashboards.state import PageState
from dashboards.store import RunStore
from dashboards.theme import Scheme, as_scheme, empty_figure, graph
from dashboards.theory_tables import (
    BETWEEN_NOTE,
    COPYING_NOTE,
    THEORY_NOTE,
    between_table,
    copying_table,
    fault_table,
    theory_table,
)
from dashboards.views import missing
from dashboards.views.one_run import checkpoint_options, checkpoints, options, selects, with_run
from dashboards.views.parts import card, offered, text_table
from dashboards.views.record import View
from dashboards.views.replaced import register_replaced
from workbench.errors import InputError

PATH = "/weights"
Height = Callable[[Mapping[str, Any] | None], int]
Draw = Callable[[Mapping[str, Any], Scheme], go.Figure]
CONTROLS = ("run", "checkpoint", "layer")
_ABOUT = (
    "For small models theory says what training should find. Here are the weights in the coordinates of the data, so "
    "that nothing depends on how a width is used: KQ, the score that a query gives a key, and what the output reads of "
    "a key; beside them the closed forms that apply, and the assumption that fails where one does not."
)


def layout() -> Any:
    """The page without data."""
    controls = {"run": ("Run", 260), "checkpoint": ("Checkpoint", 215), "layer": ("Layer", 100)}
    figures = [
        *(
            html.Div(card(graph(f"weights-{name}", file, 420)), id=f"weights-{name}-card")
            for name, file in FILES.items()
        ),
        card(html.Div(id="weights-table")),
        html.Div(id="weights-absent"),
    ]
    body = [dmc.Text(_ABOUT, size="sm", c="dimmed", mb="md", maw=1000), dmc.Stack(figures, gap="md")]
    return missing.framed("weights", [selects("weights", controls)], body)


def register(app: Dash, store: RunStore, _jobs: Jobs) -> None:
    """Add the page's callbacks; its computations are commands of their own."""
    jobs = Jobs(theory_command)
    ids = [f"weights-{name}" for name in CONTROLS]
    app.callback(
        *[Output(one, "value") for one in ids],
        *[Output(one, "data") for one in ids],
        Input("url", "search"),
        *[Input(one, "value") for one in ids],
        Input("weights-shown", "data"),
    )(partial(choose, store))
    register_replaced(app, "weights", CONTROLS, partial(complete, store))
    missing.register_settling(app, "weights", "Nothing computed yet", partial(settle, store, jobs))
    shown, scheme = Input("weights-shown", "data"), Input("color-scheme", "data")
    for name, draw in FIGURES.items():
        app.callback(Output(f"weights-{name}", "figure"), shown, scheme)(partial(show, store, draw))
    app.callback(Output("weights-products", "figure"), shown, scheme)(partial(show_products, store))
    for name, height in HEIGHTS.items():
        app.callback(Output(f"weights-{name}", "style"), Output(f"weights-{name}-card", "style"), shown)(
            partial(show_height, store, height)
        )
    app.callback(Output("weights-absent", "children"), shown)(partial(show_absent, store))
    app.callback(Output("weights-table", "children"), shown)(partial(show_table, store))


FIGURES = {
    "gamma": gamma_figure,
    "spectra": spectra_figure,
    "implied": implied_figure,
    "distance": distance_figure,
    "copying": copying_figure,
    "curves": curves_figure,
    "shifts": shifts_figure,
    "patterns": patterns_figure,
}


FILES = {
    "gamma": "mesascope-gamma",
    "products": "mesascope-products",
    "spectra": "mesascope-spectra",
    "implied": "mesascope-implied-steps",
    "distance": "mesascope-distance-to-theory",
    "copying": "mesascope-copying",
    "curves": "mesascope-theory-curves",
    "shifts": "mesascope-theory-shifts",
    "patterns": "mesascope-patterns",
}
"""Name under which each figure is saved, in the order of the page."""
TITLES = {
    "gamma": "Gamma by theory and by behaviour",
    "products": "KQ and OV products",
    "spectra": "Spectra of KQ",
    "implied": "Steps that layers take",
    "distance": "Distance to theory over training",
    "copying": "Attention between inputs and labels over training",
    "curves": "Risk curves",
    "shifts": "Other prompts than those of training",
    "patterns": "Patterns of weights",
}


def _if_drawn(draw: Draw, height: int) -> Height:
    """The height of a figure; 0 where there is nothing to draw."""
    return lambda record: height if record and draw(record, "light").data else 0


def _of_weights(height: Height) -> Height:
    """The height of a figure of weights; 0 without."""
    return lambda record: height(record) if record and record["weights"] else 0


HEIGHTS = {
    "patterns": _of_weights(patterns_height),
    "products": _of_weights(lambda _: 520),
    "shifts": lambda record: shifts_height(record) if record and shifts_figure(record).data else 0,
    "gamma": _if_drawn(gamma_figure, 400),
    "spectra": _if_drawn(spectra_figure, 420),
    "implied": _if_drawn(implied_figure, 400),
    "distance": _if_drawn(distance_figure, 420),
    "copying": _if_drawn(copying_figure, 560),
    "curves": _if_drawn(curves_figure, 440),
}


def absent(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Title and reason of every figure that there is nothing to draw of."""
    missing_ones = [name for name in FILES if not HEIGHTS[name](record)]
    draw = {**FIGURES, "products": partial(products_figure, layer=1)}
    return [(TITLES[name], _reason(draw[name](record))) for name in missing_ones]


def _reason(figure: go.Figure) -> str:
    """What an empty figure says instead."""
    return " ".join(str(note.text) for note in figure.layout.annotations).replace("<br>", " ")


def choose(store: RunStore, search: str | None, *values: Any) -> tuple[Any, ...]:
    """Address and controls, each following the other."""
    used = str(ctx.triggered_id or "url").removeprefix("weights-")
    before = complete(store, PageState.of(search))
    after = chosen(store, before, used, dict(zip(CONTROLS, values)))
    if after != before:
        set_props("url", {"search": after.search})
    options = options_of(store, after)
    shown = [offered(getattr(after, name), options[name]) for name in CONTROLS]
    return *shown, *[options[name] for name in CONTROLS]


def chosen(store: RunStore, before: PageState, used: str, given: Mapping[str, Any]) -> PageState:
    """The state after a control was used."""
    value = given.get(used)
    if value is None:
        return before
    after = before.with_values({used: value})
    if used == "run" and after.run != before.run:
        after = replace(after, checkpoint=None, layer=None)
    return complete(store, after)


def complete(store: RunStore, state: PageState) -> PageState:
    """The state with a default for what is not chosen: the newest run with theory, its last record, its first layer."""
    state = with_run(store, state, store.has_theory, lambda run: _records(store, run))
    n_layers = _n_layers(record_of(store, state))
    layer = state.layer if state.layer is not None and 1 <= state.layer <= n_layers else min(1, n_layers)
    return replace(state, layer=layer or None)


def _records(store: RunStore, run: str) -> Mapping[int, Mapping[str, Any]]:
    try:
        return store.theories(run).records
    except InputError:
        return {}


def record_of(store: RunStore, state: PageState) -> Mapping[str, Any] | None:
    """The theory record of the chosen run and checkpoint, if there is one."""
    if state.run is None or state.checkpoint is None:
        return None
    return _records(store, state.run).get(state.checkpoint)


def _n_layers(record: Mapping[str, Any] | None) -> int:
    return len(record["weights"]["key_query"]) if record and record["weights"] else 0


def options_of(store: RunStore, state: PageState) -> dict[str, list[dict[str, str]]]:
    """What every control offers."""
    kept = _records(store, state.run) if state.run else {}
    layers = range(1, 1 + _n_layers(record_of(store, state)))
    return {
        "run": options((name, name) for name in store.names()),
        "checkpoint": checkpoint_options(checkpoints(store, state.run), kept),
        "layer": options((str(layer), str(layer)) for layer in layers),
    }


def settle(
    store: RunStore, jobs: Jobs, search: str | None, _ticks: Any, clicks: Any, before: str | None
) -> tuple[Any, ...]:
    """Whether there is a record to show; else why not, and the way to one."""
    state = complete(store, PageState.of(search))
    if record_of(store, state) is not None:
        return missing.show_body(state.search, before)
    if clicks and ctx.triggered_id == "weights-compute" and state.run and state.checkpoint is not None:
        jobs.start(store.folder(state.run), state.checkpoint)
    job = jobs.find(state.run, state.checkpoint) if state.run and state.checkpoint is not None else None
    sentence, can_compute = tell_missing(store, state)
    return missing.show_missing(sentence, job, can_compute=can_compute)


def tell_missing(store: RunStore, state: PageState) -> tuple[Any, bool]:
    """A sentence, and whether the page itself can mend what is missing."""
    if state.run is None:
        return missing.tell_no_run(store), False
    try:
        steps = store.checkpoints(state.run)
        faults = store.theories(state.run).faults
    except InputError as error:
        return missing.tell_fault(store, state.run, error), False
    absent = missing.tell_no_checkpoint(state, steps)
    if absent is not None:
        return absent, False
    sentence = f"{state.run} at step {state.checkpoint} has not been held against theory yet."
    return missing.tell_way(sentence, f"mesascope theory {state.run} --step {state.checkpoint}", faults), True


def _shown(store: RunStore, search: str | None) -> tuple[PageState, Mapping[str, Any] | None]:
    state = PageState.of(search)
    return state, record_of(store, state) if search else None


def show(store: RunStore, draw: Any, search: str | None, scheme: str | None) -> go.Figure:
    """A figure of the whole record."""
    _, record = _shown(store, search)
    return draw(record, as_scheme(scheme)) if record else empty_figure(scheme=as_scheme(scheme))


def show_products(store: RunStore, search: str | None, scheme: str | None) -> go.Figure:
    """The heads of the chosen layer."""
    state, record = _shown(store, search)
    if record is None:
        return empty_figure(scheme=as_scheme(scheme))
    return products_figure(record, state.layer or 1, as_scheme(scheme))


def show_height(store: RunStore, height: Height, search: str | None) -> tuple[dict[str, str], dict[str, str]]:
    """The height that a figure needs; its card is hidden where there is nothing to draw."""
    found = height(_shown(store, search)[1])
    return {"height": f"{found}px"}, {"display": "block" if found else "none"}


def show_absent(store: RunStore, search: str | None) -> Any:
    """One folded list of the figures that this run has not, and why."""
    _, record = _shown(store, search)
    told = absent(record) if record else []
    if not told:
        return None
    rows = [html.Li([html.B(title), f": {reason}"]) for title, reason in told]
    summary = f"{len(told)} of {len(FILES)} figures have nothing to show for this run. Why?"
    return card(html.Details([html.Summary(summary), html.Ul(rows)]))


def show_table(store: RunStore, search: str | None) -> Any:
    """Theory beside measurement in numbers, and the closed forms that do not apply."""
    _, record = _shown(store, search)
    if record is None:
        return None
    told = []
    if theory_table(record).rows:
        told += [
            dmc.Title("Theory and the model in numbers", order=4, mb="xs"),
            text_table(theory_table(record), min_width=1500),
            dmc.Text(THEORY_NOTE, size="sm", c="dimmed", mt="xs", mb="md"),
        ]
    if between_table(record).rows:
        told += [
            dmc.Title("Between the trained weights and theory's", order=4, mb="xs"),
            text_table(between_table(record), min_width=900),
            dmc.Text(BETWEEN_NOTE, size="sm", c="dimmed", mt="xs", mb="md"),
        ]
    if copying_table(record).rows:
        told += [
            dmc.Title("Attention between inputs and labels", order=4, mb="xs"),
            text_table(copying_table(record), min_width=700),
            dmc.Text(COPYING_NOTE, size="sm", c="dimmed", mt="xs", mb="md"),
        ]
    if fault_table(record).rows:
        told += [
            dmc.Title("Closed forms that do not describe this run", order=4, mb="xs"),
            text_table(fault_table(record), min_width=500),
        ]
    return told


WEIGHTS_VIEW = View(name="weights", label="Weights", path=PATH, layout=layout, register=register)
