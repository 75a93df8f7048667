"""How claims about several seeds are told."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workbench.claims.record import Measurement
from workbench.over_seeds import over_seeds

Look = Mapping[str, Any]


def measurement(
    name: str,
    conditions: Mapping[str, Callable[[Look], tuple[float | None, bool]]],
    looks: Sequence[Look],
    *,
    n_seeds: int,
    least: int | None = None,
    more: Sequence[str] = (),
) -> Measurement:
    """What was found of conditions that every seed meets or fails; the value is that of the first condition.

    Args:
        name: Of what is counted, such as ``seeds``.
        conditions: By their wording: from what was seen of a seed to its number and whether it is met.
        looks: Of the seeds that were trained.
        n_seeds: Seeds that were begun: those whose training failed fail.
        least: Seeds that must meet all conditions; all of them if None.
        more: Further evidence.
    """
    found = [{told: condition(look) for told, condition in conditions.items()} for look in looks]
    n_met = sum(all(met for _, met in each.values()) for each in found)
    evidence = []
    for told in conditions:
        told_of = over_seeds([each[told][0] for each in found])
        evidence.append(f"{told}: {spread(told_of)}; met by {sum(each[told][1] for each in found)} of {n_seeds}")
    first = over_seeds([each[next(iter(conditions))][0] for each in found])
    ci = tuple(first["ci"]) if first["ci"] else None
    holds = n_seeds > 0 and n_met >= (n_seeds if least is None else least)
    return Measurement(
        f"{n_met} of {n_seeds} {name}; {next(iter(conditions))}: {spread(first)}",
        first["mean"],
        ci,
        holds,
        (*evidence, *more),
    )


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
