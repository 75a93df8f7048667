"""What the three memories of an induction circuit recall, read off the weights (Bietti et al. 2023, section 4.2).

Each memory is a matrix that should answer a question about every token or position with itself: which token does the
late head write for the one that it attends to (copying), which token does its query look for in what the early head
wrote (matching), and which position does the early head attend to (previous).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.folding import FoldedWeights


@dataclass(frozen=True)
class Recall:
    """Share of questions answered rightly, in [0, 1].

    Attributes:
        copying: Of tokens v: the highest logit that W_V W_O of the late head gives from v is v's (``wo1``).
        matching: Of tokens q: the key that q's query likes most, of those made of what the early head writes of each
            token, is q's (``wk1``).
        previous: Of positions i: the one that the query of position i + 1 likes most in the early head is i (``wk0``).
        chance_token: Of a guess among tokens.
        chance_position: Of a guess among positions.
    """

    copying: float
    matching: float
    previous: float
    chance_token: float
    chance_position: float


def recall(
    weights: FoldedWeights, positions: Float[Tensor, "pos d_model"], early: tuple[int, int], late: tuple[int, int]
) -> Recall:
    """Recall of one early and one late head.

    Args:
        weights: Of the model.
        positions: Learned vectors of the positions.
        early: Layer and head that should attend to the previous position, 0-based.
        late: Layer and head that should attend to what followed the same token.
    """
    tokens, places = weights.W_E, positions.double().cpu()
    written = tokens @ weights.W_V[late] @ weights.W_O[late] @ weights.W_U
    keys = tokens @ weights.W_V[early] @ weights.W_O[early] @ weights.W_K[late]
    scores = (tokens @ weights.W_Q[late]) @ keys.T
    of_places = (places[1:] @ weights.W_Q[early]) @ (places @ weights.W_K[early]).T
    return Recall(_own(written), _own(scores), _own(of_places), 1 / len(tokens), 1 / len(places))


def _own(scores: Float[Tensor, "question answer"]) -> float:
    """How often the highest score of a row is at its own number."""
    return (scores.argmax(1) == torch.arange(len(scores))).double().mean().item()
