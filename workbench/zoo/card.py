"""What is written on the card of a model of the zoo."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from workbench.configs import is_count

SCHEMA = "mesascope/zoo-card/1"


@dataclass(frozen=True)
class Card:
    """One model of the zoo.

    Attributes:
        name: What it is asked for by.
        task: Registry name of the task that it was trained on.
        n_params: Its parameters.
        bytes: Size of its weights file, in float16.
        sha256: Checksum of that file.
        recipe: The config of the run that made it; trains it anew.
        measured: What it was measured to do when it was added.
        data: The law of its prompts, in words.
        notes: What else is worth knowing.
        trained: The record of where and by what it was trained.
        over_training: Checksum of the file with its agreement at many checkpoints, which do not come along; None
            without one.
    """

    name: str
    task: str
    n_params: int
    bytes: int
    sha256: str
    recipe: Mapping[str, Any]
    measured: Mapping[str, Any]
    data: str
    notes: str
    trained: Mapping[str, Any] = field(repr=False)
    over_training: str | None = None

    @property
    def step(self) -> int:
        """Updates that it has had."""
        return self.measured["checkpoint"]


def card_from_data(data: Mapping[str, Any]) -> Card:
    """The card that a document describes.

    Raises:
        ValueError: If it describes none.
    """
    names = [f.name for f in fields(Card) if f.default is MISSING]
    if data.keys() - {"over_training"} != set(names):
        raise ValueError(f"it must have the entries {', '.join(names)}")
    kinds = {"name": str, "task": str, "sha256": str, "data": str, "notes": str}
    kinds |= {"recipe": dict, "measured": dict, "trained": dict}
    wrong = [name for name, kind in kinds.items() if not isinstance(data[name], kind)]
    wrong += [name for name in ("n_params", "bytes") if not is_count(data[name])]
    wrong += [] if isinstance(data.get("over_training"), str | None) else ["over_training"]
    if not wrong and not is_count(data["measured"].get("checkpoint"), 0):
        wrong = ["measured"]
    if wrong:
        raise ValueError(f"its {', '.join(wrong)} cannot be so")
    return Card(**data)
