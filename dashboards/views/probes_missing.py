"""What the page of probes has not got yet: why, the command that computes it, and a button."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dash_mantine_components as dmc
from dash import ctx, html, no_update

from dashboards.jobs import Jobs
from dashboards.probe_studies import words_of
from dashboards.state import PageState
from dashboards.store import RunStore
from dashboards.views.missing import NOTHING, tell_fault, tell_job
from dashboards.views.one_run import checkpoints
from dashboards.views.parts import command
from dashboards.views.probes_choice import asked_of, complete, studies_of, study_of
from probes.methods import PROBES
from workbench.errors import InputError

OFFERS = ("missing", "examples", "pooled")
_POOLED = "pooled_linear"
_TITLES = {
    "missing": "Not probed yet",
    "examples": "Not probed at several numbers of examples",
    "pooled": "No probe that pools over tokens",
}


def offer(name: str) -> html.Div:
    """Where a page says what is missing, with a button that computes it."""
    button = dmc.Button("Compute now", id=f"probes-{name}-compute", mt="sm", size="sm")
    told = dmc.Alert(
        [html.Div(id=f"probes-{name}-message"), button], color="blue", id=f"probes-{name}-alert", title=_TITLES[name]
    )
    return html.Div(told, id=f"probes-{name}", style={"display": "none"})


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
        _TITLES["missing"] if asked["missing"] is not None else NOTHING,
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
        known = studies_of(store, state.run)
        there = state.run is not None and state.checkpoint in checkpoints(store, state.run)
        if name != "missing" or not there:
            return None
        return words_of(known[-1].config, known[-1].control) if known else []
    found = replace(study.config, methods=(str(state.method),), components=(str(state.component),))
    if name == "examples" and len(study.values("place", **asked_of(state, "method", "component", "target"))) < 2:
        if study.config.reading in ("last", "shared"):
            return None  # one token only, or one probe for all
        wanted = replace(found, targets=(str(state.target),), n_contexts=None, positions=None)
        return words_of(wanted, study.control)
    says_numbers = state.method in PROBES and PROBES[str(state.method)].says == "numbers"
    if name == "pooled" and says_numbers and not any(PROBES[m].pools for m in study.values("method") if m in PROBES):
        return words_of(replace(found, methods=(_POOLED,), targets=(str(state.target),)), study.control)
    return None


def _is_running(jobs: Jobs, state: PageState, words: Sequence[str] | None) -> bool:
    job = None if words is None or not state.run else jobs.find(state.run, state.checkpoint, words)
    return job is not None and job.running


def _tell_offer(
    store: RunStore, jobs: Jobs, state: PageState, name: str, words: Sequence[str] | None
) -> list[Any] | None:
    """Why there is nothing to see, and what to type; None where nothing is missing."""
    if words is None:
        return tell_nothing(store, state) if name == "missing" else None
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


def tell_nothing(store: RunStore, state: PageState) -> list[Any] | None:
    """Why nothing can be computed; damaged records of a run that has others."""
    if state.run is None:
        return [html.Span([f"There is no run in {store.root} yet. Type ", command("mesascope demo"), "."])]
    try:
        steps, (_, faults) = store.checkpoints(state.run), store.probes(state.run)
    except InputError as error:
        return [tell_fault(store, state.run, error)]
    if study_of(store, state) is not None:
        return [html.Div(fault, className="failure") for fault in faults] or None
    if not steps:
        return [f"Run {state.run} has no checkpoint yet; there is nothing to probe."]
    return [f"Run {state.run} has no checkpoint at step {state.checkpoint}. Choose one above."]
