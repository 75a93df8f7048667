"""The prefixes that reference algorithms learn from."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from einops import einsum
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.errors import InputError
from workbench.linalg import eigh

Weights = Float[Tensor, "step batch context d_input"]
PerPrefix = Float[Tensor, "batch context"]
Spectral = Float[Tensor, "batch context d_input"]

_FIT_QUERIES = 16
"""Queries per input coordinate over which predictions that are not linear in the query are made so."""

RANK_TOLERANCE = 1e-13
"""Eigenvalues below this share of the largest are zero: float64 rounding of a Gram matrix, with a margin."""


@dataclass(frozen=True, eq=False)
class Prefixes:
    """All prefixes of some prompts, in float64: prefix i holds the examples 0 to i - 1.

    Attributes:
        xs: Inputs.
        ys: Labels.
    """

    xs: Float[Tensor, "batch context d_input"]
    ys: Float[Tensor, "batch context"]

    @classmethod
    def of(cls, xs: Tensor, ys: Tensor) -> "Prefixes":
        """The prefixes of prompts of any floating-point type.

        Raises:
            InputError: If some number is NaN or infinite.
        """
        for name, values in (("xs", xs), ("ys", ys)):
            wild = int((~values.isfinite()).sum())
            if wild:
                numbers = f"{wild} NaN or infinite of {values.numel()} numbers"
                raise InputError(f"{name} must be finite; got {numbers}. Check the task or the data.")
        return cls(xs.detach().double(), ys.detach().double())

    @property
    def gram(self) -> Float[Tensor, "batch context d_input d_input"]:
        """S_i, the sum of x x^T over prefix i."""
        products = einsum(self.xs, self.xs, "batch context row, batch context col -> batch context row col")
        return before(products)

    @cached_property
    def moment(self) -> Spectral:
        """m_i, the sum of x y over prefix i."""
        return before(self.xs * self.ys[..., None])

    @cached_property
    def _eigen(self) -> tuple[Tensor, Tensor]:
        values, basis = eigh(self.gram)  # kept, unlike the Gram matrices
        kept = values > RANK_TOLERANCE * values[..., -1:]
        return torch.where(kept, values, 0.0), basis

    @property
    def eigenvalues(self) -> Spectral:
        """Eigenvalues of S_i, ascending; exactly 0 outside the span of the prefix."""
        return self._eigen[0]

    @property
    def basis(self) -> Float[Tensor, "batch context d_input eigen"]:
        """Eigenvectors of S_i as columns."""
        return self._eigen[1]

    @cached_property
    def moment_in_basis(self) -> Spectral:
        """m_i in the eigenbasis; exactly 0 outside the span of the prefix."""
        moment = einsum(
            self.basis, self.moment, "batch context d_input eigen, batch context d_input -> batch context eigen"
        )
        return torch.where(self.eigenvalues > 0, moment, 0.0)

    @property
    def largest(self) -> PerPrefix:
        """Largest eigenvalue of S_i; 0 for the empty prefix."""
        return self.eigenvalues[..., -1]

    @property
    def smallest(self) -> PerPrefix:
        """Smallest eigenvalue of S_i that is not 0; 0 for the empty prefix."""
        values = self.eigenvalues
        least = torch.where(values > 0, values, torch.inf).amin(-1)
        return torch.where(torch.isfinite(least), least, 0.0)

    @property
    def counts(self) -> Float[Tensor, " context"]:
        """Examples in each prefix: 0, 1, 2, ..."""
        return torch.arange(self.xs.shape[1], dtype=self.xs.dtype, device=self.xs.device)

    @property
    def earlier(self) -> Bool[Tensor, "context example"]:
        """Whether an example belongs to a prefix."""
        n = self.xs.shape[1]
        return torch.ones(n, n, dtype=torch.bool, device=self.xs.device).tril(-1)

    def part(self, start: int, stop: int) -> "Prefixes":
        """The prompts ``start`` to ``stop - 1``, with their eigendecompositions if those are known."""
        piece = Prefixes(self.xs[start:stop], self.ys[start:stop])
        if "_eigen" in self.__dict__:
            piece.__dict__["_eigen"] = tuple(known[start:stop] for known in self._eigen)
        return piece

    def with_moment(self, moment: Spectral) -> "Prefixes":
        """The same inputs, and ``moment`` as m_i whatever the labels."""
        other = Prefixes(self.xs, self.ys)
        other.__dict__.update(_eigen=self._eigen, moment=moment)
        return other

    def mapped(self, matrix: Float[Tensor, "d_input d_other"]) -> "Prefixes":
        """The same prompts with each x multiplied by a matrix from the right."""
        return Prefixes(self.xs @ matrix, self.ys)

    def in_basis(self, queries: Float[Tensor, "batch context n_query d_input"]) -> Tensor:
        """Coordinates of queries in the eigenbasis of their prefix."""
        return queries @ self.basis

    @staticmethod
    def times(weights: Weights, queries: Float[Tensor, "batch context n_query d_input"]) -> Tensor:
        """Weight vectors times queries, in coordinates of any basis."""
        if queries.shape[2] == 1:
            return (weights * queries[:, :, 0]).sum(-1, keepdim=True)
        return einsum(
            weights,
            queries,
            "step batch context d_input, batch context n_query d_input -> step batch context n_query",
        )

    def nearest_weights(self, predict: Callable[[Tensor], Tensor]) -> Weights:
        """The linear maps nearest to predictions at `fit_queries` in least squares."""
        queries = fit_queries(self.xs.shape[-1]).to(self.xs)
        predictions = predict(queries.expand(*self.xs.shape[:2], *queries.shape))
        return einsum(
            torch.linalg.pinv(queries),
            predictions,
            "d_input n_query, step batch context n_query -> step batch context d_input",
        )

    def from_basis(self, spectral: Float[Tensor, "step batch context eigen"]) -> Weights:
        """Weight vectors from their coordinates in the eigenbases."""
        return einsum(
            self.basis,
            spectral,
            "batch context d_input eigen, step batch context eigen -> step batch context d_input",
        )

    def filtered(self, gain: Float[Tensor, "step batch context eigen"]) -> Weights:
        """V f(lambda) V^T m: the weights of a spectral filter with the gain f(lambda)."""
        return self.from_basis(gain * self.moment_in_basis)


def before(products: Float[Tensor, "batch context ..."]) -> Float[Tensor, "batch context ..."]:
    """Sums over the examples before each one; not even rounding of the example itself enters."""
    return torch.cat([torch.zeros_like(products[:, :1]), products[:, :-1].cumsum(1)], 1)


def fit_queries(d_input: int) -> Float[Tensor, "n_query d_input"]:
    """Sixteen standard-normal queries per coordinate, always the same: those of torch's generator seeded with 0."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(_FIT_QUERIES * d_input, d_input, generator=generator, dtype=torch.float64)
