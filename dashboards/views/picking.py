"""Controls of pages on agreement records, which follow the address and are followed by it, and what is missing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, ctx, html, set_props

from dashboards.jobs import Jobs
from dashboards.state import FINAL_NORM, PageState
from dashboards.store import RunStore
from dashboards.theme import label
from dashboards.views import missing
from dashboards.views.agreement_choice import (
    beside_of,
    comparable,
    complete,
    options_of,
    part_of,
    record_of,
    value_of,
)
from dashboards.views.parts import offered
from dashboards.views.replaced import register_replaced
from workbench.agreement.config import AgreementConfig
from workbench.errors import InputError


@dataclass(frozen=True)
class Picking:
    """How a page chooses what it shows.

    Attributes:
        page: Name of the page, the prefix of its ids.
        controls: Fields of `PageState` that it has a control for.
        clicked: Id of a figure in which a click on a column chooses the layer, or None.
        needs: Key that a record's reading must have to be shown here, or None.
        beside: Analyses whose records must be kept beside it.
        missing: Title of the message that says what is missing.
        families: Names of the algorithms to choose from; None for those of the record and all others that can be
            compared.
    """

    page: str
    controls: tuple[str, ...] = ("run", "checkpoint", "reading")
    clicked: str | None = None
    needs: str | None = None
    beside: tuple[str, ...] = ()
    missing: str = "Not computed yet"
    families: Callable[[RunStore, PageState], Sequence[str]] | None = None

    def id(self, thing: str) -> str:
        """The id of a component of the page."""
        return f"{self.page}-{thing}"


# Layout


def framed(picking: Picking, body: Sequence[Any]) -> html.Div:
    """A page: its controls, what it says where nothing is computed, and its body."""
    return missing.framed(picking.page, [_controls(picking)], body)


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
        "measure": ("Measure", partial(dmc.Select, w=400, **picks)),
        "region": ("Positions t, examples seen", partial(dmc.SegmentedControl, data=[])),
        "scale": ("Axes", partial(dmc.SegmentedControl, data=[])),
    }
    fields = [
        html.Div([dmc.Text(made[name][0], size="sm", fw=500, mb=2), made[name][1](id=picking.id(name))])
        for name in picking.controls
    ]
    return dmc.Group(fields, gap="md", align="flex-end", mb="md")


# Callbacks


def register_picking(
    app: Dash, store: RunStore, jobs: Jobs, picking: Picking, settled: Callable[..., tuple[Any, ...]] | None = None
) -> None:
    """Add the callbacks of the controls and of the message.

    Args:
        app: The app.
        store: The runs.
        jobs: Where computations are started.
        picking: How the page chooses.
        settled: Says whether there is something to show, as `settle`, which it is if None.
    """
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
    register_replaced(app, picking.page, picking.controls, partial(complete, store), value_of)
    missing.register_settling(app, picking.page, picking.missing, partial(settled or settle, store, jobs, picking))


def choose(store: RunStore, picking: Picking, search: str | None, *values: Any) -> tuple[Any, ...]:
    """Address and controls, each following the other; a click in the figure chooses a layer."""
    given = dict(zip(picking.controls, values))
    given["clicked"] = clicked_layer(values[len(picking.controls)]) if picking.clicked else None
    state, changed = chosen(store, picking, search, str(ctx.triggered_id or "url"), given)
    if changed:
        # Not an output: on other pages the address is there and these controls are not, which Dash calls an error.
        set_props("url", {"search": state.search})
    options = options_of(store, state)
    if picking.families is not None:
        options["family"] = [{"value": name, "label": label(name)} for name in picking.families(store, state)]
    shown = [offered(value_of(state, name), options[name]) for name in picking.controls]
    return *shown, *[options[name] for name in picking.controls]


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
    asked = _asked(picking, state, record)
    if record is not None and _has_all(store, picking, state, record):
        return missing.show_body(state.search, before)
    if clicks and ctx.triggered_id == picking.id("compute") and state.run and state.checkpoint is not None:
        jobs.start(store.folder(state.run), state.checkpoint, asked)
    known = state.run and state.checkpoint is not None
    job = jobs.find(str(state.run), state.checkpoint, asked) if known else None
    sentence, can_compute = _tell_missing(store, picking, state, asked)
    return missing.show_missing(sentence, job, can_compute=can_compute)


def _has_all(store: RunStore, picking: Picking, state: PageState, record: Mapping[str, Any]) -> bool:
    part = part_of(record, state.reading)
    return (
        (picking.needs is None or picking.needs in part)
        and ("family" not in picking.controls or state.family in part["layers"][0]["families"])
        and all(beside_of(store, state, analysis) for analysis in picking.beside)
    )


def _asked(picking: Picking, state: PageState, record: Mapping[str, Any] | None) -> list[str]:
    """Words of the command that computes what the page shows, beside run and step."""
    words = [f"--{analysis}" for analysis in picking.beside]
    if words and state.reading == FINAL_NORM:
        words.append("--final-norm")
    found = list(record["layers"][0]["families"]) if record else AgreementConfig().families
    if "family" in picking.controls:
        found = dict.fromkeys([*found, state.family])
    compared = [name for name in found if name in comparable()]  # nothing else from an address becomes a word
    if tuple(compared) != AgreementConfig().families:
        words += ["--settings.families", *compared]
    return words


def _tell_missing(store: RunStore, picking: Picking, state: PageState, asked: Sequence[str]) -> tuple[Any, bool]:
    """A sentence, and whether the page itself can mend what is missing."""
    if state.run is None:
        return missing.tell_no_run(store), False
    try:
        steps = store.checkpoints(state.run)
        faults = store.agreements(state.run).faults
    except InputError as error:
        return missing.tell_fault(store, state.run, error), False
    absent = missing.tell_no_checkpoint(state, steps)
    if absent is not None:
        return absent, False
    typed = " ".join(["mesascope agree", state.run, "--step", str(state.checkpoint), *asked])
    what = _tell_what(picking, state, record_of(store, state))
    sentence = f"The layers of {state.run} at step {state.checkpoint} {what}."
    return missing.tell_way(sentence, typed, faults), True


def _tell_what(picking: Picking, state: PageState, record: Mapping[str, Any] | None) -> str:
    """What has not been done with the layers."""
    if record is None:
        return "have not been compared yet"
    if picking.needs is not None and picking.needs not in part_of(record, state.reading):
        return "were compared by an older version, without what this page shows"
    if picking.beside:
        return "have not been measured in all ways yet"
    return f"have not been compared with {label(str(state.family))} yet"
