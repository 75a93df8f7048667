"""What a benchmark is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One comparison, measured in one run.

    Attributes:
        name: What was timed.
        ours_ms: Milliseconds of ours.
        reference: What it is compared with.
        reference_ms: Milliseconds of that.
        flops: Operations that it takes at least, where they were counted.
        bytes: Bytes that it moves at least.
    """

    name: str
    ours_ms: float
    reference: str
    reference_ms: float
    flops: int | None = None
    bytes: int | None = None

    @property
    def ratio(self) -> float:
        """Above 1 means ours is faster."""
        return self.reference_ms / self.ours_ms

    @property
    def gflops(self) -> float | None:
        """Billions of counted operations that ours does in a second."""
        return None if self.flops is None else self.flops / self.ours_ms / 1e6


@dataclass(frozen=True)
class Sheet:
    """A table that is not about time.

    Attributes:
        title: Above it.
        columns: Names of the columns.
        rows: Cells, as text.
        remarks: Sentences below it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    remarks: Sequence[str] = ()


@dataclass(frozen=True)
class Findings:
    """What a benchmark found that times nothing.

    Attributes:
        sheets: For people.
        data: The same for programs.
    """

    sheets: Sequence[Sheet]
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Bench:
    """One table of docs/performance.md.

    Attributes:
        name: Registry name.
        help: What it times, in one line.
        run: Measures; takes a callback for progress notes.
        spread: The same in a given number of processes, where the work can be shared out.
    """

    name: str
    help: str
    run: Callable[[Callable[[str], None]], Sequence[Row] | Findings]
    spread: Callable[[Callable[[str], None], int], Sequence[Row] | Findings] | None = None
