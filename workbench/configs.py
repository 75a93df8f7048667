"""Frozen config records to and from plain JSON, with every fault named.

A config is a frozen dataclass of numbers, strings, booleans, tuples, optional values and other configs.
Nothing here imports torch.
"""

import dataclasses
import hashlib
import json
import math
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from workbench.errors import InputError, must, refuse_faults
from workbench.registry import unknown

T = TypeVar("T")


def to_data(config: Any) -> Any:
    """The config as JSON data: dataclasses become objects, tuples lists."""
    if dataclasses.is_dataclass(config):
        return {f.name: to_data(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, tuple | list):
        return [to_data(item) for item in config]
    if isinstance(config, Mapping):
        return {key: to_data(item) for key, item in config.items()}
    return config


def with_values(config: T, values: Mapping[str, Any]) -> T:
    """A copy of the config that holds these values, unchecked: such as tensors in place of numbers."""
    held = object.__new__(type(config))
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        object.__setattr__(held, field.name, values.get(field.name, getattr(config, field.name)))
    return held


def from_data(cls: type[T], data: Any, where: str = "") -> T:
    """The config of class ``cls`` that ``data`` describes; missing keys take their defaults.

    Raises:
        InputError: With all faults: unknown keys, missing ones without default, values of the wrong type, and, where
            all types are right, values out of range.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{where or cls.__name__} must be an object of named values; got {data!r}.")
    hints = get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    prefix = f"{where}." if where else ""
    faults = [unknown(f"key of {where or cls.__name__}", key, fields) for key in data if key not in fields]
    faults += [f"{prefix}{name} must be given" for name, f in fields.items() if name not in data and _required(f)]
    values: dict[str, Any] = {}
    for key, item in data.items():
        if key in fields:
            with gathering(faults):
                values[key] = _value(hints[key], item, prefix + key)
    refuse_faults(faults)
    return cls(**values)


def _required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


@contextmanager
def gathering(faults: list[str]) -> Iterator[None]:
    """Add what is refused inside to ``faults`` instead of raising it, so that several are told together."""
    try:
        yield
    except InputError as error:
        faults.append(str(error))


def _value(hint: Any, item: Any, where: str) -> Any:
    """``item`` as a value of type ``hint``."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        options = get_args(hint)
        if item is None and type(None) in options:
            return None
        return _value(next(o for o in options if o is not type(None)), item, where)
    if origin is Literal:
        allowed = get_args(hint)
        refuse_faults([must(where, f"be one of {', '.join(map(str, allowed))}", item, item in allowed)])
        return item
    if origin is tuple:
        refuse_faults([must(where, "be a list", item, isinstance(item, list | tuple))])
        kinds = get_args(hint)
        if len(kinds) == 2 and kinds[1] is Ellipsis:
            kinds = (kinds[0],) * len(item)
        refuse_faults([must(where, f"have {len(kinds)} entries", item, len(item) == len(kinds))])
        return tuple(_value(k, i, f"{where}[{n}]") for n, (k, i) in enumerate(zip(kinds, item)))
    if dataclasses.is_dataclass(hint):
        return from_data(hint, item, where)  # type: ignore[arg-type]
    return _scalar(hint, item, where)


def literal_faults(config: Any) -> list[str]:
    """A fault for every field of a config whose type lists its values and that holds another one.

    JSON and command line refuse these before a config is made; this is for configs that are made in Python.
    """
    return [
        must(name, f"be one of {', '.join(map(str, allowed))}", value, isinstance(value, str) and value in allowed)
        for name, allowed in _literals(type(config)).items()
        for value in [getattr(config, name)]
    ]


@cache
def _literals(cls: type) -> Mapping[str, tuple[Any, ...]]:
    """The texts that each field of such a type may hold."""
    hints = get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    return {name: get_args(hints[name]) for name in names if get_origin(hints[name]) is Literal}


def _scalar(hint: type, item: Any, where: str) -> Any:
    is_bool = isinstance(item, bool)
    fits = {
        bool: is_bool,
        int: isinstance(item, int) and not is_bool,
        float: isinstance(item, float) or (isinstance(item, int) and not is_bool and abs(item) <= sys.float_info.max),
        str: isinstance(item, str),
    }[hint]
    noun = {bool: "true or false", int: "a whole number", float: "a number in float64's range", str: "a text"}[hint]
    refuse_faults([must(where, f"be {noun}", item, fits)])
    return hint(item)


def canonical_json(data: Any) -> str:
    """The one JSON text of ``data``: sorted keys, no spaces, no NaN.

    Raises:
        InputError: If ``data`` holds NaN or an infinity.
    """
    try:
        return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise InputError(f"a config must hold finite numbers; {error}.") from error


def digest(data: Any) -> str:
    """sha256 of the canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(data).encode()).hexdigest()


def no_nan(data: Any) -> Any:
    """``data`` with every NaN and infinity replaced by None, as the JSON outputs promise."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {key: no_nan(item) for key, item in data.items()}
    if isinstance(data, list | tuple):
        return [no_nan(item) for item in data]
    return data


LARGEST_COUNT = 2**53
"""Whole numbers up to here are exact in every JSON reader, and fit torch's."""


def is_count(value: object, at_least: int = 1, at_most: int = LARGEST_COUNT) -> bool:
    """Whether ``value`` is a whole number from ``at_least`` to ``at_most``."""
    return isinstance(value, int) and not isinstance(value, bool) and at_least <= value <= at_most


def is_finite(value: object, at_least: int | float = -math.inf, above: int | float = -math.inf) -> bool:
    """Whether ``value`` is a finite number, at least ``at_least`` and greater than ``above``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > sys.float_info.max:
        return False
    return math.isfinite(value) and value >= at_least and value > above
