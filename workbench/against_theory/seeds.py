"""Several runs of one recipe: every quantity over runs, with an interval over runs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.over_seeds import over_seeds


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


@dataclass(frozen=True)
class CurveOverRuns:
    """A curve over runs: the model's risk at each place, beside theory's on the same prompts.

    Attributes:
        closed_form: Registry name.
        axis: As in a run's curve, or ``roll_out``.
        label: The same for people.
        at: Places.
        theory: Excess risk by theory: of its predictor on the same prompts, or of its closed form.
        mean: Mean of the models' excess risks.
        low: Lower ends of 95% intervals of the mean over runs, by Student's t; None for fewer than two runs.
        high: Upper ends.
    """

    closed_form: str
    axis: str
    label: str
    at: tuple[float, ...]
    theory: tuple[float, ...]
    mean: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


def curves_over_runs(records: Sequence[Mapping[str, Any]]) -> list[CurveOverRuns]:
    """Every curve that all runs have: other prompts, theory's own curves, and the layer rolled out."""
    found: dict[tuple[str, str, str], list[tuple[Any, Any, Any]]] = {}
    for record in records:
        for form in record["closed_forms"]:
            for axis, label, *curve in _curves(form):
                found.setdefault((form["name"], axis, label), []).append(tuple(curve))
    return [_over_curve(*key, curves) for key, curves in found.items() if len(curves) == len(records)]


def _curves(form: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, Any, Any]]:
    """Axis, label, places, theory and model."""
    for each in form.get("shifted", []):
        yield each["axis"], each["label"], each["at"], each["theory"], each["excess"]
    curve = form.get("curve")
    if curve and curve["is_model"]:
        yield curve["axis"], form["label"], curve["at"], curve["theory"], curve["measured"]
    rolled = form.get("rolled_out")
    if rolled:
        yield (
            "roll_out",
            "times applied",
            [float(n) for n in range(len(rolled["excess"]))],
            rolled["theory"],
            rolled["excess"],
        )


def _over_curve(form: str, axis: str, label: str, curves: Sequence[tuple[Any, Any, Any]]) -> CurveOverRuns:
    at, theory, _ = curves[0]
    places = [np.array([curve[2][i] for curve in curves if curve[2][i] is not None]) for i in range(len(at))]
    ends = [_interval(values) for values in places]
    return CurveOverRuns(
        form,
        axis,
        label,
        tuple(at),
        tuple(theory),
        tuple(float(values.mean()) if len(values) else None for values in places),
        tuple(None if end is None else end[0] for end in ends),
        tuple(None if end is None else end[1] for end in ends),
    )


@dataclass(frozen=True)
class PatternOverRuns:
    """A pattern of weights over runs, the mean over layers and heads of each.

    Attributes:
        pattern: Registry name.
        label: The same for people.
        perfect: The score of a perfect pattern.
        mean: Mean over runs.
        ci: 95% interval of the mean over runs, by Student's t; None for fewer than two runs.
        null: The same of random weights of equal norms: mean over runs, then over runs the least and the largest of
            their 2.5% and 97.5% quantiles, themselves means over layers and heads.
        values: What each run has.
    """

    pattern: str
    label: str
    perfect: float
    mean: float | None
    ci: tuple[float, float] | None
    null: tuple[float, float, float]
    values: tuple[float | None, ...]


def patterns_over_runs(records: Sequence[Mapping[str, Any]]) -> list[PatternOverRuns]:
    """Every pattern, where the weights of all runs can be told in data coordinates."""
    if any(record["weights"] is None for record in records):
        return []
    by_run = [{each["name"]: each for each in record["weights"]["patterns"]} for record in records]
    return [_over_pattern([run[name] for run in by_run]) for name in by_run[0]]


def _over_pattern(found: Sequence[Mapping[str, Any]]) -> PatternOverRuns:
    values = tuple(_mean(each["scores"]) for each in found)
    known = np.array([value for value in values if value is not None])
    null, low, high = ([_mean(each[name]) for each in found] for name in ("null_mean", "null_low", "null_high"))
    first = found[0]
    return PatternOverRuns(
        first["name"],
        first["label"],
        first["perfect"],
        float(known.mean()) if len(known) else None,
        _interval(known),
        (float(np.mean([n for n in null if n is not None])), _least(low, min), _least(high, max)),
        values,
    )


def _least(values: Sequence[float | None], choose: Callable[[Sequence[float]], float]) -> float:
    return choose([value for value in values if value is not None])


def _mean(scores: Any) -> float | None:
    """Of nested lists of numbers, those that are there."""
    values = [value for value in np.array(scores, dtype=float).ravel() if not np.isnan(value)]
    return float(np.mean(values)) if values else None


def _over(name: str, quantity: str, rows: Sequence[Mapping[str, Any] | None]) -> OverRuns:
    first = next(row for row in rows if row is not None)
    values = tuple(None if row is None else row["measured"] for row in rows)
    known = np.array([value for value in values if value is not None])
    mean = float(known.mean()) if len(known) else None
    return OverRuns(name, quantity, first["label"], first["theory"], mean, _interval(known), values)


def _interval(known: np.ndarray) -> tuple[float, float] | None:
    ci = over_seeds(known.tolist())["ci"]
    return None if ci is None else (ci[0], ci[1])
