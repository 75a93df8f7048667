"""One line of theory against measurement."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from workbench.metrics import Interval


@dataclass(frozen=True)
class Row:
    """A quantity by theory and as measured.

    Attributes:
        quantity: Name for programs.
        label: Name for people, with unit or range.
        theory: What theory says.
        measured: What the model does; None where it cannot be measured.
        ci: 95% interval, bootstrap over blocks of prompts; None for what weights alone say.
        controls: The same quantity of things that theory does not describe, by name.
        note: Why nothing was measured, or what to mind; "" for nothing.
    """

    quantity: str
    label: str
    theory: float | None
    measured: float | None
    ci: Interval | None = None
    controls: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
