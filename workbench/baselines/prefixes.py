"""The prefixes that reference algorithms learn from."""

from dataclasses import dataclass
from functools import cached_property

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from workbench.linalg import eigh

Weights = Float[Tensor, "step batch context d_input"]
PerPrefix = Float[Tensor, "batch context"]
Spectral = Float[Tensor, "batch context d_input"]

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
        """The prefixes of prompts of any floating-point type."""
        return cls(xs.detach().double(), ys.detach().double())

    @cached_property
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
        values, basis = eigh(self.gram)
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
    def counts(self) -> Float[Tensor, " context"]:
        """Examples in each prefix: 0, 1, 2, ..."""
        return torch.arange(self.xs.shape[1], dtype=self.xs.dtype, device=self.xs.device)

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
