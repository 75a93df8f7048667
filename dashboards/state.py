"""What a page shows, as it stands in the query string of its address."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

RAW, FINAL_NORM = "raw", "final_norm"
_LONGEST = 2000


@dataclass(frozen=True)
class PageState:
    """What is chosen; None where nothing is.

    Attributes:
        run: Name of a run.
        checkpoint: Its step.
        reading: ``raw``, or ``final_norm`` for layers read through the model's final norm.
        family: Algorithm, by registry name.
        layer: 0 is the embedding.
        measure: A name from ``MEASURES``.
        region: Name of a region of context positions.
        scale: ``log`` or ``linear``.
        head: An attention head as ``L1H0``: its layer and its place, both counted from 0.
        score: Name of a score of heads.
        prompt: Number of a prompt, from 1.
        model: Name of a language model; where it is chosen, the page of heads is about it and not about the run.
        record: Key of a head record of that model.
        study: Key of a probe study.
        method: How was probed.
        component: What was read.
        place: Token that was read, or ``all``.
        target: What was looked for.
        steered: Target, examples seen and tokens of a steering study.
    """

    run: str | None = None
    checkpoint: int | None = None
    reading: str | None = None
    family: str | None = None
    layer: int | None = None
    measure: str | None = None
    region: str | None = None
    scale: str | None = None
    head: str | None = None
    score: str | None = None
    prompt: int | None = None
    model: str | None = None
    record: str | None = None
    study: str | None = None
    method: str | None = None
    component: str | None = None
    place: str | None = None
    target: str | None = None
    steered: str | None = None

    @classmethod
    def of(cls, search: str | None) -> "PageState":
        """The state that a query string holds; what cannot be one is left out."""
        return cls().with_values(asked_in(search))

    @property
    def search(self) -> str:
        """The query string, ``?`` included; empty where nothing is chosen."""
        chosen = {f.name: getattr(self, f.name) for f in fields(self)}
        told = urlencode({key: value for key, value in chosen.items() if value is not None})
        return f"?{told}" if told else ""

    def with_values(self, values: Mapping[str, object]) -> "PageState":
        """The state with some fields as a control gives them: numbers may be texts."""
        changed: dict[str, Any] = {key: None if v is None else _value(key, str(v)) for key, v in values.items()}
        return replace(self, **changed)


def asked_in(search: str | None) -> dict[str, str]:
    """The texts that a query string holds for fields of `PageState`; ``step`` is another word for ``checkpoint``."""
    given = dict(parse_qsl((search or "")[:_LONGEST].lstrip("?")))
    given = {"checkpoint": given["step"], **given} if "step" in given else given
    return {f.name: given[f.name] for f in fields(PageState) if f.name in given}


def _value(key: str, text: str) -> str | int | None:
    if key not in ("checkpoint", "layer", "prompt"):
        return text
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None
