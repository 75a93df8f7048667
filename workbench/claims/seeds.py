"""How claims about several seeds are told."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from workbench.claims.record import Measurement
from workbench.over_seeds import over_seeds

Look = Mapping[str, Any]


class Judged(NamedTuple):
    """What a condition found in one run.

    Attributes:
        value: The number that is told, or None.
        met: Whether the condition is met.
        ci: Its 95% interval over prompts, or None for a number that rests on none.
        note: What to mind, or "".
    """

    value: float | None
    met: bool
    ci: tuple[float, float] | None = None
    note: str = ""


Condition = Callable[[Look], Judged | tuple[float | None, bool]]


def measurement(
    name: str,
    conditions: Mapping[str, Condition],
    looks: Sequence[Look],
    *,
    n_seeds: int,
    least: int | None = None,
    more: Sequence[str] = (),
) -> Measurement:
    """What was found of conditions that every seed meets or fails; the value is that of the first condition.

    Args:
        name: Of what is counted, such as ``seeds``.
        conditions: By their wording: from what was seen of a seed to its number and whether it is met, and with which
            interval over prompts.
        looks: Of the seeds that were trained.
        n_seeds: Seeds that were begun: those whose training failed fail.
        least: Seeds that must meet all conditions; all of them if None.
        more: Further evidence.
    """
    found = [{told: _judged(condition(look)) for told, condition in conditions.items()} for look in looks]
    n_met = sum(all(judged.met for judged in each.values()) for each in found)
    evidence = []
    for told in conditions:
        of_seeds = [each[told] for each in found]
        n_holding = sum(judged.met for judged in of_seeds)
        told_of = over_seeds([judged.value for judged in of_seeds])
        evidence.append(f"{told}: {spread(told_of)}{over_prompts(of_seeds)}; met by {n_holding} of {n_seeds}")
    first = over_seeds([each[next(iter(conditions))].value for each in found])
    ci = tuple(first["ci"]) if first["ci"] else None
    holds = n_seeds > 0 and n_met >= (n_seeds if least is None else least)
    return Measurement(
        f"{n_met} of {n_seeds} {name}; {next(iter(conditions))}: {spread(first)}",
        first["mean"],
        ci,
        holds,
        (*evidence, *more),
    )


def _judged(found: Judged | tuple[float | None, bool]) -> Judged:
    return found if isinstance(found, Judged) else Judged(*found)


def over_prompts(of_seeds: Sequence[Judged]) -> str:
    """The ends of all seeds' intervals over prompts, and what is to be minded; "" for nothing."""
    intervals = [judged.ci for judged in of_seeds if judged.ci is not None]
    notes = dict.fromkeys(judged.note for judged in of_seeds if judged.note)
    told = [f"; {note}" for note in notes]
    if intervals:
        low, high = min(each[0] for each in intervals), max(each[1] for each in intervals)
        told.insert(0, f", intervals over prompts {short(low)} to {short(high)}")
    return "".join(told)


def spread(told: Mapping[str, Any]) -> str:
    """Mean, interval over seeds, least and largest."""
    if told["mean"] is None:
        return "–"
    if told["ci"] is None:
        return short(told["mean"])
    low, high = told["ci"]
    return f"{short(told['mean'])} [{short(low)}, {short(high)}], seeds {short(told['least'])} to {short(told['most'])}"


def short(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}"
