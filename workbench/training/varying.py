"""Run configs that differ in some fields: one for every combination of the values given for each."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from workbench.errors import InputError
from workbench.registry import unknown
from workbench.training.config import RunConfig, run_config_from_data

_MOST_RUNS = 10_000
_FORM = "FIELD=VALUES, such as train.seed=0..7 or task.noise-std=0,0.5"
_RANGE = re.compile(r"(-?[0-9]{1,15})\.\.(-?[0-9]{1,15})")
_WORDS = {"None": None, "True": True, "true": True, "False": False, "false": False}
"""None as Python writes it alone: none is the name of some options."""


@dataclass(frozen=True)
class Variation:
    """Values of one field.

    Attributes:
        part: Of the run config: task, model or train.
        name: Of the field.
        values: What it takes, as plain data.
    """

    part: str
    name: str
    values: Sequence[Any]


def variation(text: str) -> Variation:
    """The values that ``train.seed=0..7`` or ``train.lr=1e-3,3e-3`` gives; a range holds both its ends.

    Values are numbers, words, ``None``, ``True`` and ``False``; those of a field that holds several numbers are
    separated by spaces.

    Raises:
        InputError: If it has another form, or gives a value twice.
    """
    field, equals, values = text.partition("=")
    part, dot, name = field.strip().partition(".")
    if not (equals and dot and name and values.strip()):
        raise InputError(f"--vary must be {_FORM}; got {text!r}.")
    found = [value for item in values.split(",") for value in _values(item.strip(), field.strip(), text)]
    if len(set(map(repr, found))) < len(found):
        raise InputError(f"--vary must give different values; got {text!r}.")
    return Variation(part, name.replace("-", "_"), found)


def _values(item: str, field: str, text: str) -> Iterable[Any]:
    """The values of one item between commas."""
    if not item:
        raise InputError(f"--vary must give a value between commas; got {text!r}.")
    if ".." in item:
        return _counted(item, field)
    words = [_value(word) for word in item.split()]
    return words if len(words) == 1 else [words]


def _counted(item: str, field: str) -> range:
    """The numbers of a range."""
    span = _RANGE.fullmatch(item)
    if span is None:
        raise InputError(
            f"--vary {field} must be a range FIRST..LAST of whole numbers with up to 15 digits; got {item}. "
            f"Write {field}=0..7, say, or values with commas between them."
        )
    first, last = int(span[1]), int(span[2])
    if last < first:
        raise InputError(f"--vary {field} must count up; got {item}. Write {field}={last}..{first}.")
    if last - first >= _MOST_RUNS:
        raise InputError(f"--vary {field} must count up to {_MOST_RUNS} values at most; got {item}. Make it shorter.")
    return range(first, last + 1)


def _value(word: str) -> Any:
    """A value as JSON would have it."""
    if word in _WORDS:
        return _WORDS[word]
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def varied(config: RunConfig, variations: Sequence[Variation]) -> list[RunConfig]:
    """The config with every combination of values, those of the last field changing fastest; resolved.

    Raises:
        InputError: If a field is unknown or given twice, a value does not fit it, or there are too many.
    """
    data = config.to_data()
    fields = [(each.part, each.name) for each in variations]
    for part, name in fields:
        _check_field(data, part, name)
        if fields.count((part, name)) > 1:
            raise InputError(f"--vary must name a field once; got {part}.{name} twice.")
    n_runs = math.prod(len(each.values) for each in variations)
    if n_runs > _MOST_RUNS:
        raise InputError(f"--vary must make at most {_MOST_RUNS} runs; got {n_runs}.")
    return [
        _with_values(data, dict(zip(fields, values, strict=True)))
        for values in product(*(each.values for each in variations))
    ]


def changed(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """The config with other values in some of its fields, resolved.

    Args:
        config: Any config.
        changes: By field, such as ``{"train.lr": 0.01}``.

    Raises:
        InputError: If a field is unknown or a value does not fit it.
    """
    data = config.to_data()
    fields = {(part, name): value for (part, _, name), value in ((k.partition("."), v) for k, v in changes.items())}
    for part, name in fields:
        _check_field(data, part, name)
    return _with_values(data, fields)


def _check_field(data: Mapping[str, Any], part: str, name: str) -> None:
    parts = {key: value for key, value in data.items() if isinstance(value, Mapping)}
    if part not in parts:
        raise InputError(f"--vary must name a field of {', '.join(parts)}; got {part}.{name}.")
    known = [key for key in parts[part] if (part, key) != ("task", "name")]
    if name not in known:
        raise InputError(f"--vary: {unknown(f'field of {part}', name, known)}")


def _with_values(data: Mapping[str, Any], values: Mapping[tuple[str, str], Any]) -> RunConfig:
    """The config that the data describe with these values."""
    changed = dict(data)
    for (part, name), value in values.items():
        changed[part] = {**changed[part], name: value}
    try:
        return run_config_from_data(changed).resolved()
    except InputError as error:
        told = ", ".join(f"{part}.{name}={value}" for (part, name), value in values.items())
        single = [
            f" Separate its numbers by spaces: --vary '{part}.{name}={' '.join(map(str, data[part][name]))}'."
            for (part, name), value in values.items()
            if isinstance(data[part].get(name), list | tuple) and not isinstance(value, list)
        ]
        raise InputError(f"--vary {told}: {error}{''.join(single)}") from error


def differing(configs: Sequence[RunConfig]) -> dict[str, list[Any]]:
    """The fields in which configs differ, with the value of each config."""
    flat = [_flat(config.to_data()) for config in configs]
    names = {name: None for each in flat for name in each}
    columns = {name: [each.get(name) for each in flat] for name in names}
    return {name: column for name, column in columns.items() if any(value != column[0] for value in column)}


def _flat(data: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all fields by part and name."""
    parts = {part: fields for part, fields in data.items() if isinstance(fields, Mapping)}
    return {f"{part}.{name}": value for part, fields in parts.items() for name, value in fields.items()}
