"""Files that survive ``kill -9`` and tell when they were changed: atomic writes, checked JSON."""

import hashlib
import json
import math
import os
import re
import shutil
import threading
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from workbench.configs import canonical_json, no_nan
from workbench.errors import InputError

TEMPORARY = ".tmp-"
"""Prefix of everything half-written; nothing reads such names and ``sweep`` removes them."""
_WRITER = re.compile(re.escape(TEMPORARY) + r"(\d+)-(\d+)-")


def aside(path: Path) -> Path:
    """Where this thread writes what will become ``path``."""
    return path.with_name(f"{TEMPORARY}{os.getpid()}-{threading.get_native_id()}-{path.name}")


def write_bytes(path: Path, data: bytes) -> None:
    """Write the whole file or leave the old one: temporary file, fsync, replace."""
    temporary = aside(path)
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a document with its own checksum in field ``sha256``; NaN becomes null."""
    document = no_nan(dict(data))
    document["sha256"] = _checksum(document)
    write_bytes(path, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """The document that ``write_json`` wrote, without its checksum.

    Raises:
        InputError: If the file is missing, not JSON, or not what was written.
    """
    data = read_object(path)
    found = data.pop("sha256", None)
    if found != _checksum(data):
        raise InputError(f"{path} must match its checksum; it was changed or damaged. Restore or delete it.")
    return data


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object without checksum, as people write them.

    Raises:
        InputError: If the file is missing or holds anything else.
    """
    try:
        data = json.loads(path.read_bytes(), parse_constant=_refuse_constant, parse_float=_finite)
    except OSError as error:
        raise InputError(f"{path} must be readable; {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} must be JSON; it is truncated or damaged ({error}).") from error
    if not isinstance(data, dict):
        raise InputError(f"{path} must hold a JSON object; got {type(data).__name__}.")
    return data


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is no float64")
    return number


def _checksum(data: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(data).encode()).hexdigest()


def sweep(folder: Path) -> None:
    """Remove what interrupted writes left behind; what a living process is writing stays."""
    for leftover in folder.glob(f"{TEMPORARY}*"):
        if not _is_abandoned(leftover.name):
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _is_abandoned(name: str) -> bool:
    """Whether ``aside`` gave this name to a process or thread that is gone, or to this very thread."""
    writer = _WRITER.match(name)
    if writer is None:
        return False
    pid, thread = int(writer[1]), int(writer[2])
    if pid != os.getpid():
        return not psutil.pid_exists(pid)
    return thread not in {t.native_id for t in threading.enumerate() if t is not threading.current_thread()}


def json_line(data: Mapping[str, Any]) -> str:
    """One line with a crc32 of the rest in field ``crc``; NaN and infinities stay, as JSON extended by them."""
    return json.dumps({**data, "crc": _crc(data)}) + "\n"


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The lines that ``json_line`` made. A torn last line, one without its end, is dropped, and only that one.

    Raises:
        InputError: If any other line is damaged; the message has its 1-based number.
    """
    try:
        *lines, rest = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{path} must be readable; {error.strerror}.") from error
    found = [_checked_line(line) for line in lines]
    if None in found:
        number = found.index(None) + 1
        raise InputError(f"{path} line {number} must match its checksum; it was changed or damaged. Delete that line.")
    return [line for line in (*found, _checked_line(rest)) if line is not None]


def _checked_line(line: bytes) -> dict[str, Any] | None:
    """What the line says, or None if it is not what was written."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) and data.pop("crc", None) == _crc(data) else None


def _crc(data: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(data, sort_keys=True).encode()):08x}"
