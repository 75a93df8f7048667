"""Do two predictors let the same labels count? Needs no read-out and no fresh queries."""

from einops import einsum
from jaxtyping import Float
from torch import Tensor

from workbench.agreement.scores import PromptScores, cosines, relative_distances

Influence = Float[Tensor, "... batch context example"]


def influence_cosine(a: Influence, b: Influence) -> PromptScores:
    """Cosine of the vectors d prediction_i / d y_j over the examples j of each prefix i; in [-1, 1].

    Of an algorithm that is linear in the labels the vector is its row of the hat matrix, so that agreement at every
    prefix means the same algorithm on these inputs, whatever the labels: also labels that no w gives, of which a model
    trained without noise has never seen any once there are more than d examples. See `response_cosine`.

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


def response_cosine(a: Influence, b: Influence, xs: Float[Tensor, "batch example d_input"]) -> PromptScores:
    """Cosine of the vectors d prediction_i / d w, by which the labels of all examples follow from w; in [-1, 1].

    The part of influence that concerns labels y = w . x: X^T times the influence, for least squares of d examples or
    more the query itself.

    Args:
        a: Influence of every label on every prediction.
        b: That of the other predictor; leading axes broadcast.
        xs: Inputs of the whole prompts.
    """
    return PromptScores.of(cosines(_response(a, xs), _response(b, xs)))


def response_distance(a: Influence, b: Influence, xs: Float[Tensor, "batch example d_input"]) -> PromptScores:
    """|a - b| / |b| of the vectors d prediction_i / d w: 0 means the same, 1 is that of silence.

    Args:
        a: Influence of every label on every prediction.
        b: That of the other predictor, the yardstick; leading axes broadcast.
        xs: Inputs of the whole prompts.
    """
    return PromptScores.of(relative_distances(_response(a, xs), _response(b, xs)))


def _response(influence: Influence, xs: Float[Tensor, "batch example d_input"]) -> Float[Tensor, "..."]:
    axes = "... batch context example, batch example d_input -> ... batch context d_input"
    return einsum(influence.double(), xs.double(), axes)
