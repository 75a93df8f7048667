"""Few cases that hold every value, or every pair of values: a full product, as far as two things interact."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations, product
from typing import Any

Case = dict[str, Any]


def covering(factors: Mapping[str, Sequence[Any]], allowed: Callable[[Case], bool], *, strength: int = 2) -> list[Case]:
    """Cases in which every tuple of ``strength`` values occurs that an allowed case holds, greedily few.

    Each case starts from a tuple still missing and takes, factor by factor, the value that adds most of them.

    Args:
        factors: Values of each factor, hashable.
        allowed: Whether a case may occur; a factor that it leaves out has its plain value.
        strength: 1 for every value, 2 for every pair of values of two factors.
    """
    missing = dict.fromkeys(
        chosen
        for names in combinations(factors, strength)
        for chosen in (tuple(zip(names, values)) for values in product(*(factors[name] for name in names)))
        if allowed(dict(chosen))
    )
    cases: list[Case] = []
    while missing:
        case = dict(next(iter(missing)))
        for name in (name for name in factors if name not in case):
            options = [{**case, name: value} for value in factors[name]]
            case = max(filter(allowed, options), key=lambda option: _held(option, factors, strength, missing))
        cases.append({name: case[name] for name in factors})
        for chosen in _tuples(cases[-1], factors, strength):
            missing.pop(chosen, None)
    return cases


def _held(case: Case, factors: Iterable[str], strength: int, missing: Mapping[Any, None]) -> int:
    return sum(chosen in missing for chosen in _tuples(case, factors, strength))


def _tuples(case: Case, factors: Iterable[str], strength: int) -> Iterable[tuple[tuple[str, Any], ...]]:
    return combinations([(name, case[name]) for name in factors if name in case], strength)
