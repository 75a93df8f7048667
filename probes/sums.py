"""The sums that linear fits need, gathered while activations stream by."""

from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float
from scipy.linalg.blas import dsyrk  # pyright: ignore[reportAttributeAccessIssue]  # made by f2py
from torch import Tensor

Rows = Float[Tensor, "site sample width"]


@dataclass(frozen=True, eq=False)
class Sums:
    """Gram matrices and cross products in float64, one system per site. Adding two gives that of both data sets.

    Attributes:
        n: Samples.
        x: Sum of activations.
        y: Sum of targets.
        gram: Sum of h h^T.
        cross: Sum of h y.
        squares: Sum of y^2.
    """

    n: int
    x: Float[Tensor, "site width"]
    y: Float[Tensor, " column"]
    gram: Float[Tensor, "site width width"]
    cross: Float[Tensor, "site width column"]
    squares: Float[Tensor, " column"]

    @classmethod
    def of(cls, rows: Rows, targets: Float[Tensor, "sample column"]) -> "Sums":
        """The sums over some samples."""
        targets = targets.double()
        parts = [_products(site.double(), targets) for site in rows]  # one site at a time: it fits a processor's cache
        x, gram, cross = (torch.stack(each) for each in zip(*parts, strict=True))
        return cls(len(targets), x, targets.sum(0), gram, cross, targets.square().sum(0))

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.n + other.n,
            self.x + other.x,
            self.y + other.y,
            self.gram + other.gram,
            self.cross + other.cross,
            self.squares + other.squares,
        )

    def columns(self, kept: slice) -> "Sums":
        """The same samples with some of the columns."""
        return Sums(self.n, self.x, self.y[kept], self.gram, self.cross[..., kept], self.squares[kept])

    def about(
        self, x: Float[Tensor, "site width"], y: Float[Tensor, " column"]
    ) -> tuple[Float[Tensor, "site width width"], Float[Tensor, "site width column"], Float[Tensor, " column"]]:
        """Gram matrices, cross products and squares of what is left after subtracting ``x`` and ``y``."""
        outer = self.x[..., :, None] * x[..., None, :]
        gram = self.gram - outer - outer.mT + self.n * x[..., :, None] * x[..., None, :]
        cross = self.cross - x[..., None] * self.y - self.x[..., None] * y + self.n * x[..., None] * y
        return gram, cross, self.squares - 2 * y * self.y + self.n * y * y

    def errors(
        self, weights: Float[Tensor, "site width column"], intercepts: Float[Tensor, "site column"]
    ) -> Float[Tensor, "site column"]:
        """Mean squared error of linear predictors on these samples."""
        fitted = einsum(weights, self.gram @ weights, "site width column, site width column -> site column")
        agreed = einsum(weights, self.cross, "site width column, site width column -> site column")
        shifted = einsum(weights, self.x, "site width column, site width -> site column") - self.y
        total = fitted - 2 * agreed + self.squares + 2 * intercepts * shifted + self.n * intercepts.square()
        return (total / self.n).clamp(min=0.0)


def _products(rows: Float[Tensor, "sample width"], targets: Float[Tensor, "sample column"]) -> tuple[Tensor, ...]:
    """Sum, Gram matrix and cross products of one site; on a CPU only half of the symmetric matrix is computed."""
    if rows.device.type != "cpu":
        return rows.sum(0), rows.mT @ rows, rows.mT @ targets
    upper = torch.from_numpy(dsyrk(1.0, rows.contiguous().numpy().T))  # BLAS leaves 0 below the diagonal
    return rows.sum(0), upper + upper.triu(1).mT, rows.mT @ targets
