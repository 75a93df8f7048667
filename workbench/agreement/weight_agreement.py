"""SimW, ILWD and sensitivity: do two predictors weigh the query alike?"""

from jaxtyping import Float
from torch import Tensor

from workbench.agreement.scores import PromptScores, cosines

Weights = Float[Tensor, "... batch context d_input"]


def sim_w(a: Weights, b: Weights) -> PromptScores:
    """Cosine of two predictors' induced weights, over prefixes; in [-1, 1].

    Zero weights have no direction: such prefixes are left out, and counted. The published mean counts them as 0, so
    that Newton's method, which says nothing after one example under alpha = 2 / |S S^T|, reaches 39/40 at most; it is
    ``mean * (1 - undefined)``.

    Args:
        a: Induced weights; of an algorithm linear in the query its own.
        b: Those of the other predictor; leading axes broadcast.

    Source:
        Fu et al. 2024, arXiv:2310.17086 (SimW): the mean over t = 1..n of cos(w~_t(A), w~_t(B)).
    """
    return PromptScores.of(cosines(a, b))


def ilwd(a: Weights, b: Weights, d_input: int) -> PromptScores:
    """Squared distance of two predictors' induced weights over d: 0 means the same; in units of w squared.

    Says little where one of the two is not linear in the query: see the linearity beside it.

    Args:
        a: Induced weights; of an algorithm linear in the query its own.
        b: Those of the other predictor; leading axes broadcast.
        d_input: Size of x.

    Source:
        Akyurek et al. 2023, arXiv:2211.15661 (ILWD): E_D |w_A - w_B|^2; divided by d as in their figures.
    """
    return PromptScores.of((a.double() - b.double()).square().sum(-1) / d_input)


def sensitivity_cosine(a: Weights, b: Weights) -> PromptScores:
    """Cosine of two predictors' gradients with respect to the query, at the prompt's own query; in [-1, 1].

    Args:
        a: Gradients at every prefix; of an algorithm linear in the query its weights.
        b: Those of the other predictor; leading axes broadcast.

    Source:
        von Oswald et al. 2023, arXiv:2212.07677, section 4 ("model cos").
    """
    return PromptScores.of(cosines(a, b))


def sensitivity_distance(a: Weights, b: Weights) -> PromptScores:
    """Distance of two predictors' gradients with respect to the query: 0 means the same; in units of w.

    Args:
        a: Gradients at every prefix; of an algorithm linear in the query its weights.
        b: Those of the other predictor; leading axes broadcast.

    Source:
        von Oswald et al. 2023, arXiv:2212.07677, section 4 ("model diff").
    """
    return PromptScores.of((a.double() - b.double()).norm(dim=-1))
