"""What algorithms say at the prompts' own queries, computed in pieces that fit a processor's cache."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.baselines import BASELINES, Prefixes
from workbench.linalg import in_pieces

Known = Float[Tensor, "value batch scored"]

_NUMBERS = 2**18
"""Gains in a piece: two megabytes, several times faster than all at once."""


@dataclass(frozen=True, eq=False)
class Asked:
    """Prompts on which algorithms are run.

    Attributes:
        prefixes: Of the prompts.
        scored: Context positions that count.
    """

    prefixes: Prefixes
    scored: slice

    @property
    def queries(self) -> Float[Tensor, "batch context 1 d_input"]:
        """Every prompt's own."""
        return self.prefixes.xs[:, :, None]

    @property
    def size(self) -> float:
        """The largest label's."""
        return self.prefixes.ys.abs().max().item()

    @cached_property
    def largest(self) -> tuple[float, float]:
        """The largest eigenvalue of any S_i, and of any S_i / i with more examples than dimensions."""
        n_context, d = self.prefixes.xs.shape[1:]
        mean = (self.prefixes.largest / self.prefixes.counts.clamp(min=1))[:, min(d, n_context - 1) :]
        return self.prefixes.largest.max().item(), mean.max().item()

    @cached_property
    def spoken(self) -> Float[Tensor, "batch scored eigen"]:
        """What of a prediction a gain of 1 at each eigenvalue makes."""
        return (self.prefixes.in_basis(self.queries)[:, :, 0] * self.prefixes.moment_in_basis)[:, self.scored]

    def filter(self, name: str, steps: Sequence[float] | None = None, **options: Any) -> Known:
        """Predictions of an algorithm with a gain; fractions of steps where the filter has a meaning for them."""
        gain = BASELINES[name].gain
        assert gain is not None
        fractions = steps is not None and any(step != int(step) for step in steps)
        asked = None if steps is None else torch.tensor(steps, dtype=torch.float64 if fractions else torch.int64)

        n_batch, n_context, d = self.prefixes.xs.shape
        size = _NUMBERS // (n_context * d * len(steps or (1,)))
        return torch.cat(in_pieces(partial(self._piece, gain, asked, options), n_batch, max(1, size)), 1)

    def _piece(
        self, gain: Callable[..., Tensor], steps: Tensor | None, options: Mapping[str, Any], start: int, stop: int
    ) -> Known:
        """The same of some prompts alone."""
        found = gain(self.prefixes.part(start, stop), steps, **options)[:, :, self.scored]
        return (found * self.spoken[start:stop]).sum(-1)

    def run(self, name: str, steps: Sequence[int] | None = None, **options: Any) -> Known:
        """Predictions of any algorithm."""
        asked = None if steps is None else torch.tensor(steps)
        return BASELINES[name].predictions(self.prefixes, self.queries, asked, **options)[..., self.scored, 0]

    def bounded(self, known: Known) -> Known:
        """Without what has diverged at early prefixes: predictions a thousand times the labels become zeros."""
        return torch.where(known.abs() <= 1e3 * self.size, known, 0.0)
