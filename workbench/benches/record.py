"""What a benchmark is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One comparison, measured in one run.

    Attributes:
        name: What was timed.
        ours_ms: Milliseconds of ours.
        reference: What it is compared with.
        reference_ms: Milliseconds of that.
    """

    name: str
    ours_ms: float
    reference: str
    reference_ms: float

    @property
    def ratio(self) -> float:
        """Above 1 means ours is faster."""
        return self.reference_ms / self.ours_ms


@dataclass(frozen=True)
class Bench:
    """One table of docs/performance.md.

    Attributes:
        name: Registry name.
        help: What it times, in one line.
        run: Measures; takes a callback for progress notes.
    """

    name: str
    help: str
    run: Callable[[Callable[[str], None]], Sequence[Row]]
