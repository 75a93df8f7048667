"""Gradient descent with one fixed preconditioner for all prompts."""

from typing import Literal

from jaxtyping import Int
from torch import Tensor

from workbench.baselines import gd
from workbench.baselines.matrices import root
from workbench.baselines.prefixes import Prefixes, Weights
from workbench.baselines.record import Baseline


def solve(
    prefixes: Prefixes,
    steps: Int[Tensor, " step"],
    *,
    preconditioner: Tensor,
    step_size: float | None = None,
    relative_step_size: float = 1.0,
    gradient: Literal["sum", "mean"] = "sum",
) -> Weights:
    """W <- w - eta P (S_i w - m_i): gradient descent in the coordinates x P^(1/2).

    A spectral filter of P^(1/2) S_i P^(1/2), not of S_i.

    Args:
        prefixes: What to learn from.
        steps: Numbers of steps.
        preconditioner: P, ``[d_input d_input]``, symmetric, without negative eigenvalues.
        step_size: As for gradient descent.
        relative_step_size: Eta over 1/lambda_max of P^(1/2) S_i P^(1/2).
        gradient: As for gradient descent.

    Raises:
        InputError: If the preconditioner is none, or a step size is not greater than 0.
    """
    half = root("preconditioner", preconditioner, prefixes)
    inner = prefixes.mapped(half)
    sizes = {"step_size": step_size, "relative_step_size": relative_step_size, "gradient": gradient}
    return inner.filtered(gd.gain(inner, steps, **sizes)) @ half  # type: ignore[arg-type]


PRECONDITIONED_GD = Baseline(
    name="preconditioned_gd",
    label="Preconditioned GD",
    source="Ahn et al. 2023, arXiv:2306.00297; step size 1/lambda_max of each preconditioned prefix by default",
    family="first-order",
    color="#c38769",
    solve=solve,
    caution=gd.caution,
    steps=gd.GD.steps,
)
