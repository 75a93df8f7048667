"""Literal registries: name to record, known names listed when a name is unknown."""

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Protocol, TypeVar, runtime_checkable

from workbench.errors import InputError


@runtime_checkable
class Named(Protocol):
    """Anything with a registry name."""

    @property
    def name(self) -> str:
        """The name that users type and that files hold."""
        ...


T = TypeVar("T")


def by_name(*records: T) -> Mapping[str, T]:
    """The records under their names, in the order given.

    Raises:
        ValueError: If two records share a name.
    """
    table: dict[str, T] = {}
    for record in records:
        name = record.name  # type: ignore[attr-defined]  # records and record classes alike
        if name in table:
            raise ValueError(f"{name!r} is registered twice; give one of the two another name.")
        table[name] = record
    return MappingProxyType(table)


def find(registry: Mapping[str, T], name: object, kind: str) -> T:
    """The record called ``name``.

    Raises:
        InputError: If there is none; the message lists the known names.
    """
    if not isinstance(name, str) or name not in registry:
        raise InputError(unknown(kind, name, registry))
    return registry[name]


def is_known(registry: Mapping[str, T], name: object) -> bool:
    """Whether there is a record called ``name``, which may be anything."""
    return isinstance(name, str) and name in registry


def unknown(kind: str, name: object, known: object) -> str:
    """One line saying that ``name`` is not a known ``kind``, with the nearest and all known names."""
    names = [str(k) for k in known]  # type: ignore[attr-defined]
    close = get_close_matches(str(name), names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    listed = ", ".join(names) if names else "none"
    return f"Unknown {kind} {name!r}.{hint} Known: {listed}."
