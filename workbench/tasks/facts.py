"""What is known exactly of a law of (x, y) examples besides what closed forms ask: moments, floors, who is Bayes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.regression_law import RegressionLaw


@dataclass(frozen=True, eq=False)
class LabelFacts:
    """Moments of one label of a task, exact. Means are over prompts and examples, which are independent given a prompt.

    Attributes:
        input_covariance: E[x x^T].
        fit_covariance: E[w w^T] of the w that fits its prompt's labels best, E[x x^T | prompt]^-1 E[x y | prompt].
        label_variance: E[y^2], noise included.
        label_times_square: E[y^2 |x|^2], noise included: the fourth moment that one step of gradient descent needs.
        linear_floor: E[(y - w . x)^2]: no linear function of x errs less on average, whatever it knows of its prompt.
    """

    input_covariance: Float[Tensor, "d_input d_input"]
    fit_covariance: Float[Tensor, "d_input d_input"]
    label_variance: float
    label_times_square: float
    linear_floor: float


@dataclass(frozen=True)
class Reference:
    """A reference algorithm with its options.

    Attributes:
        name: Of the algorithm, as `mesascope algorithms` lists it.
        options: Its keyword options.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


def linear_facts(law: RegressionLaw) -> LabelFacts:
    """The facts of labels that are linear in x, in float64.

    With x = A^T z, B = A A^T, P = A Psi A^T and the excess kurtosis k of a coordinate of z, E[(w . x)^2 |x|^2] =
    tr P tr B + 2 tr P B + k sum_i P_ii B_ii. Eigenvectors drawn anew for each prompt make Psi and the covariance as
    good as multiples of I.
    """
    d, roots = law.d_input, law.spectrum.sqrt()
    eye = torch.eye(d, dtype=law.spectrum.dtype)
    psi = law.prior if law.basis is not None else law.prior.trace() / d * eye
    turned = psi if law.basis is None else law.basis @ psi @ law.basis.mT
    p = roots[:, None] * turned * roots
    squares = (p.trace() * law.spectrum.sum() + 2 * (p.diag() * law.spectrum).sum()).item()
    squares += law.excess_kurtosis * (p.diag() * law.spectrum).sum().item()
    return LabelFacts(
        input_covariance=law.covariance if law.basis is not None else law.spectrum.mean() * eye,
        fit_covariance=law.prior,
        label_variance=p.trace().item() + law.noise_variance,
        label_times_square=squares + law.noise_variance * law.spectrum.sum().item(),
        linear_floor=law.noise_variance,
    )


@runtime_checkable
class Known(Protocol):
    """A task that knows facts of its labels."""

    def facts(self) -> tuple[LabelFacts, ...]:
        """The facts of each label."""
        ...
