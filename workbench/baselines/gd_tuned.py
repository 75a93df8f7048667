"""Gradient descent whose step sizes are tuned to the prompts at hand, anew for each number of steps."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.baselines.prefixes import Prefixes
from workbench.baselines.record import Baseline, Gain
from workbench.configs import is_finite
from workbench.errors import must, refuse_faults


@dataclass(frozen=True, eq=False)
class Polynomials:
    """Gains f for each number of steps and each prefix length: a sum of Chebyshev polynomials.

    Attributes:
        upper: Eigenvalues from 0 to this are mapped to [-1, 1].
        coefficients: Of the Chebyshev polynomials; k steps have the first k.
    """

    upper: Float[Tensor, " context"]
    coefficients: Float[Tensor, "step context degree"]

    def __call__(self, eigenvalues: Float[Tensor, "batch context eigen"]) -> Gain:
        """F of the eigenvalues."""
        terms = _chebyshev(2 * eigenvalues / self.upper[:, None] - 1, self.coefficients.shape[-1])
        return torch.einsum("nbce,scn->sbce", terms, self.coefficients)

    def step_sizes(self, step: int, position: int) -> np.ndarray:
        """Step sizes on the summed loss that have this gain, sorted by real part: reciprocal roots of 1 - lambda f.

        Their order is free. With noise they can be complex, and then no steps of real size reach this gain.
        """
        upper = float(self.upper[position])
        found = np.trim_zeros(self.coefficients[step, position].cpu().numpy(), "b")
        learnt = np.polynomial.chebyshev.chebmul([upper / 2, upper / 2], found)  # lambda f, with lambda in [-1, 1]
        roots = np.polynomial.chebyshev.chebroots(np.polynomial.chebyshev.chebsub([1.0], learnt))
        return np.sort_complex(1 / ((roots + 1) * upper / 2))


def tuned(prefixes: Prefixes, steps: Int[Tensor, " step"], noise_variance: float = 0.0) -> Polynomials:
    """The polynomials that err least on these prompts, for each number of steps and each prefix length.

    They minimise the mean over the prompts of |(1 - lambda f)|^2 + noise_variance lambda f^2, summed over the
    eigenvalues of S_i: the squared error at a fresh isotropic query if w ~ N(0, I).

    Raises:
        InputError: If ``noise_variance`` is negative.
    """
    refuse_faults([must("noise_variance", "be at least 0", noise_variance, is_finite(noise_variance, at_least=0))])
    values = prefixes.eigenvalues
    upper = values.amax((0, 2)).clamp(min=torch.finfo(values.dtype).tiny)
    upper = torch.where(upper > 1e-300, upper, 1.0)
    most = int(steps.max())
    coefficients = values.new_zeros(len(steps), len(upper), most)
    for position in range(len(upper)):
        known = values[:, position][values[:, position] > 0]
        if not len(known) or not most:
            continue
        terms = _chebyshev(2 * known / upper[position] - 1, most).mT
        rows = torch.cat([known[:, None] * terms, (noise_variance * known).sqrt()[:, None] * terms])
        aims = torch.cat([torch.ones_like(known), torch.zeros_like(known)])
        q, r = torch.linalg.qr(rows)
        for number, step in enumerate(steps.tolist()):
            if step:
                found = torch.linalg.lstsq(r[:step, :step].cpu(), (q.mT @ aims)[:step, None].cpu(), driver="gelsd")
                coefficients[number, position, :step] = found.solution[:, 0]
    return Polynomials(upper, coefficients)


def gain(
    prefixes: Prefixes,
    steps: Int[Tensor, " step"],
    *,
    noise_variance: float = 0.0,
    polynomials: Polynomials | None = None,
) -> Gain:
    """The gain of the best k steps of gradient descent, the same steps for all prompts at one prefix length.

    Args:
        prefixes: What to learn from.
        steps: Numbers of steps k.
        noise_variance: Of the labels, for the tuning alone.
        polynomials: What `tuned` gave for the same steps on other prompts; on these prompts by default.

    Raises:
        InputError: If ``noise_variance`` is negative.
    """
    values = prefixes.eigenvalues
    found = tuned(prefixes, steps, noise_variance) if polynomials is None else polynomials
    return torch.where(values > 0, found(values), 0.0)


def pooled(prefixes: Prefixes, steps: Int[Tensor, " step"], **options: Any) -> dict[str, Any]:
    """Polynomials tuned on all prompts together."""
    if options.get("polynomials") is not None:
        return options
    return {**options, "polynomials": tuned(prefixes, steps, options.get("noise_variance", 0.0))}


def _chebyshev(places: Tensor, n: int) -> Tensor:
    """The first n Chebyshev polynomials, along a new leading axis."""
    terms = [torch.ones_like(places), places]
    while len(terms) < n:
        terms.append(2 * places * terms[-1] - terms[-2])
    return torch.stack(terms[:n]) if n else places.new_zeros(0, *places.shape)


GD_TUNED = Baseline(
    name="gd_tuned",
    label="Gradient descent, tuned steps",
    source="Best polynomial of each degree, as in Ahn et al. 2023, arXiv:2306.00297, for deep linear attention",
    family="first-order",
    color="#e16969",
    gain=gain,
    pooled=pooled,
    steps=tuple(range(17)),
    diagonal=True,
)
