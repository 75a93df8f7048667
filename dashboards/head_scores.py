"""The scores of a head record as app and report show them: what each is called, and where it lies in a record."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Head = Mapping[str, Any]
LABEL_LETTERS = {"previous_token": "P", "duplicate": "D", "induction": "I", "sink": "S", "active_dormant": "A"}
"""What stands for a label where there is little room."""
LABELS = {
    "previous_token": "previous token",
    "duplicate": "duplicate token",
    "induction": "induction",
    "sink": "sink",
    "active_dormant": "active-dormant",
}
KINDS = {"zeroed": "zeroed", "mean_ablated": "mean-ablated", "to_first": "all attention to the first token"}
COMPOSED = {"q": "queries", "k": "keys", "v": "values"}
_ATTENTION = {
    "previous_token": "Previous token: attention on the key one before",
    "duplicate": "Duplicate token: attention on earlier copies of the token",
    "induction": "Induction: attention on what came after earlier copies",
    "induction_nearest": "Induction, nearest: after the last copy alone",
}


@dataclass(frozen=True)
class HeadScore:
    """One score that every head has.

    Attributes:
        name: As in an address.
        label: For people.
        unit: For a colour bar.
        scale: ``share`` from 0 to 1, ``signed`` around chance, or ``ratio``, drawn by its logarithm around chance 1.
        path: Keys of the value in a head's part of a record.
        chance: Keys of its chance level under ``chance``, or the level itself.
        error: Keys of its standard error there, or None where there is none.
    """

    name: str
    label: str
    unit: str
    scale: str
    path: tuple[str, ...]
    chance: tuple[str, ...] | float
    error: tuple[str, ...] | None = None

    def of(self, head: Head) -> float | None:
        """The score."""
        return _at(head, self.path)

    def chance_of(self, head: Head) -> float | None:
        """What it is where a head does nothing in particular."""
        return _at(head, ("chance", *self.chance)) if isinstance(self.chance, tuple) else self.chance

    def error_of(self, head: Head) -> float | None:
        """Its standard error over prompts."""
        return None if self.error is None else _at(head, self.error)


def _at(told: Any, path: tuple[str, ...]) -> float | None:
    for key in path:
        told = told.get(key) if isinstance(told, Mapping) else None  # what was not measured is not there
    return float(told) if isinstance(told, int | float) and not math.isnan(told) else None


def scores_of(record: Mapping[str, Any]) -> dict[str, HeadScore]:
    """All scores that a record has, by name, those of every domain apart.

    Args:
        record: A head record.
    """
    heads = record["heads"]
    found = [
        *(_attention(name, label) for name, label in _ATTENTION.items()),
        HeadScore("copying", "Copying: OV eigenvalues", "copying", "signed", ("copying",), ("copying",)),
        *(each for name in record["domains"] for each in _of_domain(name)),
    ]
    return {each.name: each for each in found if any(each.of(head) is not None for head in heads)}


def _attention(name: str, label: str) -> HeadScore:
    return HeadScore(name, label, "attention", "share", (name,), (name,), ("standard_errors", name))


def _of_domain(domain: str) -> list[HeadScore]:
    def by(name: str) -> tuple[str, str]:
        return (f"{name}_by_domain", domain)

    losses = [
        HeadScore(
            f"{kind}.{domain}",
            f"Loss change, {told}, {domain}",
            "nats",
            "signed",
            ("loss_changes", kind, domain, "mean"),
            0.0,
            ("loss_changes", kind, domain, "standard_error"),
        )
        for kind, told in KINDS.items()
    ]
    sink, entropy = by("sink_mass"), by("entropy")
    return [
        HeadScore(
            f"sink_mass.{domain}",
            f"Sink mass: attention on the first token, {domain}",
            *("attention", "share", sink, sink, ("standard_errors", *sink)),
        ),
        HeadScore(
            f"entropy.{domain}",
            f"Entropy of attention over that of uniform, {domain}",
            *("entropy", "share", entropy, 1.0, ("standard_errors", *entropy)),
        ),
        HeadScore(
            f"value_ratio.{domain}",
            f"Value ratio: the first token's over others', {domain}",
            *("ratio", "ratio", by("value_ratio"), 1.0),
        ),
        *losses,
    ]


def sink_positions(record: Mapping[str, Any]) -> set[int]:
    """Positions on which some head rests in some prompt: attention received over epsilon.

    Args:
        record: A head record.
    """
    return {each["position"] for each in record["sink_tokens"] if each["sink_share"] > 0}


def head_name(head: Head) -> str:
    """A head in short: ``L1H0``, both counted from 0."""
    return f"L{head['layer']}H{head['head']}"


def head_of(record: Mapping[str, Any], name: str | None) -> Head:
    """The head of that name; that whose loss change is largest where there is none of it.

    Args:
        record: A head record.
        name: As `head_name` gives it, or None.
    """
    heads = record["heads"]
    return next((head for head in heads if head_name(head) == name), None) or max(heads, key=_worth)


def _worth(head: Head) -> float:
    changes = head.get("loss_change_by_domain") or {}
    return max((each for each in changes.values() if each is not None), default=0.0)
