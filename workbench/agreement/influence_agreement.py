"""Do two predictors let the same labels count? Needs no read-out and no fresh queries."""

from jaxtyping import Float
from torch import Tensor

from workbench.agreement.scores import PromptScores, cosines, relative_distances

Influence = Float[Tensor, "... batch context example"]


def influence_cosine(a: Influence, b: Influence) -> PromptScores:
    """Cosine of the vectors d prediction_i / d y_j over the examples j of each prefix i; in [-1, 1].

    Of an algorithm that is linear in the labels the vector is its row of the hat matrix, so that agreement at every
    prefix means the same algorithm on these inputs, whatever the labels.

    Args:
        a: Influence of every label on every prediction.
        b: That of the other predictor; leading axes broadcast.

    Source:
        Hoaglin and Welsch 1978, The hat matrix in regression and ANOVA, for the rows; the comparison is this program's.
    """
    return PromptScores.of(cosines(a, b))


def influence_distance(a: Influence, b: Influence) -> PromptScores:
    """|a - b| / |b| of the vectors d prediction_i / d y_j of each prefix i: 0 means the same, 1 is that of silence.

    Args:
        a: Influence of every label on every prediction.
        b: That of the other predictor, the yardstick; leading axes broadcast.
    """
    return PromptScores.of(relative_distances(a, b))
