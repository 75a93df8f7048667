"""What is chosen on pages of agreement records: defaults, the records chosen, and what controls offer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dashboards.state import FINAL_NORM, RAW, PageState
from dashboards.store import RunStore
from dashboards.theme import label, layer_label, region_label
from dashboards.views.one_run import checkpoint_options, checkpoints, options, with_run
from workbench.agreement.measures import MEASURES
from workbench.baselines import BASELINES
from workbench.errors import InputError

READINGS = {RAW: "as they are", FINAL_NORM: "through final norm"}
_FIRST_CHOICE = "newton"
SCALES = ("log", "linear")
DEFAULTS = {"measure": "sim_e", "region": "all", "scale": "log"}
"""What is shown where the address names none."""


@dataclass(frozen=True)
class Shown:
    """What a page shows.

    Attributes:
        state: Everything chosen.
        record: The agreement record.
        part: The record itself, or its part for the reading through the final norm.
    """

    state: PageState
    record: Mapping[str, Any]
    part: Mapping[str, Any]


def complete(store: RunStore, state: PageState) -> PageState:
    """The state with a default for everything that is not chosen or not there.

    The default run is the newest with results; its last computed checkpoint; its last layer. A run or checkpoint
    that is named but missing stays, so that the page can say so.
    """
    reading = state.reading if state.reading in READINGS else RAW
    state = with_run(store, state, store.has_agreement, lambda run: store.agreements(run).records)
    state = replace(state, reading=reading, family=state.family or _FIRST_CHOICE)
    measure = state.measure if state.measure in MEASURES else None
    state = replace(state, measure=measure, scale=state.scale if state.scale in SCALES else None)
    record = record_of(store, state)
    if record is None:
        return state if state.family in BASELINES else replace(state, family=_FIRST_CHOICE)
    if reading == FINAL_NORM and not record.get("final_norm"):
        state = replace(state, reading=RAW)
    layers = part_of(record, state.reading)["layers"]
    families = list(layers[0]["families"])
    layer = state.layer if state.layer is not None and state.layer < len(layers) else len(layers) - 1
    family = state.family if state.family in (*families, *comparable()) else families[0]
    regions = [each["name"] for each in _regions(store, state)]
    return replace(state, layer=layer, family=family, region=state.region if state.region in regions else None)


def record_of(store: RunStore, state: PageState) -> Mapping[str, Any] | None:
    """The agreement record of the chosen run and checkpoint, if there is one."""
    if state.run is None or state.checkpoint is None:
        return None
    try:
        return store.agreements(state.run).records.get(state.checkpoint)
    except InputError:
        return None


def part_of(record: Mapping[str, Any], reading: str | None) -> Mapping[str, Any]:
    """The record itself, or its part for the reading through the final norm."""
    return record["final_norm"] if reading == FINAL_NORM and record.get("final_norm") else record


def beside_of(store: RunStore, state: PageState, analysis: str) -> Mapping[str, Any] | None:
    """The record of an analysis beside the chosen agreement record, if there is one."""
    if state.run is None or state.checkpoint is None:
        return None
    try:
        return store.beside(state.run, analysis).get((state.checkpoint, state.reading == FINAL_NORM))
    except InputError:
        return None


def shown_of(store: RunStore, search: str | None) -> Shown | None:
    """What a complete query string shows, or None without a record."""
    state = PageState.of(search)
    record = record_of(store, state) if search else None
    return Shown(state, record, part_of(record, state.reading)) if record else None


def options_of(store: RunStore, state: PageState) -> dict[str, list[dict[str, str]]]:
    """What every control offers."""
    record = record_of(store, state)
    part = part_of(record, state.reading) if record else None
    steps = checkpoints(store, state.run)
    kept = store.agreements(state.run).records if state.run and steps else {}
    readings = [RAW, FINAL_NORM] if record is None or record.get("final_norm") else [RAW]
    families = list(part["layers"][0]["families"]) if part else []
    layers = [layer["layer"] for layer in part["layers"]] if part else []
    return {
        "run": options((name, name) for name in store.names()),
        "checkpoint": checkpoint_options(steps, kept),
        "reading": options((key, READINGS[key]) for key in readings),
        "family": options((name, _family(name, families)) for name in dict.fromkeys([*families, *comparable()])),
        "layer": options((str(layer), layer_label(layer)) for layer in layers),
        "measure": options((name, each.label) for name, each in MEASURES.items()),
        "region": options((each["name"], region_label(each)) for each in _regions(store, state)),
        "scale": options((each, each) for each in SCALES),
    }


def value_of(state: PageState, name: str) -> object:
    """What a control shows: what is chosen, or its default."""
    chosen = getattr(state, name)
    return DEFAULTS.get(name) if chosen is None else chosen


def comparable() -> list[str]:
    """Algorithms that iterate and need no further data: layers can be compared with each of their steps."""
    return [name for name, each in BASELINES.items() if each.iterative and not each.required]


def _family(name: str, computed: Sequence[str]) -> str:
    return label(name) + ("" if name in computed else " · not compared yet")


def _regions(store: RunStore, state: PageState) -> Sequence[Mapping[str, Any]]:
    found = beside_of(store, state, "measures")
    return found["regions"] if found else [{"name": "all", "label": ""}]
