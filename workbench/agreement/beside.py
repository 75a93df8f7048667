"""Reading records of measures: which algorithm stands beside which layer. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

OUTPUT = "output"


@dataclass(frozen=True)
class Pair:
    """A row of a measure table beside one algorithm.

    Attributes:
        row: ``0`` for the embedding, the number of another layer, or ``output``.
        row_place: Its place among the rows.
        name: The algorithm, by registry name.
        step: Its steps: those that match the layer best; None for an anchor.
        options: Its options.
        place: Its place among the algorithms.
    """

    row: str
    row_place: int
    name: str
    step: int | None
    options: Mapping[str, Any]
    place: int


def best_steps(reading: Mapping[str, Any]) -> dict[str, list[int]]:
    """Best steps of every layer, by algorithm.

    Args:
        reading: An agreement record, or its part for the reading through the final norm.
    """
    layers = reading["layers"]
    return {name: [layer["families"][name]["best_step"] for layer in layers] for name in layers[0]["families"]}


def pairs(found: Mapping[str, Any]) -> list[Pair]:
    """Every row beside the anchors and beside its own best steps; the output beside those of the last layer.

    Args:
        found: What `workbench.analyses.measures` returned.
    """
    told = []
    for i, row in enumerate(found["rows"]):
        for j, each in enumerate(found["algorithms"]):
            name, step = each["name"], each["step"]
            if step is None or found["best_steps"][name][-1 if row == OUTPUT else int(row)] == step:
                told.append(Pair(row, i, name, step, each["options"], j))
    return told


def apart(regions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The regions without the one of all positions, unless there is no other."""
    return [region for region in regions if region["name"] != "all"] or list(regions)
