"""Online gradient descent, one example after the other: least mean squares, the delta rule."""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.baselines.prefixes import PerPrefix, Prefixes, Weights, before
from workbench.baselines.record import Baseline, Steps
from workbench.configs import is_finite
from workbench.errors import must, refuse_faults


def one_pass(prefixes: Prefixes, sizes: PerPrefix, start: Tensor | None) -> Weights:
    """W <- w - eta_j x_j (x_j.w - y_j) over j = 0, 1, ...: the weights before each example, all at once.

    w_i - w_0 is a sum of c_j x_j with (I + diag(eta) tril(X X^T, -1)) c = eta (y - X w_0), one triangular system for
    all prefixes.

    Raises:
        InputError: If ``start`` is no vector of the size of x.
    """
    xs, begin = prefixes.xs, _begin(prefixes, start)
    inner = (xs @ xs.mT) * prefixes.earlier * sizes[..., None]
    system = inner + torch.eye(xs.shape[1], dtype=xs.dtype, device=xs.device)
    aims = (sizes * (prefixes.ys - xs @ begin))[..., None]
    shares = torch.linalg.solve_triangular(system, aims, upper=False, unitriangular=True)
    return (begin + before(shares * xs))[None]


def _begin(prefixes: Prefixes, start: Tensor | None) -> Float[Tensor, " d_input"]:
    if start is None:
        return prefixes.xs.new_zeros(prefixes.xs.shape[-1])
    found, expected = tuple(start.shape), tuple(prefixes.xs.shape[-1:])
    finite = bool(torch.isfinite(start).all())
    refuse_faults(
        [
            must("start", f"be a vector of {expected[0]} numbers", found, found == expected),
            must("start", "be finite", "NaN or infinity", finite),
        ]
    )
    return start.detach().to(prefixes.xs)


def solve(
    prefixes: Prefixes, _steps: Steps = None, *, step_size: float | None = None, start: Tensor | None = None
) -> Weights:
    """One pass over each prefix with one step size.

    Args:
        prefixes: What to learn from.
        step_size: Eta on half the squared error of one example; by default 1 / (d + 2), the fastest for x ~ N(0, I).
            Akyurek et al. leave out the half: their 0.01 is 0.02 here.
        start: Weights before the first example, ``[d_input]``; zero by default. Not linear in the labels then.

    Raises:
        InputError: If the step size is not greater than 0, or ``start`` no vector of the size of x.
    """
    eta = 1 / (prefixes.xs.shape[-1] + 2) if step_size is None else step_size
    refuse_faults([must("step_size", "be greater than 0", eta, is_finite(eta, above=0))])
    return one_pass(prefixes, torch.full_like(prefixes.ys, eta), start)


ONLINE_GD = Baseline(
    name="online_gd",
    label="Online gradient descent",
    source="Widrow and Hoff 1960; SGD in Akyurek et al. 2023, arXiv:2211.15661; step size 1/(d + 2) by default",
    family="online",
    color="#96960a",
    solve=solve,
)
