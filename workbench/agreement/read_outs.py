"""What each layer would predict: closed-form read-outs of the residual stream."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

Streams = Float[Tensor, "layer batch context d_model"]

RIDGES = tuple(10.0**power for power in range(-10, 1))
"""Candidate ridge strengths, relative to the mean diagonal of the Gram matrix."""


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """Sums that least squares needs, one system per layer, in float64. Adding two gives that of both data sets.

    Attributes:
        gram: Sum of h h^T, where h ends with a constant 1 for the intercept.
        cross: Sum of h y.
        square: Sum of y^2.
        n: Number of (h, y).
    """

    gram: Float[Tensor, "layer row col"]
    cross: Float[Tensor, "layer row"]
    square: Float[Tensor, ""]
    n: int

    @classmethod
    def of(cls, streams: Streams, ys: Float[Tensor, "batch context"]) -> "NormalEquations":
        """The sums over all prompts and positions of one batch."""
        rows = _with_intercept(rearrange(streams.double(), "layer batch context d -> layer (batch context) d"))
        targets = rearrange(ys.double(), "batch context -> (batch context)")
        cross = einsum(rows, targets, "layer n row, n -> layer row")
        return cls(rows.mT @ rows, cross, targets.square().sum(), len(targets))

    def __add__(self, other: "NormalEquations") -> "NormalEquations":
        return NormalEquations(
            self.gram + other.gram, self.cross + other.cross, self.square + other.square, self.n + other.n
        )

    def error(self, solutions: Float[Tensor, "ridge layer row"]) -> Float[Tensor, "ridge layer"]:
        """Mean squared error of solutions on the data behind these sums."""
        fitted = einsum(
            solutions, self.gram, solutions, "ridge layer row, layer row col, ridge layer col -> ridge layer"
        )
        agreement = einsum(solutions, self.cross, "ridge layer row, layer row -> ridge layer")
        return (fitted - 2 * agreement + self.square) / self.n


@dataclass(frozen=True, eq=False)
class ReadOuts:
    """One affine read-out per layer, shared by all context positions.

    Attributes:
        solutions: Weights, then the intercept.
        ridges: Chosen ridge strength of each layer, relative to the mean diagonal of its Gram matrix.
    """

    solutions: Float[Tensor, "layer row"]
    ridges: Float[Tensor, " layer"]

    def predict(self, streams: Streams) -> Float[Tensor, "layer batch context"]:
        """What each layer predicts, float64."""
        return einsum(
            _with_intercept(streams.double()),
            self.solutions,
            "layer batch context row, layer row -> layer batch context",
        )


def fit(train: NormalEquations, validation: NormalEquations) -> ReadOuts:
    """Ridge read-outs of all layers; strengths chosen on other prompts than the weights.

    Source:
        Fu et al. 2024, arXiv:2310.17086, section 4.1, who train the same read-out by Adam; being least squares,
        it is solved here (Cholesky in float64, the intercept not penalised).
    """
    scale = train.gram.diagonal(dim1=-2, dim2=-1)[..., :-1].mean(-1)
    penalised = torch.ones(train.gram.shape[-1], dtype=train.gram.dtype)
    penalised[-1] = 0.0
    strengths = torch.tensor(RIDGES, dtype=scale.dtype)[:, None] * scale
    systems = train.gram + torch.diag_embed(strengths[..., None] * penalised)
    factors, failures = torch.linalg.cholesky_ex(systems)
    right = train.cross.expand(len(RIDGES), *train.cross.shape)[..., None]
    solutions = torch.cholesky_solve(right, factors)[..., 0]
    errors = torch.where(failures == 0, validation.error(solutions), torch.inf).nan_to_num(torch.inf)
    best = errors.argmin(0)
    layers = torch.arange(len(scale))
    return ReadOuts(solutions[best, layers], torch.tensor(RIDGES, dtype=scale.dtype)[best])


def total(parts: Iterable[NormalEquations]) -> NormalEquations:
    """The sums over all parts."""
    first, *rest = parts
    for part in rest:
        first = first + part
    return first


def _with_intercept(rows: Float[Tensor, "*lead d_model"]) -> Float[Tensor, "*lead row"]:
    return torch.cat([rows, torch.ones_like(rows[..., :1])], -1)
