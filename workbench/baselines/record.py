"""What a reference algorithm is."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from jaxtyping import Float, Real
from torch import Tensor

from workbench.baselines.prefixes import Prefixes, Weights

Gain = Float[Tensor, "step batch context eigen"]
Predictions = Float[Tensor, "step batch context n_query"]
Queries = Float[Tensor, "batch context n_query d_input"]
Sensitivity = Float[Tensor, "step batch context d_output d_input"]
Steps = Real[Tensor, " step"] | None
"""Numbers of steps, fractions only where a filter has a meaning for them; None for an algorithm without steps."""

Kind = Literal["anchor", "first-order", "accelerated", "second-order", "krylov", "online", "kernel", "sparse", "bayes"]


@dataclass(frozen=True)
class Baseline:
    """One reference algorithm, given by `gain`, `solve` or `respond`.

    Each of these takes prefixes (`respond` queries as well), steps and the algorithm's own keyword options; an option
    without default must be given.

    Attributes:
        name: Registry name.
        label: Name for people.
        source: The paper that defines it, with its conventions.
        family: What it belongs to in menus.
        color: Its colour in every figure.
        gain: For a spectral filter: f(lambda) at the eigenvalues of every S_i, with weights V f(lambda) V^T m_i. 0 at
            eigenvalue 0. None where the weights are no such function of S_i and m_i.
        solve: Weight vectors of an algorithm without gain, or, beside a gain, by a way that rounds less.
        respond: Predictions at any queries of an algorithm whose predictions are not linear in the query.
        sensitivity: Derivatives of the weight vector of each prefix by m_i, of an algorithm not linear in the labels,
            where there is a closed form.
        pooled: Options that depend on all prompts together, from prefixes, steps and options.
        caution: From the options to a sentence that warns, or "".
        steps: Step grid of heat maps; empty for an algorithm that does not iterate. Such a one has a single
            step, whose axis the public functions drop.
        limit: What steps without end lead to: the algorithm of that name, with those of the options that it has too;
            "" if no other is.
        linear_in_y: Whether the prediction is linear in the labels.
        through_moment: Whether it sees the labels through m_i alone.
        linear_in_query: Whether the prediction is a weight vector times the query.
        diagonal: Whether the weights are V f V^T m_i with an f that may depend on the labels: a spectral filter, or a
            method whose iterates are polynomials in S_i times m_i.
        compared: Whether layers are compared with it unless asked otherwise.
    """

    name: str
    label: str
    source: str
    family: Kind
    color: str
    gain: Callable[..., Gain] | None = None
    solve: Callable[..., Weights] | None = None
    respond: Callable[..., Predictions] | None = None
    sensitivity: Callable[..., Sensitivity] | None = None
    pooled: Callable[..., dict[str, Any]] | None = None
    caution: Callable[..., str] | None = None
    steps: tuple[int, ...] = ()
    limit: str = "ols"
    linear_in_y: bool = True
    through_moment: bool = True
    linear_in_query: bool = True
    diagonal: bool = False
    compared: bool = False

    @property
    def iterative(self) -> bool:
        """Whether numbers of steps apply."""
        return bool(self.steps)

    @property
    def options(self) -> dict[str, object]:
        """Names and defaults of the algorithm's own options; those of `required` have none."""
        return {p.name: None if p.default is p.empty else p.default for p in self.parameters}

    @property
    def required(self) -> tuple[str, ...]:
        """Options that must be given."""
        return tuple(p.name for p in self.parameters if p.default is p.empty)

    def weights(self, prefixes: Prefixes, steps: Steps = None, **options: Any) -> Weights:
        """The weight vectors after each step; a single one without steps.

        Of predictions that are not linear in the query, the linear map nearest to them in least squares over
        `fit_queries`.
        """
        if self.solve is not None:
            return self.solve(prefixes, steps, **options)
        if self.gain is not None:
            return prefixes.filtered(self.gain(prefixes, steps, **options))
        return prefixes.nearest_weights(lambda queries: self.predictions(prefixes, queries, steps, **options))

    def predictions(self, prefixes: Prefixes, queries: Queries, steps: Steps = None, **options: Any) -> Predictions:
        """The predictions at the queries of each prefix after each step."""
        if self.respond is not None:
            return self.respond(prefixes, queries, steps, **options)
        if self.solve is not None:
            return prefixes.times(self.solve(prefixes, steps, **options), queries)
        assert self.gain is not None
        return prefixes.times(
            self.gain(prefixes, steps, **options) * prefixes.moment_in_basis, prefixes.in_basis(queries)
        )

    @property
    def parameters(self) -> list[inspect.Parameter]:
        """The algorithm's own options, as its signature has them."""
        function = self.gain or self.solve or self.respond
        assert function is not None
        return [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
