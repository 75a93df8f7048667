"""Iterative Newton: the Newton-Schulz iteration for the pseudo-inverse of S_i."""

from typing import Literal

import torch
from jaxtyping import Float, Real
from torch import Tensor

from workbench.baselines.filters import one_minus_power, over_eigenvalues
from workbench.baselines.prefixes import Prefixes
from workbench.baselines.record import Baseline, Gain
from workbench.configs import is_finite
from workbench.errors import must, refuse_faults


def gain(
    prefixes: Prefixes,
    steps: Real[Tensor, " step"],
    *,
    alpha: float = 1.0,
    norm: Literal["spectral", "frobenius", "examples", "none"] = "spectral",
    start: Literal["gram", "identity"] = "gram",
) -> Gain:
    """M_0 = a S_i, M <- 2 M - M S_i M, w_k = M_k m_i: the filter (1 - (1 - a lambda^2)^(2^k)) / lambda.

    From M_0 = a I it is (1 - (1 - a lambda)^(2^k)) / lambda: 2^k steps of gradient descent of size a.

    Args:
        prefixes: What to learn from.
        steps: Numbers of steps k; the filter has a meaning for fractions too.
        alpha: a is ``alpha`` over the norm of S_i S_i^T, or of S_i for start "identity", of each prefix. Converges for
            a < 2 / lambda_max^2, or 2 / lambda_max.
        norm: Which norm; "none" for a = alpha, "examples" for alpha over the square of the number of examples (over the
            number itself for start "identity"): a fixed start on the mean loss. (1, spectral) is 1 / lambda_max^2;
            (1, frobenius) is the released code of Fu et al.; (2, frobenius) reproduces their figures; (2, spectral),
            their text, never converges.
        start: Whether M_0 = a S_i or a I.

    Raises:
        InputError: If ``alpha`` is not greater than 0.
    """
    refuse_faults([must("alpha", "be greater than 0", alpha, is_finite(alpha, above=0))])
    values = prefixes.eigenvalues
    powers = values**2 if start == "gram" else values
    size = _examples(prefixes, start) if norm == "examples" else _norm(powers, norm)
    distance = powers * (alpha / size)[..., None]
    return over_eigenvalues(one_minus_power(distance, 2.0 ** steps.to(values.dtype)), values)


def _examples(prefixes: Prefixes, start: str) -> Float[Tensor, " context"]:
    return prefixes.counts.clamp(min=1) ** (2 if start == "gram" else 1)


def _norm(values: Float[Tensor, "batch context eigen"], norm: str) -> Float[Tensor, "batch context"]:
    """Norm of a matrix with these eigenvalues, 1 where it vanishes."""
    size = {"spectral": lambda: values.amax(-1), "frobenius": lambda: values.norm(dim=-1)}.get(norm)
    return torch.ones_like(values[..., 0]) if size is None else torch.where(size() > 0, size(), 1.0)


def caution(*, alpha: float = 1.0, norm: str = "spectral", start: str = "gram") -> str:
    """A warning if the top direction is never learnt, with 2 over the spectral norm and beyond."""
    if norm == "spectral" and alpha >= 2:
        matrix = "S S^T" if start == "gram" else "S"
        return f"alpha {alpha:g} over the spectral norm of {matrix} is not below 2: the top direction never converges."
    return ""


NEWTON = Baseline(
    name="newton",
    label="Newton",
    source="Fu et al. 2024, arXiv:2310.17086, equation 6; M_0 = S/lambda_max^2 by default",
    family="second-order",
    color="#1b9e77",
    gain=gain,
    caution=caution,
    steps=tuple(range(31)),
    diagonal=True,
    compared=True,
)
