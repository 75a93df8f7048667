"""What steering and erasing found."""

from dataclasses import dataclass

from probes.follows import Followed, Lost


@dataclass(frozen=True)
class Steered:
    """What predictions do when the decoded weights are replaced by those of another prompt.

    Attributes:
        followed: How far they follow.
        random: Mean slope when the stream is moved as far along random directions.
        random_range: The central 95% of draws.
        p_value: Share of draws with as high a slope, the site itself counted as one.
        n_tokens: Tokens moved: those of the set whose probe decodes the target well enough.
        length: Root mean square whitened length of the move, over that between the streams of two prompts; well above
            1 the stream is unlike any that the model knows.
    """

    followed: Followed
    random: float
    random_range: tuple[float, float]
    p_value: float
    n_tokens: int
    length: float


@dataclass(frozen=True)
class Erased:
    """What predictions lose when all that is linear in the target is taken out of the stream (LEACE).

    Attributes:
        rank: Directions taken out.
        error: Squared error of the predictions, over d.
        to_ols: Squared distance of the predictions to those of least squares, over d.
        error_before: The error with the stream as it is.
        to_ols_before: The distance with the stream as it is.
    """

    rank: int
    error: Lost
    to_ols: Lost
    error_before: float
    to_ols_before: float


@dataclass(frozen=True)
class SteeringRow:
    """One target at one layer and set of tokens.

    Attributes:
        target: What is decoded.
        n_context: Examples that the query has seen.
        tokens: Name of the set of tokens.
        positions: Those tokens, 0-based.
        layer: 0 is the embedding, l the stream after block l.
        r2: Held-out score of the probes that are steered, the mean over tokens.
        steered: None if the target has another size than x, or no token's probe decodes it well enough.
        untrained: How far predictions of the model before training follow probes of its own; None where those decode
            too little, or no such model was given.
        erased: Losses.
    """

    target: str
    n_context: int
    tokens: str
    positions: tuple[int, ...]
    layer: int
    r2: float
    steered: Steered | None
    untrained: Followed | None
    erased: Erased
