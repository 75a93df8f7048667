"""The spectral fingerprint: how much of each eigendirection of its prefix a layer has learnt, with no grid of steps."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from workbench.agreement.matching import Layers
from workbench.agreement.record import Fingerprint, LayerFilter, Scale
from workbench.baselines import Prefixes

SCALES: tuple[Scale, ...] = ("sum", "mean", "relative")
"""Eigenvalues of S_i as they are; over the number of examples; over the largest of the prefix."""
N_KNOTS = 10
_ENDS = (0.005, 0.995)
"""Shares of what least squares says that lie below the first and below the last knot."""
_APART = 1e-6
"""Logarithm by which first and last knot differ at least."""
_SMALLEST = 1e-9
"""Added to the diagonal, relative to its mean: knots that no eigenvalue is near keep 0."""


@dataclass(frozen=True, eq=False)
class _Features:
    """What a filter can say, by knot."""

    knots: Float[Tensor, " knot"]
    values: Float[Tensor, "batch scored knot"]

    @classmethod
    def of(cls, prefixes: Prefixes, scored: slice, scale: Scale) -> "_Features":
        """The part of least squares' prediction that comes from eigenvalues near each knot."""
        eigenvalues = prefixes.eigenvalues[:, scored]
        parts = (prefixes.in_basis(prefixes.xs[:, :, None])[:, :, 0] * prefixes.moment_in_basis)[:, scored]
        seen = eigenvalues > 0
        parts = torch.where(seen, parts / eigenvalues.clamp(min=1e-300), 0.0)
        at = (eigenvalues.clamp(min=1e-300) / _unit(prefixes, scored, scale)).log()
        ends = _quantiles(at[seen], parts[seen] ** 2)
        low, high = ends
        if high - low < _APART:  # as with one input dimension of constant size: a single knot's worth of eigenvalues
            low, high = low - _APART, high + _APART
        knots = torch.linspace(low, high, N_KNOTS, dtype=at.dtype)
        place = ((at - knots[0]) / (knots[1] - knots[0])).clamp(0, N_KNOTS - 1)
        hats = (1 - (place[..., None] - torch.arange(N_KNOTS)).abs()).clamp(min=0)
        return cls(knots, einsum(parts, hats, "batch scored eigen, batch scored eigen knot -> batch scored knot"))

    def fit(self, said: Layers) -> tuple[Float[Tensor, "layer batch knot"], Float[Tensor, "batch knot row"]]:
        """The sums of least squares of each prompt."""
        to = einsum(said, self.values, "layer batch scored, batch scored knot -> layer batch knot")
        gram = einsum(self.values, self.values, "batch scored knot, batch scored row -> batch knot row")
        return to, gram


def _unit(prefixes: Prefixes, scored: slice, scale: Scale) -> Tensor | float:
    if scale == "mean":
        return prefixes.counts[scored].clamp(min=1)[:, None]
    if scale == "relative":
        return prefixes.largest[:, scored, None].clamp(min=1e-300)
    return 1.0


def _quantiles(values: Float[Tensor, " n"], weights: Float[Tensor, " n"]) -> tuple[float, float]:
    order = values.argsort()
    shares = weights[order].cumsum(0) / weights.sum()
    low, high = (int((shares < share).sum()) for share in _ENDS)
    return values[order[low]].item(), values[order[min(high, len(order) - 1)]].item()


def _solve(to: Float[Tensor, "*lead knot"], gram: Float[Tensor, "*other knot row"]) -> Float[Tensor, "*lead knot"]:
    size = gram.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    return torch.linalg.solve(gram + _SMALLEST * size * torch.eye(gram.shape[-1], dtype=gram.dtype), to[..., None])[
        ..., 0
    ]


def fingerprint(
    layers: Layers,
    prefixes: Prefixes,
    scored: slice,
    references: Mapping[str, Layers],
    shares: Float[Tensor, "resample batch"],
    scale: Scale | None = None,
) -> Fingerprint:
    """The filter of every layer, fitted to what it says, beside those of the reference algorithms.

    A spectral algorithm says sum_j lambda_j f(lambda_j) c_j, with c_j the part of least squares' prediction in
    eigendirection j of its prefix. The function lambda f(lambda) is fitted by least squares, piecewise linear in log
    lambda, over all prompts and prefixes.

    Args:
        layers: What each layer says at the scored positions.
        prefixes: Of the same prompts.
        scored: Context positions.
        references: What algorithms say, each at its point nearest to each layer.
        shares: Bootstrap weights of the prompts.
        scale: What eigenvalues are counted in; the one with which filters explain most, if None.
    """
    tried: dict[Scale, _Features] = {
        each: _Features.of(prefixes, scored, each) for each in (SCALES if scale is None else (scale,))
    }
    left: dict[Scale, float] = {each: _left(layers, features).sum().item() for each, features in tried.items()}
    chosen = min(left, key=lambda each: left[each])
    features = tried[chosen]
    to, gram = features.fit(layers)
    learnt = _solve(to.sum(1), gram.sum(0))
    summed = einsum(shares, gram, "resample batch, batch knot row -> resample knot row")
    resampled = _solve(einsum(shares, to, "resample batch, layer batch knot -> layer resample knot"), summed)
    ends = torch.quantile(resampled, torch.tensor([0.025, 0.975], dtype=resampled.dtype), dim=1)
    said = layers.square().sum((1, 2))
    explained = 1 - _left(layers, features) / said.clamp(min=1e-300)
    known = {name: _solve(features.fit(predictions)[0].sum(1), gram.sum(0)) for name, predictions in references.items()}
    weights = gram.sum(0).diagonal()
    weights = weights / weights.sum()
    found = [
        LayerFilter(
            layer=i,
            learnt=_numbers(learnt[i]),
            low=_numbers(ends[0, i]),
            high=_numbers(ends[1, i]),
            explained=explained[i].item() if said[i] > 0 else None,
            references={name: _numbers(curve[i]) for name, curve in known.items()},
            distances={name: _distance(learnt[i], curve[i], weights) for name, curve in known.items()},
        )
        for i in range(len(layers))
    ]
    return Fingerprint(chosen, _numbers(features.knots.exp()), _numbers(weights), tuple(found))


def _left(layers: Layers, features: _Features) -> Float[Tensor, " layer"]:
    """Squares that the best filter leaves."""
    to, gram = features.fit(layers)
    learnt = _solve(to.sum(1), gram.sum(0))
    said = einsum(features.values, learnt, "batch scored knot, layer knot -> layer batch scored")
    return ((layers - said) ** 2).sum((1, 2))


def _distance(a: Tensor, b: Tensor, weights: Tensor) -> float:
    return (weights * (a - b) ** 2).sum().sqrt().item()


def _numbers(values: Tensor) -> tuple[float, ...]:
    return tuple(values.tolist())
