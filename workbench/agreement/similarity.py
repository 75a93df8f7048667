"""SimE: do two predictors make the same errors?"""

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from workbench.agreement.scores import PromptScores

Predictions = Float[Tensor, "*lead batch context"]
Labels = Float[Tensor, "batch context"]

_NO_ERROR = 1e-10
"""Residual norm, relative to that of the labels, below which its direction is rounding."""


def sim_e(
    a: Float[Tensor, "batch context"], b: Float[Tensor, "batch context"], ys: Labels, *, first_position: int = 0
) -> Float[Tensor, ""]:
    """Mean over prompts of the cosine of the residual vectors of ``a`` and ``b``, across context positions.

    The scale has no zero at "unrelated": predictors share the part of y that no predictor can know, so the zero
    predictor and least squares agree to about .5. Which positions are passed in matters.

    Args:
        a: Predictions.
        b: Those of the other predictor.
        ys: Labels.
        first_position: First of the positions passed in that counts. With whole prompts, 0 counts the one without
            examples, where every predictor errs by y itself, as the released code does; 1 leaves it out, as the paper's
            definition does, and lowers SimE of unlike predictors, by .01 to .04 as measured.

    Returns:
        A number in [-1, 1]; NaN if no prompt leaves a residual to compare.

    Source:
        Fu et al. 2024, arXiv:2310.17086, equation 10.
    """
    a, b, ys = (t[:, first_position:] for t in (a, b, ys))
    return sim_e_by_prompt(a[None], b[None], ys)[0, 0].nanmean()


def sim_e_scores(
    a: Float[Tensor, "... batch context"], b: Float[Tensor, "... batch context"], ys: Labels
) -> PromptScores:
    """SimE prompt by prompt, over the positions passed in; leading axes broadcast."""
    cosine = (residual_directions(a, ys) * residual_directions(b, ys)).sum(-1)
    return PromptScores.of(cosine[..., None])


def sim_e_by_prompt(
    a: Float[Tensor, "row batch context"], b: Float[Tensor, "column batch context"], ys: Labels
) -> Float[Tensor, "row column batch"]:
    """The cosine of residual vectors of every a with every b, on each prompt.

    NaN where a residual is zero to rounding, so that it has no direction.
    """
    return einsum(
        residual_directions(a, ys),
        residual_directions(b, ys),
        "row batch context, column batch context -> row column batch",
    )


def residual_directions(predictions: Predictions, ys: Labels) -> Predictions:
    """Residual vectors scaled to length 1, NaN where they vanish; float64."""
    residuals = predictions.double() - ys.double()
    length = residuals.norm(dim=-1, keepdim=True)
    smallest = _NO_ERROR * ys.double().norm(dim=-1, keepdim=True)
    return torch.where(length > smallest, residuals / length, torch.nan)
