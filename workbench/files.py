"""Files that survive ``kill -9`` and tell when they were changed: atomic writes, checked JSON."""

import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
import sys
import threading
import time
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from workbench.configs import canonical_json, no_nan
from workbench.errors import InputError
from workbench.processes import HOST, started

TEMPORARY = ".tmp-"
"""Prefix of everything half-written; nothing reads such names and ``sweep`` removes them."""
_WRITER = re.compile(re.escape(TEMPORARY) + r"([0-9a-f]{8})-(\d+)-(\d+)-")
_HOST_MARK = f"{zlib.crc32(HOST.encode()):08x}"
_CLOCKS_DIFFER = 60.0
"""Seconds by which the clock of a file server may differ from this machine's."""
_LONGEST_WRITE = 24 * 3600.0
"""Seconds after which what another machine was writing counts as abandoned."""
_LONGEST_DOCUMENT = 2**26
"""Bytes of a JSON document: many times what any analysis writes."""
_LONGEST_LINE = 2**20


def aside(path: Path) -> Path:
    """Where this thread writes what will become ``path``."""
    return path.with_name(f"{TEMPORARY}{_HOST_MARK}-{os.getpid()}-{threading.get_native_id()}-{path.name}")


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
    sync(path.parent)


def sync(path: Path) -> None:
    """Make a file's content, or the renames inside a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_file(path: Path) -> BinaryIO:
    """A file to read from; a pipe or a device, at which a reader could wait for ever, raises ``OSError``."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    kind = os.fstat(handle).st_mode
    if stat.S_ISREG(kind):
        return os.fdopen(handle, "rb")
    os.close(handle)
    raise OSError(errno.EISDIR, "Is a directory") if stat.S_ISDIR(kind) else OSError(errno.EINVAL, "Not a file")


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
        with open_file(path) as file:
            content = file.read(_LONGEST_DOCUMENT + 1)
    except OSError as error:
        raise InputError(f"{path} must be readable; {error.strerror}.") from error
    if len(content) > _LONGEST_DOCUMENT:
        raise InputError(f"{path} must have at most {_LONGEST_DOCUMENT} bytes; it has more.")
    try:
        data = json.loads(content, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole)
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


def _whole(text: str) -> int:
    number = int(text)
    if abs(number) > sys.float_info.max:
        raise ValueError(f"a number of {len(text)} digits is no float64")
    return number


def _checksum(data: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(data).encode()).hexdigest()


def sweep(folder: Path) -> None:
    """Remove what interrupted writes left behind; what a living process is writing stays."""
    for leftover in folder.glob(f"{TEMPORARY}*"):
        if not _is_abandoned(leftover):
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _is_abandoned(leftover: Path) -> bool:
    """Whether ``aside`` gave this name to a process or thread that is gone, or to this very thread."""
    writer = _WRITER.match(leftover.name)
    if writer is None:
        return False
    try:
        changed = leftover.stat().st_mtime
    except OSError:  # its writer has just finished
        return False
    host, pid, thread = writer[1], int(writer[2]), int(writer[3])
    if host != _HOST_MARK:
        return changed < time.time() - _LONGEST_WRITE
    began = started(pid)
    if began is None or changed < began - _CLOCKS_DIFFER:  # a recycled id is another process
        return True
    return pid == os.getpid() and thread not in _other_threads()


def _other_threads() -> set[int | None]:
    return {thread.native_id for thread in threading.enumerate() if thread is not threading.current_thread()}


def json_line(data: Mapping[str, Any]) -> str:
    """One line with a crc32 of the rest in field ``crc``; NaN and infinities stay, as JSON extended by them."""
    return json.dumps({**data, "crc": _crc(data)}) + "\n"


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The lines that ``json_line`` made. A torn last line, one without its end, is dropped, and only that one.

    Raises:
        InputError: If any other line is damaged; the message has its 1-based number.
    """
    found: list[dict[str, Any]] = []
    try:
        with open_file(path) as file:
            for line in iter(partial(file.readline, _LONGEST_LINE), b""):
                data = _checked_line(line)
                if data is not None:
                    found.append(data)
                elif line.endswith(b"\n") or len(line) == _LONGEST_LINE:
                    raise InputError(
                        f"{path} line {len(found) + 1} must match its checksum; it was changed or damaged. "
                        "Delete that line."
                    )
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{path} must be readable; {error.strerror}.") from error
    return found


def _checked_line(line: bytes) -> dict[str, Any] | None:
    """What the line says, or None if it is not what was written."""
    data = read_line(line)
    return data if data is not None and data.pop("crc", None) == _crc(data) else None


def read_line(line: bytes) -> dict[str, Any] | None:
    """What the line says, unchecked and with its checksum; None if it is no JSON object."""
    try:
        data = json.loads(line, parse_int=_whole)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _crc(data: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(data, sort_keys=True).encode()):08x}"
