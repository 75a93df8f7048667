"""The options of a call: known, complete, and of the type that the algorithm's signature names."""

import inspect
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from torch import Tensor

from workbench.baselines.record import Baseline
from workbench.errors import InputError, must, refuse_faults
from workbench.registry import unknown


def refuse_unknown(baseline: Baseline, options: Mapping[str, Any]) -> None:
    """Refuse options that the algorithm does not have.

    Raises:
        InputError: With the known ones.
    """
    for option in options:
        if option not in baseline.options:
            raise InputError(unknown(f"option of {baseline.name!r}", option, baseline.options))


def checked(baseline: Baseline, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, whole numbers as floats where floats are meant.

    Raises:
        InputError: If one is unknown, missing or of the wrong type.
    """
    refuse_unknown(baseline, options)
    refuse_faults(f"{name} must be given for {baseline.name!r}" for name in baseline.required if name not in options)
    hints = {p.name: p.annotation for p in baseline.parameters}
    faults = {name: _fault(name, hints[name], value) for name, value in options.items()}
    refuse_faults(faults.values())
    return {name: float(value) if _is_float(hints[name], value) else value for name, value in options.items()}


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _is_float(hint: Any, value: Any) -> bool:
    return float in _kinds(hint) and type(value) is int


def _fault(name: str, hint: Any, value: Any) -> str:
    rules = [_rule(kind, value) for kind in _kinds(hint)]
    told = " or ".join(rule for rule, _ in rules)
    return must(name, f"be {told}", value, any(holds for _, holds in rules))


def _rule(kind: Any, value: Any) -> tuple[str, bool]:
    """What a value of that type is, and whether this one is."""
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        return " or ".join(map(repr, choices)), isinstance(value, str) and value in choices
    if get_origin(kind) is Sequence:
        listed = isinstance(value, list | tuple)
        return "a list of numbers", listed and all(_rule(float, each)[1] for each in value)
    if kind in (None, type(None)):
        return "None", value is None
    if kind is float:
        return "a number", isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return "a whole number", isinstance(value, int) and not isinstance(value, bool)
    if kind is Tensor:
        return "a tensor", isinstance(value, Tensor)
    return f"a {kind.__name__}", inspect.isclass(kind) and isinstance(value, kind)
