"""SPD and skill: how far two predictors are apart, in units of y and on a scale from unrelated to same."""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.agreement.scores import PromptScores

Predictions = Float[Tensor, "... batch context"]


def spd(a: Predictions, b: Predictions, d_input: int) -> PromptScores:
    """Squared prediction difference over d, prompt by prompt; 0 means the same, that of unlike predictors is about 1.

    Look at its median too: near t = d least squares of noisy labels has an infinite mean.

    Args:
        a: Predictions ``[... batch context]``.
        b: Those of the other predictor; leading axes broadcast.
        d_input: Size of x, the variance of y for unit w and x: makes the unit that of y squared.

    Source:
        Akyurek et al. 2023, arXiv:2211.15661: E (A(D)(x') - B(D)(x'))^2; divided by d as in their figures.
    """
    return PromptScores.of((a.double() - b.double()).square() / d_input)


def mspd(a: Predictions, b: Predictions, d_input: int) -> PromptScores:
    """SPD averaged over the underdetermined prefixes 0 < n < d, where algorithms with the same limit differ.

    Args:
        a: Predictions at every context position from 0 on, ``[... batch context]``.
        b: Those of the other predictor; leading axes broadcast.
        d_input: Size of x.

    Source:
        Akyurek et al. 2023, arXiv:2211.15661, figure 2 (MSPD).
    """
    return spd(a[..., 1:d_input], b[..., 1:d_input], d_input)


def skill(a: Predictions, b: Predictions) -> PromptScores:
    """1 - SPD(a, b) / SPD(zero, b): 1 means the same, 0 no nearer to b than the zero predictor, below 0 further.

    Unlike SimE it has a zero at "unrelated", and does not ask for labels. The mean is one minus the ratio of mean
    SPDs, the median that of the prompts' own skills; undefined where b says nothing but 0.

    Args:
        a: Predictions ``[... batch context]``.
        b: What they are explained by; leading axes broadcast.
    """
    apart = (a.double() - b.double()).square().sum(-1)
    size = b.double().square().sum(-1).expand_as(apart)
    says = size > 0
    return PromptScores(torch.where(says, size - apart, 0.0), size, 1 - says.double())
