"""A published statement as data, and how it is checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from workbench.arms import Arm
from workbench.opened import Run

MET: Literal["met"] = "met"
CONTESTED: Literal["contested"] = "contested"
NOT_RUN: Literal["not run"] = "not run"


@dataclass(frozen=True)
class Measurement:
    """What was found.

    Attributes:
        measured: The measured value with its interval, as text for people.
        value: The number, or None where there is none to give.
        ci: Its 95% interval, over prompts or, in a study, over seeds; or None.
        met: Whether the statement holds here.
        evidence: What it rests on, one sentence each.
    """

    measured: str
    value: float | None
    ci: tuple[float, float] | None
    met: bool
    evidence: tuple[str, ...]


Tell = Callable[[str], None]


@dataclass(frozen=True)
class Seen:
    """What was seen of an arm's runs.

    Attributes:
        looks: Of the seeds whose training ended.
        n_seeds: Seeds begun.
    """

    looks: tuple[Mapping[str, Any], ...] = ()
    n_seeds: int = 0


Looks = Mapping[str, Seen]
"""By arm."""


@dataclass(frozen=True)
class Study:
    """Runs that a claim is about, several seeds of several arms.

    Attributes:
        arms: What is trained; none for a claim that is checked without training.
        look: From a run to what is measured of it, kept in the run by whoever measures it.
    """

    arms: tuple[Arm, ...]
    look: Callable[[Run, Tell], Mapping[str, Any]]


@dataclass(frozen=True)
class Claim:
    """One published statement.

    Attributes:
        name: Its id, ``paper/what``.
        paper: Registry key of the paper.
        citation: Where to read it.
        statement: The claim in one sentence.
        published: The published value with its setting.
        check: From an agreement record to what was found; of a study, from ``Looks``.
        recipes: For each preset that can test it, the task; none of a study or of language models.
        of_records: Whether ``check`` takes the head record of a language model instead.
        study: Runs that it is about, where one run's agreement does not tell.
    """

    name: str
    paper: str
    citation: str
    statement: str
    published: str
    check: Callable[[Mapping[str, Any]], Measurement]
    recipes: Mapping[str, str] = field(default_factory=dict)
    study: Study | None = None
    of_records: bool = False
