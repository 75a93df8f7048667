"""What a command is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Verb:
    """One command.

    Attributes:
        name: What is typed.
        usage: Its arguments, for the overview.
        help: What it does, in one line.
        run: From the arguments after the name to the exit status.
    """

    name: str
    usage: str
    help: str
    run: Callable[[Sequence[str]], int]
