"""What the page of heads is about: a run and checkpoint or a language model and record, a score, a head, a prompt."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from dashboards.head_scores import head_name, head_of, scores_of
from dashboards.head_tables import tell_labels, tell_settings
from dashboards.state import PageState
from dashboards.store import RunStore
from dashboards.views.one_run import LOOKED_AT, checkpoint_options, checkpoints, options, with_run
from workbench.errors import InputError

CONTROLS = ("run", "checkpoint", "score", "head", "prompt")
_MODEL = "model:"
"""Before the name of a language model, where a run's could stand; no run has a colon in its name."""


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


def value_of(state: PageState, name: str) -> object:
    """What a control shows: a language model in the place of a run, its record in that of a checkpoint."""
    if state.model is not None and name == "run":
        return _MODEL + state.model
    return state.record if state.model is not None and name == "checkpoint" else getattr(state, name)


def chosen(store: RunStore, before: PageState, used: str, given: Mapping[str, Any]) -> PageState:
    """The state after a control was used."""
    value = given.get(used)
    if value is None or used not in CONTROLS:
        return before
    if used == "run":
        if value == value_of(before, "run"):
            return before
        return complete(store, _with_source(before, str(value)))
    if used == "checkpoint" and before.model is not None:
        return complete(store, replace(before, record=str(value)))
    return complete(store, before.with_values({used: value}))


def _with_source(state: PageState, value: str) -> PageState:
    """Another run, whose last checkpoint is shown, or another language model."""
    state = replace(state, head=None, score=None, prompt=None, record=None)
    if value.startswith(_MODEL):
        return replace(state, model=value.removeprefix(_MODEL))
    kept = state.checkpoint if value == state.run else None
    return replace(state, run=value, checkpoint=kept, model=None)


def complete(store: RunStore, state: PageState) -> PageState:
    """The state with a default for what is not chosen or not there.

    The default run is the newest with a head record, its last one; where no run has one, a language model; the head
    whose silencing costs most; its induction score; the first prompt.
    """
    if state.model is None and state.run is None and not _any_heads(store):
        state = replace(state, model=next(iter(store.model_names()), None))
    if state.model is not None:
        kept = list(_model_records(store, state.model))
        state = replace(state, record=state.record if state.record in kept else (kept or [None])[-1])
    else:
        state = with_run(store, state, _has_results(store), partial(records_of, store))
    record = record_of(store, state)
    if record is None:
        return state
    names = list(scores_of(record))
    score = state.score if state.score in names else ("induction" if "induction" in names else names[0])
    prompt = min(max(state.prompt or 1, 1), n_prompts(state, record))
    return replace(state, score=score, head=head_name(head_of(record, state.head)), prompt=prompt)


def n_prompts(state: PageState, record: Mapping[str, Any]) -> int:
    """Prompts that can be looked at first; of a language model one set is kept."""
    return 1 if state.model is not None else record["config"]["n_prompts"]


def _has_results(store: RunStore) -> Callable[[str], bool]:
    """What makes a run the default: a head record, or where none has one, tokens."""
    return store.has_heads if _any_heads(store) else partial(is_on_tokens, store)


def _any_heads(store: RunStore) -> bool:
    return any(store.has_heads(row.name) for row in store.rows(budget_s=0.0)[:LOOKED_AT])


def is_on_tokens(store: RunStore, name: str) -> bool:
    """Whether a run is on tokens; a damaged one is not."""
    try:
        return store.is_on_tokens(name)
    except InputError:
        return False


def records_of(store: RunStore, run: str | None) -> Mapping[int, Mapping[str, Any]]:
    """Kept head records of a run by checkpoint; none of a run that is not there."""
    try:
        return store.heads(run).records if run else {}
    except InputError:
        return {}


def _model_records(store: RunStore, model: str) -> Mapping[str, Mapping[str, Any]]:
    try:
        return store.model_heads(model).records
    except InputError:
        return {}


def record_of(store: RunStore, state: PageState) -> Mapping[str, Any] | None:
    """The head record of the chosen run and checkpoint, or of the chosen language model, if there is one."""
    if state.model is not None:
        return _model_records(store, state.model).get(str(state.record))
    if state.run is None or state.checkpoint is None:
        return None
    return records_of(store, state.run).get(state.checkpoint)


def options_of(store: RunStore, state: PageState) -> dict[str, list[dict[str, str]]]:
    """What every control offers."""
    record = record_of(store, state)
    heads = record["heads"] if record else []
    shown = n_prompts(state, record) if record else 0
    models = [(_MODEL + name, f"{name} (language model)") for name in store.model_names()]
    return {
        "run": options([*((name, name) for name in store.names()), *models]),
        "checkpoint": _moments(store, state),
        "score": options((name, each.label) for name, each in (scores_of(record) if record else {}).items()),
        "head": options((head_name(head), _head_label(head)) for head in heads),
        "prompt": options((str(i), str(i)) for i in range(1, shown + 1)),
    }


def _moments(store: RunStore, state: PageState) -> list[dict[str, str]]:
    """Checkpoints of a run; records of a language model, the last first."""
    if state.model is None:
        return checkpoint_options(checkpoints(store, state.run), records_of(store, state.run))
    kept = _model_records(store, state.model)
    return options((key, tell_settings(record)) for key, record in reversed(list(kept.items())))


def _head_label(head: Mapping[str, Any]) -> str:
    return f"{head_name(head)} · {tell_labels(head)}" if head["labels"] else head_name(head)
