"""Line by line, on any device."""

import ctypes
from collections.abc import Callable
from contextlib import suppress

from workbench.training.config import RunConfig
from workbench.training.engines.record import Engine
from workbench.training.program import Program, as_it_is

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Options of glibc's mallopt."""


def obstacle(config: RunConfig) -> str:  # noqa: ARG001  # it runs everything
    """None."""
    return ""


def prepare(program: Program) -> Callable[[], None]:
    """The update itself."""
    if program.device.type == "cpu":
        _keep_freed_memory()
    return program.update


def _keep_freed_memory() -> None:
    """Have the C library keep up to 512 MiB of what is freed, for the next update.

    Left alone, glibc gives large blocks back and asks for them again at every update: a page fault for each 4 KiB,
    5 to 10 % of an update of a small model, now and then several times as much. Other C libraries have no such call.
    """
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 32 * 2**20)
        mallopt(_TRIM_THRESHOLD, 512 * 2**20)


EAGER = Engine("eager", "Line by line", obstacle, as_it_is, prepare)
