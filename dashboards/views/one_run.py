"""What pages on one run share: labelled selects, a default run and checkpoint, and what selects offer."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dash_mantine_components as dmc
from dash import html

from dashboards.state import PageState
from dashboards.store import RunStore
from workbench.errors import InputError

_MOST_NAMED = 7
LOOKED_AT = 200
"""Runs looked at for one that has results, where the address names none."""


def selects(page: str, controls: Mapping[str, tuple[str, int]], limit: int = 100) -> dmc.Group:
    """Labelled selects in a row that wraps.

    Args:
        page: Name of the page, the prefix of their ids.
        controls: Title and width in pixels of each, by name.
        limit: Options shown at once.
    """
    picks: dict[str, Any] = {"allowDeselect": False, "searchable": True, "limit": limit, "clearSearchOnFocus": True}
    fields = [
        html.Div([dmc.Text(title, size="sm", fw=500, mb=2), dmc.Select(id=f"{page}-{name}", w=width, **picks)])
        for name, (title, width) in controls.items()
    ]
    return dmc.Group(fields, gap="md", align="flex-end", mb="md")


def with_run(
    store: RunStore, state: PageState, has: Callable[[str], bool], kept: Callable[[str], Collection[int]]
) -> PageState:
    """The state with a run and a checkpoint, if there is any; what is named stays, though it be missing.

    Args:
        store: The runs.
        state: What is chosen.
        has: Whether a run has results for this page, told quickly.
        kept: Steps at which a run has results.
    """
    run = state.run or first_run(store, has)
    state = replace(state, run=run)
    if run is None or state.checkpoint is not None:
        return state
    steps = checkpoints(store, run)
    there = sorted(set(kept(run)) & set(steps)) if steps else []
    return replace(state, checkpoint=(there or steps or [None])[-1])


def first_run(store: RunStore, has: Callable[[str], bool]) -> str | None:
    """The newest run with results, else the newest."""
    names = [row.name for row in store.rows(budget_s=0.0)]
    return next((name for name in names[:LOOKED_AT] if has(name)), names[0] if names else None)


def checkpoints(store: RunStore, run: str | None) -> list[int]:
    """Steps with a checkpoint; none of a run that is not there."""
    try:
        return store.checkpoints(run) if run else []
    except InputError:
        return []


def checkpoint_options(steps: Sequence[int], kept: Collection[int]) -> list[dict[str, str]]:
    """Options of a select of checkpoints, the last first, those with results marked."""
    return options((str(step), f"step {step}" + (" · computed" if step in kept else "")) for step in steps[::-1])


def options(pairs: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """Options of a select, from values and labels."""
    return [{"value": value, "label": text} for value, text in pairs]


def slider(page: str) -> html.Div:
    """A slider over the checkpoints that have results, with the step beside it; hidden until there are two.

    Args:
        page: Name of the page, the prefix of its ids.
    """
    told: dict[str, Any] = {"aria-label": "Measured checkpoint"}
    moved = dmc.Slider(
        id=f"{page}-slider", min=0, max=1, step=1, value=0, label=None, updatemode="mouseup", className="steps", **told
    )
    return html.Div(
        [
            dmc.Text("Measured checkpoints", size="sm", fw=500),
            html.Div(moved, className="steps-track"),
            dmc.Text(id=f"{page}-slider-step", size="sm"),
        ],
        id=f"{page}-slider-place",
        className="steps-place",
        style={"display": "none"},
    )


def slider_marks(steps: Sequence[int]) -> list[dict[str, Any]]:
    """A mark for every step, as many of them named as have room: the first and the last among them."""
    stride = max(1, -(-(len(steps) - 1) // (_MOST_NAMED - 1)))
    last = len(steps) - 1
    named = {at for at in range(0, len(steps), stride) if at == 0 or last - at >= stride} | {last}
    return [{"value": at, **({"label": str(step)} if at in named else {})} for at, step in enumerate(steps)]
