"""The metrics of a run, one checksummed line per logged step: ``metrics.jsonl``.

``RunFolder`` is what others ask.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.configs import is_count
from workbench.errors import InputError
from workbench.files import json_line, open_file, read_json_lines, read_line, write_bytes

METRICS = "metrics.jsonl"
_TAIL = 8192
"""Bytes read from the end for the last line: many times a line's length."""


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Add one line, handed to the system at once."""
    with open(path, "a") as file:
        file.write(json_line(line))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All lines; a torn last one is dropped.

    Raises:
        InputError: If another line is damaged, names no step, or holds anything but numbers.
    """
    lines = read_json_lines(path)
    for number, line in enumerate(lines, 1):
        if not is_count(line.get("step"), at_least=0) or not all(map(_is_number_or_none, line.values())):
            raise InputError(f"{path} line {number} must hold its step and numbers; got {str(line)[:200]}.")
    return lines


def last_line(path: Path) -> dict[str, Any]:
    """The last whole line, from the end of the file alone and unchecked; empty if there is none."""
    try:
        with open_file(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return {}
    return next((line for line in map(read_line, reversed(lines)) if line is not None), {})


def keep_until(path: Path, step: int) -> None:
    """Drop the lines of later steps.

    Raises:
        InputError: As `read_lines`.
    """
    kept = [line for line in read_lines(path) if line["step"] <= step]
    write_bytes(path, "".join(map(json_line, kept)).encode())


def _is_number_or_none(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
