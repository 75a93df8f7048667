"""What files held when they were last read, so that what has not changed is not read again."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from workbench.errors import InputError

T = TypeVar("T")
Stamp = tuple[int, int] | None


def stamp_of(path: str | Path) -> Stamp:
    """When a file was last written, in nanoseconds, and its size; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


class FileCache:
    """What loaders made of files, or why they could not."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[Path, tuple[Stamp, Any]] = {}

    def read(self, path: Path, load: Callable[[Path], T]) -> T:
        """What ``load`` returned for the file as it is now; called again once the file has changed.

        Raises:
            InputError: If ``load`` did.
        """
        stamp = stamp_of(path)
        with self._lock:
            kept = self._kept.get(path)
        if kept is None or kept[0] != stamp:
            try:
                value: Any = load(path)
            except InputError as error:
                value = error
            kept = (stamp, value)
            with self._lock:
                self._kept[path] = kept
        if isinstance(kept[1], InputError):
            raise InputError(str(kept[1]))
        return kept[1]
