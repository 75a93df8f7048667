"""Arguments through tyro, with errors in one line."""

import contextlib
import io
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

from workbench.cli.record import Verb
from workbench.errors import InputError

T = TypeVar("T")

_UNKNOWN = "Unrecognized options: "
_FURNITURE = re.compile(r"[│╭╮╰╯─]|^-+$")


def default_root() -> str:
    """The runs folder: MESASCOPE_RUNS, or ``runs`` here."""
    return os.environ.get("MESASCOPE_RUNS", "runs")


def parse(cls: type[T], arguments: Sequence[str], verb: str, about: str, *, repeated: Collection[str] = ()) -> T:
    """The arguments of a command as a record.

    Args:
        cls: The record.
        arguments: Words of the command line.
        verb: Name of the command.
        about: What it does, for the help text.
        repeated: Options that may be given several times.

    Raises:
        InputError: If they do not fit, or an option is given twice; one line with tyro's suggestion.
        SystemExit: With status 0, after printing the help text.
    """
    import tyro

    if {"-h", "--help"} & set(arguments):
        tyro.cli(cls, prog=f"mesascope {verb}", description=about, args=["--help"])
    for name, n in Counter(options_given(arguments)).items():
        if n > 1 and name not in repeated:
            raise InputError(f"--{name} must be given once, with all that it takes; got it {n} times.")
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
            return tyro.cli(cls, prog=f"mesascope {verb}", args=list(arguments))
    except SystemExit:
        line = one_line(told.getvalue(), verb)
        raise InputError(_switch_with_value(arguments, line) or line) from None


def options_given(arguments: Sequence[str]) -> Iterator[str]:
    """The options among the words, as often as they stand there, without dashes before and ``no-`` of switches."""
    for word in arguments:
        if word.startswith("--"):
            yield "".join(_named(word.partition("=")[0]))


def _named(option: str) -> tuple[str, str]:
    """Part and name that an option sets: ``("model.", "causal")`` for ``--model.no-causal``."""
    part, dot, name = option.removeprefix("--").replace("_", "-").rpartition(".")
    return f"{part}{dot}", name.removeprefix("no-")


def _switch_with_value(arguments: Sequence[str], line: str) -> str:
    """What to write instead of a switch with a value, such as ``--model.causal False``; "" if that is not the fault."""
    if not line.startswith(_UNKNOWN):
        return ""
    unknown = line.removeprefix(_UNKNOWN).partition(" (see ")[0].split(", ")
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--") else [word])]
    if words.count(unknown[0]) > unknown.count(unknown[0]):  # some option does take it
        return ""
    for option, value in pairwise(words):
        if option.startswith("--") and option not in unknown and value == unknown[0]:
            part, name = _named(option)
            return f"{option} must stand without a value; got {value}. Write --{part}{name} or --{part}no-{name}."
    return ""


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
