"""Directions of the stream in whitened coordinates: those that tell of a target, random ones, and how to move along."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from probes.methods.ridge import Spectrum

_LEAST_VARIANCE = 1e-12
"""Share of the largest variance below which a direction of the stream counts as rounding."""
_LEAST_SIZE = 1e-9
"""Share of the largest singular value below which a direction counts as none."""


@dataclass(frozen=True, eq=False)
class Whitened:
    """Coordinates in which activations have covariance 1 where they vary, and are 0 where they do not.

    They are those nearest to the stream's own (the symmetric root of the covariance), so that one direction means about
    the same at several tokens.

    Attributes:
        mean: Mean activations.
        root: From these coordinates to the stream, and the symmetric root of the covariance.
        inverse: From the centred stream to these coordinates: the pseudo-inverse of ``root``.
        varies: Projector on the directions that exist.
        cross: Covariance of the coordinates with the targets.
    """

    mean: Float[Tensor, "site width"]
    root: Float[Tensor, "site width width"]
    inverse: Float[Tensor, "site width width"]
    varies: Float[Tensor, "site width width"]
    cross: Float[Tensor, "site width column"]

    @classmethod
    def of(cls, found: Spectrum) -> "Whitened":
        """From the spectrum of a fit."""
        largest = found.values.amax(-1, keepdim=True)
        kept = found.values > _LEAST_VARIANCE * largest
        scale = torch.where(kept, found.values / found.n, 0.0).sqrt()
        back = torch.where(kept, 1 / scale.clamp(min=1e-300), 0.0)
        basis = found.basis
        return cls(
            mean=found.x,
            root=basis * scale[:, None] @ basis.mT,
            inverse=basis * back[:, None] @ basis.mT,
            varies=basis * kept[:, None].double() @ basis.mT,
            cross=basis @ (back[..., None] * found.cross / found.n),
        )

    @property
    def rank(self) -> Float[Tensor, " site"]:
        """Directions that exist."""
        return rank(self.varies)

    def telling(self) -> Float[Tensor, "site width column"]:
        """Orthonormal directions that covary with the targets, all that do."""
        return orthonormal(self.cross)

    def random(
        self, like: Float[Tensor, "site width column"], generator: torch.Generator
    ) -> Float[Tensor, "site width column"]:
        """Uniformly random orthonormal directions, the same for all sites up to what exists there, as many as ``like``.

        Args:
            like: Directions whose number counts.
            generator: Equal states give equal directions, so that several tokens are changed alike.
        """
        drawn = torch.randn(like.shape[1:], generator=generator, dtype=like.dtype)
        return orthonormal(self.varies @ drawn) @ (like.mT @ like)

    def eraser(self, directions: Float[Tensor, "site width column"]) -> Float[Tensor, "site width width"]:
        """The matrix A of h <- h - A (h - mean), which takes these directions away and changes least of all that do.

        With the telling directions this is LEACE: no affine probe of what is left beats the mean of the target, and
        the expected squared change is the least possible in every inner product.

        Source:
            Belrose et al. 2023, arXiv:2306.03819, section 4.
        """
        return self.root @ directions @ (directions.mT @ self.inverse)


def orthonormal(columns: Float[Tensor, "site width column"]) -> Float[Tensor, "site width column"]:
    """The orthonormal columns nearest to the given ones: their polar factor, a partial isometry if rank is lacking."""
    left, sizes, right = torch.linalg.svd(columns, full_matrices=False)
    kept = (sizes > _LEAST_SIZE * sizes.amax(-1, keepdim=True)) & (sizes > 0)
    return left * kept[:, None] @ right


def rank(isometry: Float[Tensor, "site width column"]) -> Float[Tensor, " site"]:
    """How many directions there are among orthonormal ones, or in a projector."""
    return isometry.square().sum((1, 2)).round()


@dataclass(frozen=True, eq=False)
class Steering:
    """How a site is moved so that its probe says something else.

    Attributes:
        directions: Orthonormal whitened directions that the probe reads, the nearest to its own of each column.
        lengths: How far along each for a wanted change of what the probe says.
    """

    directions: Float[Tensor, "site width column"]
    lengths: Float[Tensor, "site column column"]

    @classmethod
    def of(cls, white: Whitened, weights: Float[Tensor, "site width column"]) -> "Steering":
        """The rule of least whitened change: of all moves after which the probe says what is wanted, the shortest.

        With probe B and covariance S it is S B (B^T S B)^+ (wanted - said).
        """
        read = white.root @ weights
        directions = orthonormal(read)
        return cls(directions, torch.linalg.pinv(read.mT @ directions, rtol=_LEAST_SIZE))

    def map(
        self, white: Whitened, directions: Float[Tensor, "site width column"]
    ) -> Float[Tensor, "site width column"]:
        """From the wanted change of what the probe says to the move of the stream.

        Args:
            white: The coordinates.
            directions: Orthonormal ones to move along by these lengths: the probe's own, or others of equal rank.
        """
        return white.root @ directions @ self.lengths
