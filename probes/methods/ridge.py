"""Linear probes in closed form: one eigendecomposition per site for all strengths, targets and controls."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from probes.config import MlpConfig
from probes.record import Probe, Samples
from probes.sums import Rows, Sums
from workbench.errors import InputError
from workbench.linalg import eigh

RIDGES = tuple(10.0**power for power in range(-12, 4))
"""Candidate strengths, relative to the mean variance of the activations times the number of samples."""


@dataclass(frozen=True, eq=False)
class Linear:
    """Affine maps from activations to columns, one per site.

    Attributes:
        weights: Their weights.
        intercepts: Their intercepts.
    """

    weights: Float[Tensor, "site width column"]
    intercepts: Float[Tensor, "site column"]

    def __call__(self, rows: Rows) -> Float[Tensor, "site sample column"]:
        """What they say, float64."""
        return rows.double() @ self.weights + self.intercepts[:, None]


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Centred least squares of every site in the eigenbasis of its Gram matrix.

    Attributes:
        n: Samples.
        x: Mean activations.
        y: Mean targets.
        values: Eigenvalues of the centred Gram matrix.
        basis: Its eigenvectors, as columns.
        cross: Centred cross products in that basis.
        squares: Centred sums of squares of the targets.
    """

    n: int
    x: Float[Tensor, "site width"]
    y: Float[Tensor, " column"]
    values: Float[Tensor, "site width"]
    basis: Float[Tensor, "site width eigen"]
    cross: Float[Tensor, "site eigen column"]
    squares: Float[Tensor, " column"]

    @classmethod
    def of(cls, sums: Sums) -> "Spectrum":
        """From the sums over the training samples."""
        x, y = sums.x / sums.n, sums.y / sums.n
        gram, cross, squares = sums.about(x, y)
        values, basis = eigh(gram)
        return cls(sums.n, x, y, values.clamp(min=0.0), basis, basis.mT @ cross, squares)

    @property
    def unit(self) -> Float[Tensor, " site"]:
        """What strengths are relative to; 1 for a site that never changes."""
        mean = self.values.mean(-1)
        return torch.where(mean > 0, mean, 1.0)

    def validation_errors(self, validation: Sums, ridges: Sequence[float]) -> Float[Tensor, "ridge site column"]:
        """Mean squared error of every strength on other samples, from their sums alone."""
        gram, cross, squares = validation.about(self.x, self.y)
        gram, cross = self.basis.mT @ gram @ self.basis, self.basis.mT @ cross
        found = []
        for ridge in ridges:
            w = self.cross / (self.values + ridge * self.unit[:, None])[..., None]
            fitted = einsum(w, gram @ w - 2 * cross, "site eigen column, site eigen column -> site column")
            found.append((fitted + squares) / validation.n)
        return torch.stack(found)

    def solution(self, ridges: Float[Tensor, "site column"]) -> Linear:
        """The probes at one relative strength for every site and column."""
        shrunk = self.values[..., None] + (ridges * self.unit[:, None])[:, None]
        weights = self.basis @ (self.cross / shrunk)
        shift = einsum(self.x, weights, "site width, site width column -> site column")
        return Linear(weights, self.y - shift)


def choose(
    errors: Float[Tensor, "ridge site column"], parts: Sequence[slice], ridges: Sequence[float]
) -> Float[Tensor, "site part"]:
    """The strength of least error, one for the columns of each part together."""
    candidates = torch.tensor(ridges, dtype=errors.dtype)
    best = [errors[..., part].sum(-1).nan_to_num(torch.inf).argmin(0) for part in parts]
    return torch.stack([candidates[index] for index in best], -1)


def spread(strengths: Float[Tensor, "site part"], parts: Sequence[slice]) -> Float[Tensor, "site column"]:
    """The strength of each column from that of its part; parts follow each other without gaps."""
    widths = torch.tensor([part.stop - part.start for part in parts])
    return strengths.repeat_interleave(widths, -1)


def check_enough(n_samples: int, width: int) -> None:
    """Refuse to fit more weights than there are samples.

    Raises:
        InputError: With the number of prompts that would do.
    """
    if n_samples <= width:
        raise InputError(
            f"n_fit must leave more training samples than the {width} features of a site; got {n_samples}. "
            f"Raise n_fit to at least {4 * (width + 1) // 3 + 1}."
        )


@dataclass(frozen=True, eq=False)
class _Copies:
    """Linear probes of several copies of a target."""

    linear: Linear
    n_copies: int

    def __call__(self, activations: Rows) -> Float[Tensor, "site copy sample column"]:
        return rearrange(
            self.linear(activations), "site sample (copy column) -> site copy sample column", copy=self.n_copies
        )


def fit(train: Samples, validation: Samples, _settings: MlpConfig, _seed: int) -> _Copies:
    """Ridge regression with an intercept; strengths chosen on the validation samples, for each copy alone.

    Checked against `sklearn.linear_model.Ridge` in float64.

    Raises:
        InputError: If there are no more samples than features.
    """
    copies, n_samples, n_columns = train.targets.shape
    check_enough(n_samples, train.activations.shape[-1])
    flat = [rearrange(each.targets, "copy sample column -> sample (copy column)") for each in (train, validation)]
    parts = [slice(start, start + n_columns) for start in range(0, copies * n_columns, n_columns)]
    found = Spectrum.of(Sums.of(train.activations, flat[0]))
    errors = found.validation_errors(Sums.of(validation.activations, flat[1]), RIDGES)
    return _Copies(found.solution(spread(choose(errors, parts, RIDGES), parts)), copies)


RIDGE = Probe(
    name="ridge",
    label="Ridge regression",
    source="Alain and Bengio 2016, arXiv:1610.01644; closed form",
    says="numbers",
    pools=False,
    fit=fit,
)
