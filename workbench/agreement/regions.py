"""Ranges of context positions: fewer examples than coordinates, about as many, more."""

from dataclasses import dataclass

from workbench.errors import InputError

NEAR = 1
"""Positions on either side of d that count as near it."""


@dataclass(frozen=True)
class Region:
    """Neighbouring context positions, 0-based; position t has seen t examples.

    Attributes:
        name: ``all``, ``below_d``, ``near_d`` or ``above_d``.
        label: Name for people.
        first: First position.
        last: Last position.
    """

    name: str
    label: str
    first: int
    last: int

    @property
    def positions(self) -> slice:
        """The positions, for indexing."""
        return slice(self.first, self.last + 1)


def regions(
    n_context: int, d_input: int, *, first: int = 1, last: int | None = None, near: int = NEAR
) -> tuple[Region, ...]:
    """All scored positions, then those with t < d, with |t - d| <= ``near``, and with t > d, as far as there are any.

    The one in the middle overlaps both sides: there least squares of noisy labels has infinite mean error, which is
    what to look at medians for.

    Args:
        n_context: Examples in the prompts.
        d_input: Size of x.
        first: First scored position; 0 includes the one without examples.
        last: Last scored position; the last of the prompts if None.
        near: Width of the middle region to either side of d.

    Raises:
        InputError: If the scored positions are not in the prompts.
    """
    last = n_context - 1 if last is None else last
    if not 0 <= first <= last < n_context:
        raise InputError(f"scored positions must lie in 0..{n_context - 1}; got {first}..{last}.")
    found = (
        Region("all", f"{first} <= t <= {last}", first, last),
        Region("below_d", "t < d", first, min(last, d_input - 1)),
        Region("near_d", f"|t - d| <= {near}", max(first, d_input - near), min(last, d_input + near)),
        Region("above_d", "t > d", max(first, d_input + 1), last),
    )
    return tuple(region for region in found if region.first <= region.last)
