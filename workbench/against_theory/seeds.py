"""Several runs of one recipe: every quantity over runs, with an interval over runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Two-sided 95% quantiles of Student's t for 1, 2, .. degrees of freedom; 1.96 beyond.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)


@dataclass(frozen=True)
class OverRuns:
    """One quantity over runs.

    Attributes:
        closed_form: Registry name.
        quantity: As in a run's row.
        label: The same for people.
        theory: What theory says, the same for all runs.
        mean: Mean of what was measured.
        ci: 95% interval of the mean over runs, by Student's t; None for fewer than two runs.
        values: What each run has, in the order of the runs.
    """

    closed_form: str
    quantity: str
    label: str
    theory: float | None
    mean: float | None
    ci: tuple[float, float] | None
    values: tuple[float | None, ...]


def over_runs(records: Sequence[Mapping[str, Any]]) -> list[OverRuns]:
    """Every quantity that some run has, in the order of the first that has it. Theory must agree.

    Args:
        records: Theory records of runs that differ in their seeds alone.
    """
    found: dict[tuple[str, str], list[Mapping[str, Any] | None]] = {}
    for place, record in enumerate(records):
        for form in record["closed_forms"]:
            for row in form["rows"]:
                kept = found.setdefault((form["name"], row["quantity"]), [None] * len(records))
                kept[place] = row
    return [_over(name, quantity, rows) for (name, quantity), rows in found.items()]


def _over(name: str, quantity: str, rows: Sequence[Mapping[str, Any] | None]) -> OverRuns:
    first = next(row for row in rows if row is not None)
    values = tuple(None if row is None else row["measured"] for row in rows)
    known = np.array([value for value in values if value is not None])
    mean = float(known.mean()) if len(known) else None
    return OverRuns(name, quantity, first["label"], first["theory"], mean, _interval(known), values)


def _interval(known: np.ndarray) -> tuple[float, float] | None:
    if len(known) < 2:
        return None
    quantile = _T[len(known) - 2] if len(known) - 2 < len(_T) else 1.96
    half = quantile * float(known.std(ddof=1)) / len(known) ** 0.5
    return float(known.mean()) - half, float(known.mean()) + half
