"""What a reference algorithm is."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from jaxtyping import Float, Int
from torch import Tensor

from workbench.baselines.prefixes import Prefixes, Weights

Gain = Float[Tensor, "step batch context eigen"]
Steps = Int[Tensor, " step"] | None
"""Numbers of steps; None for an algorithm that does not iterate."""

Kind = Literal["anchor", "first-order", "accelerated", "second-order", "krylov", "online", "kernel", "sparse", "bayes"]


@dataclass(frozen=True)
class Baseline:
    """One reference algorithm. Every function takes prefixes, steps and the algorithm's own keyword options.

    Attributes:
        name: Registry name.
        label: Name for people.
        source: The paper that defines it, with its conventions.
        family: What it belongs to in menus.
        color: Its colour in every figure.
        gain: For a spectral filter: f(lambda) at the eigenvalues of every S_i, with weights V f(lambda) V^T m_i. 0 at
            eigenvalue 0. None where the weights are no such function of S_i and m_i.
        solve: Weight vectors of an algorithm without gain, or, beside a gain, by a way that rounds less.
        steps: Step grid of heat maps; empty for an algorithm that does not iterate. Such a one has a single
            step, whose axis the public functions drop.
        linear_in_y: Whether the prediction is linear in the labels.
        linear_in_query: Whether the prediction is a weight vector times the query.
        compared: Whether layers are compared with it unless asked otherwise.
    """

    name: str
    label: str
    source: str
    family: Kind
    color: str
    gain: Callable[..., Gain] | None = None
    solve: Callable[..., Weights] | None = None
    steps: tuple[int, ...] = ()
    linear_in_y: bool = True
    linear_in_query: bool = True
    compared: bool = False

    @property
    def iterative(self) -> bool:
        """Whether numbers of steps apply."""
        return bool(self.steps)

    @property
    def options(self) -> dict[str, object]:
        """Names and defaults of the algorithm's own options."""
        function = self.gain or self.solve
        assert function is not None
        parameters = inspect.signature(function).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

    def weights(self, prefixes: Prefixes, steps: Steps = None, **options: Any) -> Weights:
        """The weight vectors after each step; a single one without steps."""
        if self.solve is not None:
            return self.solve(prefixes, steps, **options)
        assert self.gain is not None
        return prefixes.filtered(self.gain(prefixes, steps, **options))
