"""The posterior mean of linear regression when the noise level is not known."""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.baselines.prefixes import Prefixes, Weights, before
from workbench.baselines.record import Baseline, Steps
from workbench.configs import is_finite
from workbench.errors import must, refuse_faults


def solve(
    prefixes: Prefixes, _steps: Steps = None, *, noise_levels: Tensor, odds: Tensor, w_variance: float = 1.0
) -> Weights:
    """The ridge solution of every noise level, weighted by the posterior over levels.

    Args:
        prefixes: What to learn from.
        noise_levels: Standard deviations that the label noise of a prompt may have, or the nodes of a quadrature over
            their law.
        odds: Their probabilities; only ratios matter.
        w_variance: Of a coordinate of w, which is Gaussian.

    Raises:
        InputError: If levels or odds are not so many numbers above 0, or the variance is not above 0.
    """
    shares = posterior(prefixes, noise_levels=noise_levels, odds=odds, w_variance=w_variance)
    gain = torch.zeros_like(prefixes.eigenvalues)
    for index, level in enumerate(noise_levels.tolist()):
        gain = gain + shares[..., index, None] / (prefixes.eigenvalues + level * level / w_variance)
    return prefixes.filtered(gain[None])


def posterior(
    prefixes: Prefixes, *, noise_levels: Tensor, odds: Tensor, w_variance: float = 1.0
) -> Float[Tensor, "batch context level"]:
    """Probability of every noise level given each prefix, by the marginal likelihood y ~ N(0, s^2 I + v X X^T).

    Args:
        prefixes: What to learn from.
        noise_levels: As of `solve`.
        odds: As of `solve`.
        w_variance: As of `solve`.

    Raises:
        InputError: As `solve`.
    """
    _check(noise_levels, odds, w_variance)
    moments = prefixes.moment_in_basis.square()
    squares = before(prefixes.ys.square())
    found: list[Tensor] = []
    for level, prior in zip(noise_levels.tolist(), odds.double().log().tolist(), strict=True):
        noise = level * level
        explained = (moments / (prefixes.eigenvalues + noise / w_variance)).sum(-1)
        volume = torch.log1p(prefixes.eigenvalues * (w_variance / noise)).sum(-1) + prefixes.counts * _log(noise)
        found.append(prior - (volume + (squares - explained) / noise) / 2)
    return torch.softmax(torch.stack(found, -1), -1)


def _log(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64).log()


def _check(noise_levels: object, odds: object, w_variance: float) -> None:
    shapes = [tuple(each.shape) if isinstance(each, Tensor) else each for each in (noise_levels, odds)]
    rule = "be a tensor of numbers above 0"
    refuse_faults(
        [
            must("noise_levels", rule, shapes[0], _above_zero(noise_levels)),
            must("odds", rule, shapes[1], _above_zero(odds)),
            must("odds", "be as many as noise_levels", shapes[1], shapes[0] == shapes[1]),
            must("w_variance", "be greater than 0", w_variance, is_finite(w_variance, above=0)),
        ]
    )


def _above_zero(values: object) -> bool:
    if not isinstance(values, Tensor) or values.ndim != 1 or len(values) == 0:
        return False
    return bool((torch.isfinite(values) & (values > 0)).all())


BAYES_NOISE = Baseline(
    name="bayes_noise",
    label="Bayes, unknown noise level",
    source="Textbook; w ~ N(0, v I), the noise level under its marginal likelihood",
    family="bayes",
    color="#00b45a",
    solve=solve,
    linear_in_y=False,
    through_moment=False,
    diagonal=True,
)
