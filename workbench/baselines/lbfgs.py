"""L-BFGS with exact line search on the squared loss of the prefix, from zero."""

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.baselines.prefixes import Prefixes, Weights
from workbench.baselines.quasi_newton import CONVERGED, PerEigen, PerPrefix, dot, exact_length, ratio
from workbench.baselines.record import Baseline
from workbench.configs import is_count
from workbench.errors import must, refuse_faults

Pair = tuple[PerEigen, PerEigen, PerPrefix]


def solve(prefixes: Prefixes, steps: Int[Tensor, " step"], *, memory: int = 10) -> Weights:
    """The iterates after k steps, by the two-loop recursion, in the eigenbasis of S_i.

    The initial Hessian of each step is s.y / y.y of the last pair. On a quadratic loss with exact line search the
    iterates are those of conjugate gradient but for rounding, whatever the memory.

    Args:
        prefixes: What to learn from.
        steps: Numbers of steps.
        memory: Pairs of steps and gradient changes that are kept.

    Raises:
        InputError: If ``memory`` is no whole number of at least 1.
    """
    refuse_faults([must("memory", "be a whole number of at least 1", memory, is_count(memory))])
    values, gradient = prefixes.eigenvalues, -prefixes.moment_in_basis
    enough = dot(gradient, gradient).detach() * CONVERGED**2
    w, pairs = torch.zeros_like(gradient), []
    iterates = [w]
    for _ in range(int(steps.max())):
        going = dot(gradient, gradient) > enough
        direction = -_times_inverse(gradient, pairs, going)
        curved = values * direction
        length = exact_length(gradient, direction, curved, going)[..., None]
        w, gradient = w + length * direction, gradient + length * curved
        step, change = length * direction, length * curved
        pairs = [*pairs, (step, change, dot(step, change))][-memory:]
        iterates.append(w)
    return prefixes.from_basis(torch.stack([iterates[step] for step in steps.tolist()]))


def _times_inverse(gradient: PerEigen, pairs: list[Pair], going: Tensor) -> PerEigen:
    """The approximate inverse Hessian times the gradient."""
    shares, left = [], gradient
    for step, change, curvature in reversed(pairs):
        share = ratio(dot(step, left), curvature, going & (curvature > 0))
        left = left - share[..., None] * change
        shares.append(share)
    if pairs:
        _, change, curvature = pairs[-1]
        left = torch.where(going, ratio(curvature, dot(change, change), going), 1.0)[..., None] * left
    for (step, change, curvature), share in zip(pairs, reversed(shares), strict=True):
        back = ratio(dot(change, left), curvature, going & (curvature > 0))
        left = left + (share - back)[..., None] * step
    return left


LBFGS = Baseline(
    name="lbfgs",
    label="L-BFGS",
    source="Liu and Nocedal 1989; compared in Fu et al. 2024, arXiv:2310.17086, appendix; exact line search",
    family="second-order",
    color="#875aff",
    solve=solve,
    steps=tuple(range(41)),
    linear_in_y=False,
    diagonal=True,
)
