"""What a task says of its own law of prompts, for closed forms to ask."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

Moments = tuple[float | int, float | int, float | int]
"""Three moments of a scalar law; which ones, the function says that takes them."""


@dataclass(frozen=True, eq=False)
class RegressionLaw:
    """Prompts of examples y_i = target(x_i) + noise, and a query x of the same law.

    Inputs are x = (z * sqrt(spectrum)) @ basis, where the coordinates of z are independent, symmetric about 0 and of
    variance 1.

    Attributes:
        n_examples: Examples before the last query.
        spectrum: Eigenvalues of the covariance of x, in the order of the rows of the basis.
        basis: Eigenvectors as rows; None if they are drawn anew, uniformly, for each prompt.
        prior: Second moment of w, E[w w^T]; of the best linear fit where the target is not linear.
        noise_variance: Of the labels; the mean over prompts.
        inputs: Law of a coordinate of z, in a word.
        excess_kurtosis: Of that law: E[z^4] - 3.
        weights: Law of w, in a word.
        symmetric_weights: Whether w and -w are equally likely.
        target: What y is of x but for the noise, in a word.
        variance_moments: E v, E v^2 and E v^3 of an eigenvalue v where eigenvalues too are drawn anew for each prompt,
            independently; the spectrum then holds their means, and ``basis`` is None.
        one_noise_level: Whether the noise variance is that of every prompt.
    """

    n_examples: int
    spectrum: Float[Tensor, " d_input"]
    basis: Float[Tensor, "d_input d_input"] | None
    prior: Float[Tensor, "d_input d_input"]
    noise_variance: float = 0.0
    inputs: str = "gaussian"
    excess_kurtosis: float = 0.0
    weights: str = "gaussian"
    symmetric_weights: bool = True
    target: str = "linear"
    variance_moments: Moments | None = None
    one_noise_level: bool = True

    @property
    def d_input(self) -> int:
        """Size of x."""
        return len(self.spectrum)

    @property
    def covariance(self) -> Float[Tensor, "d_input d_input"]:
        """Covariance of x; of a prompt whose eigenvectors are the axes where they are drawn anew."""
        basis = torch.eye(self.d_input, dtype=self.spectrum.dtype) if self.basis is None else self.basis
        return basis.mT @ (self.spectrum[:, None] * basis)

    @property
    def signal_variance(self) -> float:
        """Variance of w . x: the excess risk of predicting 0."""
        return float((self.covariance * self.prior).sum())


@dataclass(frozen=True, eq=False)
class FunctionLaw:
    """Prompts of examples y_i = f(x_i) + noise with f drawn anew for each, and x of one law for all.

    Attributes:
        n_examples: Examples before the last query.
        nodes: Places of x that stand for its law, exactly so for smooth functions.
        shares: Their shares, which sum to 1.
        second_moment: E[f(x) f(x')] at all pairs of them, not centred.
        mean: E f(x) at each: what is known of f without an example.
        noise_variance: Of the labels; the mean over prompts.
    """

    n_examples: int
    nodes: Float[Tensor, "node d_input"]
    shares: Float[Tensor, " node"]
    second_moment: Float[Tensor, "node node"]
    mean: Float[Tensor, " node"]
    noise_variance: float = 0.0

    @property
    def variance(self) -> float:
        """Mean square of f about its mean: what predicting the mean errs by."""
        return float(self.shares @ (self.second_moment.diagonal() - self.mean.square()))


@dataclass(frozen=True)
class AutoregressiveLaw:
    """Sequences x_{t+1} = W x_t, with W drawn anew for each.

    Attributes:
        d_state: Size of x_t.
        n_states: States x_1 .. x_T in a sequence.
        dynamics: Law of W: ``diagonal_unitary`` is diag(exp(i theta_j)) with uniform angles.
        start: Law of x_1, in a word.
        moments: Of x_1: E x_j^4, E x_j^6 and the sum over r != j of E x_j^2 x_r^4.
        sign_symmetric: Whether every mixed moment of x_1 with an odd exponent vanishes.
        start_square: E x_j^2 over the coordinates of x_1 that are not 0.
    """

    d_state: int
    n_states: int
    dynamics: Literal["diagonal_unitary", "orthogonal", "other"]
    start: str
    moments: Moments | None
    sign_symmetric: bool
    start_square: float | None = None

    @property
    def is_complex(self) -> bool:
        """Whether states are complex, written as real and imaginary parts side by side."""
        return self.dynamics == "diagonal_unitary"


Law = RegressionLaw | AutoregressiveLaw


@runtime_checkable
class Described(Protocol):
    """A task that says what law its prompts have."""

    def law(self) -> Law:
        """The law of its prompts."""
        ...


@runtime_checkable
class DescribedByLabel(Protocol):
    """A task that says what law its prompts have with each of several labels alone."""

    def laws(self) -> tuple[RegressionLaw, ...]:
        """The laws, label by label."""
        ...


@runtime_checkable
class DescribedByFunctions(Protocol):
    """A task that says the second moments of the functions that it draws."""

    def function_law(self) -> FunctionLaw:
        """The law of its functions."""
        ...
