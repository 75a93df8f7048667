"""Earlier examples themselves, and what an algorithm's weights leave of their labels."""

from einops import einsum
from torch import Tensor

from probes.examples import Seen
from probes.record import Argument, ProbeTarget
from probes.targets.algorithms import STEPS, STEPS_OF_GD, SizedSteps, iterate
from workbench.errors import InputError


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(text)
    return int(text)


_BACK = Argument("back", _at_least_one, "how many examples back, at least 1", default=1)


def earlier_x(seen: Seen, back: int = 1) -> Tensor:
    """Input of the example so many back: 1 is the one seen last, which at a y token is its own.

    Raises:
        InputError: If fewer have been seen.
    """
    return seen.xs[:, _index(seen, back)]


def earlier_y(seen: Seen, back: int = 1) -> Tensor:
    """Label of the example so many back.

    Raises:
        InputError: If fewer have been seen.
    """
    return seen.ys[:, _index(seen, back)].reshape(seen.batch.n_batch, -1)


def _index(seen: Seen, back: int) -> int:
    if back > seen.n:
        raise InputError(f"an example {back} back must have been seen; got n_context {seen.n}. Raise n_contexts.")
    return seen.n - back


def _residuals(seen: Seen, step: int | SizedSteps, algorithm: str) -> Tensor:
    fitted = einsum(seen.xs, iterate(seen, step, algorithm), "batch n d_input, batch d_input -> batch n")
    return seen.ys - fitted


def gd_residuals(seen: Seen, step: int | SizedSteps) -> Tensor:
    """Residuals y - X w_k of the examples seen, w_k by gradient descent on all of them."""
    return _residuals(seen, step, "gd")


def newton_residuals(seen: Seen, step: int) -> Tensor:
    """Residuals y - X w_k of the examples seen, w_k by Newton on all of them."""
    return _residuals(seen, step, "newton")


_COPYING = "Olsson et al. 2022, arXiv:2209.11895; von Oswald et al. 2023, section 5, for regression"
_GD = "von Oswald et al. 2023, arXiv:2212.07677, proposition 1"

X_EARLIER = ProbeTarget("x_earlier", "x of an earlier example", _COPYING, earlier_x, argument=_BACK)
Y_EARLIER = ProbeTarget("y_earlier", "y of an earlier example", _COPYING, earlier_y, argument=_BACK)
RESIDUALS_GD = ProbeTarget("residuals_gd", "y - X w_k of gradient descent", _GD, gd_residuals, argument=STEPS_OF_GD)
RESIDUALS_NEWTON = ProbeTarget("residuals_newton", "y - X w_k of Newton", _GD, newton_residuals, argument=STEPS)
