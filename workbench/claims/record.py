"""A published statement as data, and how it is checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

MET: Literal["met"] = "met"
CONTESTED: Literal["contested"] = "contested"
NOT_RUN: Literal["not run"] = "not run"


@dataclass(frozen=True)
class Measurement:
    """What was found.

    Attributes:
        measured: The measured value with its interval, as text for people.
        value: The number, or None where there is none to give.
        ci: Its 95% interval over prompts, or None.
        met: Whether the statement holds here.
        evidence: What it rests on, one sentence each.
    """

    measured: str
    value: float | None
    ci: tuple[float, float] | None
    met: bool
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class Claim:
    """One published statement.

    Attributes:
        name: Its id, ``paper/what``.
        paper: Registry key of the paper.
        citation: Where to read it.
        statement: The claim in one sentence.
        published: The published value with its setting.
        recipes: For each preset that can test it, the task.
        check: From an agreement record to what was found.
    """

    name: str
    paper: str
    citation: str
    statement: str
    published: str
    recipes: Mapping[str, str]
    check: Callable[[Mapping[str, Any]], Measurement]
