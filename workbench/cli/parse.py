"""Arguments through tyro, with errors in one line."""

import contextlib
import io
import os
import re
from collections.abc import Sequence
from typing import TypeVar

from workbench.cli.record import Verb
from workbench.errors import InputError

T = TypeVar("T")

_FURNITURE = re.compile(r"[│╭╮╰╯─]|^-+$")


def default_root() -> str:
    """The runs folder: MESASCOPE_RUNS, or ``runs`` here."""
    return os.environ.get("MESASCOPE_RUNS", "runs")


def parse(cls: type[T], arguments: Sequence[str], verb: str, about: str) -> T:
    """The arguments of a command as a record.

    Raises:
        InputError: If they do not fit; one line with tyro's suggestion.
        SystemExit: With status 0, after printing the help text.
    """
    import tyro

    if {"-h", "--help"} & set(arguments):
        tyro.cli(cls, prog=f"mesascope {verb}", description=about, args=["--help"])
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
            return tyro.cli(cls, prog=f"mesascope {verb}", args=list(arguments))
    except SystemExit:
        raise InputError(one_line(told.getvalue(), verb)) from None


def one_line(box: str, verb: str) -> str:
    """Tyro's boxed message as one line: what is wrong, the first suggestion, where to read more."""
    lines = [_FURNITURE.sub("", line.strip()).strip() for line in box.splitlines()]
    lines = [line for line in lines if line and not set(line) <= {"-"}]
    told: list[str] = []
    for position, line in enumerate(lines[1:], 1):
        if line.startswith(("Argument helptext", "For full helptext")):
            break
        if line.startswith("Perhaps you meant"):
            told.append(f"Perhaps you meant {lines[position + 1].split()[0]}?")
            break
        told.append(line)
    return f"{' '.join(told)} (see mesascope {verb} --help)"


def take_run(arguments: Sequence[str], verb: Verb) -> tuple[str, list[str]]:
    """The leading RUN and the other arguments; a lone ``--help`` goes on to the options' help text.

    Raises:
        InputError: If there is no RUN.
    """
    if {"-h", "--help"} & set(arguments):
        return "", ["--help"]
    if not arguments or arguments[0].startswith("-"):
        raise InputError(f"{verb.name} needs a RUN: mesascope {verb.name} {verb.usage}.")
    return arguments[0], list(arguments[1:])
