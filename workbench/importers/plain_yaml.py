"""YAML of plain values, from anybody: short, without aliases, and nothing in it is run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from workbench.errors import InputError
from workbench.files import open_file

_LONGEST = 2**16
"""Bytes of a config: a hundred times what programs write."""
_DEEPEST = 20
"""Levels of nesting; what reads YAML takes time as the square of them."""


def read_yaml(path: Path) -> tuple[str, Mapping[str, Any]]:
    """The text of a file and the named values in it.

    Raises:
        InputError: If it is missing, too long, or anything else than named values.
    """
    try:
        with open_file(path) as file:
            content = file.read(_LONGEST + 1)
    except OSError as error:
        raise InputError(f"{path} must be readable; {error.strerror}.") from error
    if len(content) > _LONGEST:
        raise InputError(f"{path} must have at most {_LONGEST} bytes; it has more.")
    try:
        text = content.decode()
        _check_shape(text)
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        told = " ".join(str(error).split())[:300]
        raise InputError(f"{path} must be YAML of plain values; nothing in it was run ({told}).") from error
    if not isinstance(data, Mapping):
        raise InputError(f"{path} must hold named values; got {type(data).__name__}.")
    return text, cast(Mapping[str, Any], data)


def _check_shape(text: str) -> None:
    """Refuse what would unfold to more than is written, or nests deeper than any config."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it has aliases; write their values out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST:
            raise ValueError(f"it nests more than {_DEEPEST} levels deep")
