"""What can be wrong with input: one exception, one sentence."""

from collections.abc import Iterable


class InputError(ValueError):
    """Wrong input, told in one line: the name, the rule, the value and the way out.

    The command line prints it and leaves with status 2; the app shows it as a sentence.
    """


def refuse_faults(faults: Iterable[str]) -> None:
    """Raise one `InputError` that holds all faults of a config, or return if there is none."""
    told = [fault.rstrip(".") for fault in faults if fault]
    if told:
        raise InputError("; ".join(told) + ".")


def must(name: str, rule: str, value: object, holds: bool, way_out: str = "") -> str:
    """The fault "<name> must <rule>; got <value>" with its way out, or "" where the rule holds."""
    if holds:
        return ""
    return f"{name} must {rule}; got {value!r}" + (f" ({way_out})" if way_out else "")


class FailedElsewhere(RuntimeError):
    """Another process of the same work has failed."""


class ProcessGone(FailedElsewhere):
    """Another process of the same work is gone, or does not answer.

    Attributes:
        told_here: Whether this process is the one to say so.
    """

    def __init__(self, message: str, *, told_here: bool = False) -> None:
        super().__init__(message)
        self.told_here = told_here
