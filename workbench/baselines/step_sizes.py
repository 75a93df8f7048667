"""Step sizes of iterations on the summed squared loss of each prefix."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.baselines.prefixes import PerPrefix, Prefixes
from workbench.configs import is_finite
from workbench.errors import must, refuse_faults


def step_sizes(prefixes: Prefixes, step_size: float | None, relative: float, gradient: str) -> PerPrefix:
    """Eta of each prefix: ``step_size``, or without it ``relative`` over the largest eigenvalue.

    Args:
        prefixes: What is learnt from.
        step_size: Eta, the same for all prefixes.
        relative: Eta times the largest eigenvalue.
        gradient: Whether ``step_size`` multiplies the gradient of the summed or of the mean squared loss.

    Raises:
        InputError: If a step size is not greater than 0.
    """
    if step_size is None:
        refuse_faults([must("relative_step_size", "be greater than 0", relative, is_finite(relative, above=0))])
        return torch.where(prefixes.largest > 0, relative / prefixes.largest, 0.0)
    refuse_faults([must("step_size", "be greater than 0", step_size, is_finite(step_size, above=0))])
    return torch.full_like(prefixes.largest, step_size) / divisor(prefixes, gradient)


def listed(prefixes: Prefixes, name: str, sizes: Sequence[float], n_steps: int, gradient: str) -> list[PerPrefix]:
    """The sizes of steps 1, 2, ... for each prefix.

    Raises:
        InputError: If one is no number, or there are fewer than steps.
    """
    refuse_faults(
        [
            must(name, "be finite numbers", sizes, all(is_finite(size) for size in sizes)),
            must(name, f"hold one for each of {n_steps} steps", sizes, len(sizes) >= n_steps),
        ]
    )
    return [torch.full_like(prefixes.largest, size) / divisor(prefixes, gradient) for size in sizes]


def divisor(prefixes: Prefixes, gradient: str) -> Float[Tensor, " context"]:
    """What turns a step size for the mean loss into one for the summed loss: the number of examples."""
    counts = prefixes.counts.clamp(min=1)
    return counts if gradient == "mean" else torch.ones_like(counts)


def diverges(step_size: float | None, relative: float) -> str:
    """A warning if the step size is too large for every prefix, else ""."""
    if step_size is None and relative >= 2:
        return f"relative_step_size {relative:g} is not below 2, so the top direction never converges."
    return ""
