"""Online gradient descent whose every step fits the newest example exactly: normalised LMS, Kaczmarz."""

import torch
from torch import Tensor

from workbench.baselines.online_gd import one_pass
from workbench.baselines.prefixes import Prefixes, Weights
from workbench.baselines.record import Baseline, Steps
from workbench.configs import is_finite
from workbench.errors import must, refuse_faults


def solve(
    prefixes: Prefixes, _steps: Steps = None, *, relative_step_size: float = 1.0, start: Tensor | None = None
) -> Weights:
    """One pass over each prefix with step sizes 1 / |x|^2; none for x = 0.

    Args:
        prefixes: What to learn from.
        relative_step_size: Factor on the step sizes. Between 0 and 2.
        start: Weights before the first example, ``[d_input]``; zero by default, where the code of Fu et al. draws
            them uniformly from [0, 1 / sqrt(d)].

    Raises:
        InputError: If the factor is out of range, or ``start`` no vector of the size of x.
    """
    holds = is_finite(relative_step_size, above=0) and relative_step_size < 2
    refuse_faults([must("relative_step_size", "be greater than 0 and less than 2", relative_step_size, holds)])
    squares = (prefixes.xs**2).sum(-1)
    return one_pass(prefixes, torch.where(squares > 0, relative_step_size / squares, 0.0), start)


ADAPTIVE_ONLINE_GD = Baseline(
    name="adaptive_online_gd",
    label="Adaptive online GD",
    source="Kaczmarz 1937; compared in Fu et al. 2024, arXiv:2310.17086, section 3; from zero by default",
    family="online",
    color="#694b2d",
    solve=solve,
)
