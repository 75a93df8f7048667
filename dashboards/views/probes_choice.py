"""What is chosen on the page of probes: address, controls and slider, each following the others."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dash import ctx, set_props

from dashboards.probe_studies import Study, method_label, target_label, tell_place
from dashboards.state import PageState
from dashboards.store import RunStore
from dashboards.views.one_run import checkpoint_options, checkpoints, options, with_run
from dashboards.views.parts import offered
from dashboards.views.steering_part import steering_of, steerings_at
from workbench.errors import InputError

CONTROLS = ("run", "checkpoint", "study", "method", "component", "place", "target", "steered")
ASKED = ("method", "component", "place", "target")
"""Controls that choose rows of a study, each among what the ones before leave."""
_NAMED = 12
"""Checkpoints up to which all that were probed are named on the slider."""


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
    kept = {study.checkpoint for study in studies_of(store, state.run)}
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
    state = with_run(store, state, store.has_probes, lambda run: {s.checkpoint for s in studies_of(store, run)})
    study = study_of(store, state)
    if study is not None:
        state = _with_rows(study, replace(state, study=study.key))
    steering = steering_of(store, state)
    return state if steering is None else replace(state, steered=steering.key)


def _with_rows(study: Study, state: PageState) -> PageState:
    """The state with what chooses rows of a study, each among what the ones before leave."""
    wanted: dict[str, str] = {}
    for name in ASKED:
        there = study.values(name, **wanted)
        default = there[-1] if name == "place" else there[0]
        asked = getattr(state, name)
        wanted[name] = asked if asked in there else default
    return state.with_values(wanted)


def studies_of(store: RunStore, run: str | None) -> tuple[Study, ...]:
    """All studies of a run; none where there is no such run."""
    try:
        return store.probes(run)[0] if run else ()
    except InputError:
        return ()


def study_of(store: RunStore, state: PageState) -> Study | None:
    """The chosen study at the chosen checkpoint, else the last one there, if there is one."""
    there = [s for s in studies_of(store, state.run) if s.checkpoint == state.checkpoint and s.rows]
    return next((s for s in there if s.key == state.study), there[-1] if there else None)


def options_of(store: RunStore, state: PageState) -> dict[str, list[dict[str, str]]]:
    """What every control offers."""
    known = studies_of(store, state.run)
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
        return {name: [] for name in ASKED}
    told, wanted = {}, {}
    labels = {"method": method_label, "target": target_label, "component": str}
    for name in ASKED:
        values = study.values(name, **wanted)
        if name == "place":
            pairs = [(value, tell_place(study.picked(place=value, **wanted)[0])) for value in values]
        else:
            pairs = [(value, labels[name](value)) for value in values]
        told[name], wanted[name] = pairs, getattr(state, name)
    return told


def asked_of(state: PageState, *names: str) -> dict[str, Any]:
    """What is chosen in some controls, for `Study.picked`."""
    return {name: getattr(state, name) for name in names}
