"""Weight vectors that reference algorithms have learnt, finished or after so many steps."""

from dataclasses import dataclass

from torch import Tensor

from probes.examples import Seen
from probes.record import Argument, ProbeTarget
from workbench.errors import InputError
from workbench.tasks.regression import RegressionTask

_AKYUREK = "Akyurek et al. 2023, arXiv:2211.15661, section 4"


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(text)
    return int(text)


def _strength(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


@dataclass(frozen=True)
class SizedSteps:
    """Steps of one size.

    Attributes:
        n: How many.
        size: Eta on the mean loss, the same for all prompts.
    """

    n: int
    size: float


def _steps(text: str) -> int | SizedSteps:
    count, colon, size = text.partition(":")
    eta = _strength(size) if colon else 1.0
    if eta == 0:
        raise ValueError(text)
    return SizedSteps(_count(count), eta) if colon else _count(count)


STEPS_OF_GD = Argument(
    "step", _steps, "a number of steps of at least 0, with :SIZE behind for one step size on the mean loss"
)
STEPS = Argument("step", _count, "a number of steps of at least 0")
_STRENGTH = Argument("strength", _strength, "a ridge strength of at least 0", default="task")


def ols(seen: Seen) -> Tensor:
    """Least squares, of least norm where n < d."""
    return seen.weights("ols")


def ridge(seen: Seen, strength: float | str = "task") -> Tensor:
    """(S + strength I)^-1 m; by default the task's best strength, or 0.1 without noise."""
    if isinstance(strength, str):
        own = seen.examples.task.least_squares_ridge()
        strength = float(own) if own else 0.1
    return seen.weights("ridge", ridge=strength)


def bayes(seen: Seen) -> Tensor:
    """The mean of w under the posterior.

    Raises:
        InputError: If the task's posterior mean is not known.
    """
    found = posterior_mean(seen)
    if found is None:
        raise InputError(
            f"target 'w_bayes' needs a task whose posterior mean is known; that of {seen.examples.task.name!r} with "
            "these settings is not. Take w_ridge."
        )
    return found


def posterior_mean(seen: Seen) -> Tensor | None:
    """E[w | examples seen], or None where no reference algorithm knows it."""
    task, latents = seen.examples.task, seen.batch.latents
    known = task.bayes() if isinstance(task, RegressionTask) else ()
    if "w" not in latents or seen.batch.ys.ndim == 3 or len(known) != 1:
        return None
    [reference] = known
    found = seen.weights(reference.name, **reference.options)
    return found if found.shape == latents["w"].shape else None


def iterate(seen: Seen, step: int | SizedSteps, algorithm: str) -> Tensor:
    """w_k of an iterative algorithm, under its default conventions (docs/design.md) unless the step size is given."""
    if isinstance(step, SizedSteps):
        return seen.weights(algorithm, step.n, step_size=step.size, gradient="mean")
    return seen.weights(algorithm, step)


def _gd(seen: Seen, step: int | SizedSteps) -> Tensor:
    return iterate(seen, step, "gd")


def _newton(seen: Seen, step: int) -> Tensor:
    return iterate(seen, step, "newton")


def _cg(seen: Seen, step: int) -> Tensor:
    return iterate(seen, step, "cg")


W_OLS = ProbeTarget("w_ols", "least-squares weights of the examples seen", _AKYUREK, ols)
W_RIDGE = ProbeTarget("w_ridge", "ridge weights of the examples seen", _AKYUREK, ridge, argument=_STRENGTH)
W_BAYES = ProbeTarget("w_bayes", "posterior mean of w", _AKYUREK, bayes)
W_GD = ProbeTarget(
    "w_gd", "w_k of gradient descent", "von Oswald et al. 2023, arXiv:2212.07677", _gd, argument=STEPS_OF_GD
)
W_NEWTON = ProbeTarget("w_newton", "w_k of Newton", "Fu et al. 2024, arXiv:2310.17086", _newton, argument=STEPS)
W_CG = ProbeTarget("w_cg", "w_k of conjugate gradient", "Fu et al. 2024, arXiv:2310.17086", _cg, argument=STEPS)
