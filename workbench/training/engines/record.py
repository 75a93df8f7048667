"""What an engine is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workbench.training.config import RunConfig
from workbench.training.program import Program


@dataclass(frozen=True)
class Engine:
    """One way to run a program.

    Attributes:
        name: Registry name.
        label: Name for people.
        obstacle: Why it cannot run a config on this machine, or "".
        compiler: Applied to the pieces of the program.
        prepare: From a program to the function that does one update of it.
    """

    name: str
    label: str
    obstacle: Callable[[RunConfig], str]
    compiler: Callable[[Any], Any]
    prepare: Callable[[Program], Callable[[], None]]
