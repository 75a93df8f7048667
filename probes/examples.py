"""What a token has seen: the examples before it, and everything that follows from them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import baselines
from workbench.baselines import Prefixes
from workbench.batch import RegressionBatch
from workbench.errors import InputError
from workbench.tasks import Task


@dataclass(frozen=True, eq=False)
class Examples:
    """Some prompts, with what reference algorithms make of every prefix, computed once.

    Attributes:
        batch: The prompts.
        task: Where they come from.
        scale: Whether moments are ``sum`` or ``mean`` over the examples seen.
    """

    batch: RegressionBatch
    task: Task
    scale: str = "sum"
    _known: dict[str, Tensor] = field(default_factory=dict)

    @cached_property
    def prefixes(self) -> Prefixes:
        """All prefixes, the whole prompt too: prefix n holds the examples 0 to n - 1, n up to ``n_context``.

        Raises:
            InputError: If labels are vectors.
        """
        xs, ys = self.batch.xs, self.batch.ys
        if ys.ndim == 3:
            raise InputError("probe targets made of moments need labels that are numbers; these are vectors.")
        return Prefixes.of(torch.cat([xs, xs[:, :1]], 1), torch.cat([ys, ys[:, :1]], 1))

    def weights(self, name: str, step: int | None = None, **options: Any) -> Float[Tensor, "batch prefix d_input"]:
        """What a reference algorithm has learnt from every prefix.

        Raises:
            InputError: As `workbench.baselines.weights`.
        """
        steps = None if step is None else [step]

        def run() -> Tensor:
            found = baselines.weights(name, self.prefixes, steps=steps, **options)
            return found if step is None else found[0]

        return self.once(f"{name} {step} {sorted(options.items())}", run)

    def once(self, key: str, make: Callable[[], Tensor]) -> Tensor:
        """What ``make`` makes, made once."""
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]


@dataclass(frozen=True, eq=False)
class Seen:
    """What one token of each prompt has seen.

    Attributes:
        examples: The prompts.
        n: Examples seen, which are 0 to n - 1.
        position: The token, 0-based.
    """

    examples: Examples
    n: int
    position: int

    @property
    def batch(self) -> RegressionBatch:
        """The prompts, with their latents."""
        return self.examples.batch

    @property
    def xs(self) -> Float[Tensor, "batch n d_input"]:
        """Inputs seen, float64."""
        return self.batch.xs[:, : self.n].double()

    @property
    def ys(self) -> Float[Tensor, "batch n *d_output"]:
        """Labels seen, float64."""
        return self.batch.ys[:, : self.n].double()

    @property
    def gram(self) -> Float[Tensor, "batch d_input d_input"]:
        """S_n, the sum of x x^T."""
        return self.xs.mT @ self.xs

    def weights(self, name: str, step: int | None = None, **options: Any) -> Float[Tensor, "batch d_input"]:
        """What a reference algorithm has learnt from them."""
        return self.examples.weights(name, step, **options)[:, self.n]

    def per_example(self, power: int = 1) -> float:
        """The given power of n where moments are means, 1 where they are sums: the divisor of a moment."""
        return float(self.n**power) if self.examples.scale == "mean" else 1.0
