"""Where the tokens of a sequence stand: the same for every prompt and every block."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Arrangement:
    """A sequence whose tokens stand where tokens of a plain one do, several at one place if need be.

    Attributes:
        at: Index in the plain sequence of the token whose place each token takes.
        visible: True where the query may attend to the key.
    """

    at: Int[Tensor, " pos"]
    visible: Bool[Tensor, "pos pos"]


@dataclass(frozen=True, eq=False)
class Places:
    """What attention knows of a sequence besides its content.

    Attributes:
        positions: Position ids.
        visible: True where the query may attend to the key.
        bias: Added to the scores, -inf where hidden; None where positions add nothing.
    """

    positions: Int[Tensor, " pos"]
    visible: Bool[Tensor, "pos pos"]
    bias: Float[Tensor, "head pos pos"] | None = None
