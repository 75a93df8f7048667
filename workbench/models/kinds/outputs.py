"""What the model says at a position."""

from dataclasses import dataclass

from workbench.registry import by_name


@dataclass(frozen=True)
class OutputKind:
    """One read-out.

    Attributes:
        name: Registry name.
        label: Name for people.
        over_vocabulary: Whether there is one output per vocabulary entry; otherwise there is a single number.
    """

    name: str
    label: str
    over_vocabulary: bool


OUTPUTS = by_name(
    OutputKind("scalar", "One number", over_vocabulary=False),
    OutputKind("logits", "Logits over the vocabulary", over_vocabulary=True),
)
