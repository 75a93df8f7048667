"""Which tokens are read, and how many examples each has seen."""

from dataclasses import dataclass

from probes.config import ProbeConfig
from workbench.errors import InputError


@dataclass(frozen=True)
class Place:
    """A token that is read.

    Attributes:
        position: Where it stands in a causal prompt, 0-based: x_i at 2i, y_i at 2i + 1.
    """

    position: int

    @property
    def example(self) -> int:
        """The example that it belongs to, 0-based."""
        return self.position // 2

    @property
    def is_answer(self) -> bool:
        """Whether it is a y token, which has seen its own example whole."""
        return self.position % 2 == 1

    @property
    def n_seen(self) -> int:
        """Examples that it has seen whole."""
        return self.example + self.is_answer


@dataclass(frozen=True)
class Group:
    """The tokens that one probe reads.

    Attributes:
        places: Those tokens, one for most readings.
    """

    places: tuple[Place, ...]

    @property
    def n_context(self) -> int | None:
        """Examples seen, or None where that differs."""
        return self.places[0].n_seen if len(self.places) == 1 else None

    @property
    def position(self) -> int | None:
        """The token, or None for several."""
        return self.places[0].position if len(self.places) == 1 else None


def groups(config: ProbeConfig, d_input: int, n_context: int, *, causal: bool) -> tuple[Group, ...]:
    """The probes' tokens under these settings.

    The last y of a prompt is read only if asked for by number: nothing in training ever looks at it.

    Args:
        config: Settings.
        d_input: Size of x, which the default numbers of examples are multiples of.
        n_context: Examples in a prompt.
        causal: Whether the model is; otherwise the last example always asks, and is never seen.

    Raises:
        InputError: If a number of examples or a position is not in the prompt.
    """
    if config.reading == "last":
        return (Group((Place(2 * n_context - 2),)),)
    has_last_y = causal and config.reading != "query"
    if config.reading == "each":
        end = 2 * n_context - 1
        positions = config.positions or tuple(range(1, end))
        _check("positions", positions, end - 1 + has_last_y, n_context)
        return tuple(Group((Place(position),)) for position in positions)
    most = n_context - 1
    counts = config.n_contexts or default_counts(d_input, most)
    _check("n_contexts", counts or (1,), most + has_last_y, n_context)
    places = tuple(Place(2 * n if config.reading == "query" else 2 * n - 1) for n in counts)
    return (Group(places),) if config.reading == "shared" else tuple(Group((place,)) for place in places)


def default_counts(d_input: int, most: int) -> tuple[int, ...]:
    """d/2, d, 3d/2, 2d examples and as many as there are."""
    wanted = {max(1, factor * d_input // 2) for factor in (1, 2, 3, 4)} | {most}
    return tuple(sorted(n for n in wanted if 0 < n <= most))


def _check(name: str, values: tuple[int, ...], most: int, n_context: int) -> None:
    outside = [value for value in values if value > most]
    if outside:
        raise InputError(f"{name} must be at most {most} in prompts of {n_context} examples; got {outside}.")
