"""The posterior mean when only a few coordinates of w are not zero, by enumerating which."""

import math
from itertools import combinations

import torch
from einops import rearrange
from torch import Tensor

from workbench.baselines.prefixes import Prefixes, Weights
from workbench.baselines.record import Baseline, Steps
from workbench.configs import is_count, is_finite
from workbench.errors import must, refuse_faults

MOST_SUPPORTS = 20_000
_ELEMENTS = 2**22
"""Numbers held at once for all supports of some prefixes."""


def solve(
    prefixes: Prefixes,
    _steps: Steps = None,
    *,
    n_nonzero: int = 3,
    noise_variance: float = 1e-4,
    prior_variance: float = 1.0,
) -> Weights:
    """The mean of w under the posterior: of every support the ridge solution, weighted by its marginal likelihood.

    Args:
        prefixes: What to learn from.
        n_nonzero: Coordinates that are not zero; all choices equally likely.
        noise_variance: Of the labels; the default stands for none.
        prior_variance: Of the coordinates that are not zero.

    Raises:
        InputError: If a number is out of range, or there are too many supports to enumerate.
    """
    d = prefixes.xs.shape[-1]
    within = is_count(n_nonzero) and n_nonzero <= d
    refuse_faults(
        [
            must("n_nonzero", f"be a whole number from 1 to {d}", n_nonzero, within),
            must("noise_variance", "be greater than 0", noise_variance, is_finite(noise_variance, above=0)),
            must("prior_variance", "be greater than 0", prior_variance, is_finite(prior_variance, above=0)),
        ]
    )
    n = math.comb(d, n_nonzero)
    way_out = f"{n_nonzero} of {d} coordinates; take fewer"
    refuse_faults([must("the number of supports", f"be at most {MOST_SUPPORTS}", n, n <= MOST_SUPPORTS, way_out)])
    supports = torch.tensor(list(combinations(range(d), n_nonzero)), device=prefixes.xs.device)
    gram = rearrange(prefixes.gram, "batch context row col -> (batch context) row col")
    moment = rearrange(prefixes.moment, "batch context d_input -> (batch context) d_input")
    size = max(1, _ELEMENTS // (n * n_nonzero * n_nonzero))
    parts = [
        _mean(g, m, supports, noise_variance, noise_variance / prior_variance)
        for g, m in zip(gram.split(size), moment.split(size), strict=True)
    ]
    return rearrange(torch.cat(parts), "(batch context) d_input -> 1 batch context d_input", batch=len(prefixes.ys))


def _mean(gram: Tensor, moment: Tensor, supports: Tensor, noise: float, ridge: float) -> Tensor:
    """Posterior mean of w for some prefixes."""
    k = supports.shape[1]
    rows, cols = supports[:, :, None].expand(-1, k, k), supports[:, None, :].expand(-1, k, k)
    eye = torch.eye(k, dtype=gram.dtype, device=gram.device)
    factor = _cholesky(gram[:, rows, cols] + ridge * eye)
    half = _forward(factor, moment[:, supports])
    # log N(y; 0, noise I + prior X_S X_S^T) but for what all supports share
    evidence = sum(half[i] ** 2 for i in range(k)) / (2 * noise) - sum(torch.log(factor[i][i]) for i in range(k))
    solution = torch.stack(_backward(factor, half), -1)
    shares = torch.softmax(torch.as_tensor(evidence), -1)
    chosen = torch.nn.functional.one_hot(supports, moment.shape[-1]).to(gram)
    return torch.einsum("ps,psk,skd->pd", shares, solution, chosen)


# A few coordinates and very many systems: loops over coordinates, elementwise over systems


def _cholesky(matrix: Tensor) -> list[list[Tensor]]:
    """Entries [i][j], j <= i, of the lower factors."""
    factor: list[list[Tensor]] = []
    for i in range(matrix.shape[-1]):
        row: list[Tensor] = []
        for j in range(i):
            row.append((matrix[..., i, j] - sum(row[m] * factor[j][m] for m in range(j))) / factor[j][j])
        row.append((matrix[..., i, i] - sum(entry**2 for entry in row)).sqrt())
        factor.append(row)
    return factor


def _forward(factor: list[list[Tensor]], aims: Tensor) -> list[Tensor]:
    found: list[Tensor] = []
    for i, row in enumerate(factor):
        found.append((aims[..., i] - sum(row[j] * found[j] for j in range(i))) / row[i])
    return found


def _backward(factor: list[list[Tensor]], aims: list[Tensor]) -> list[Tensor]:
    found: dict[int, Tensor] = {}
    for i in reversed(range(len(factor))):
        later = sum(factor[j][i] * found[j] for j in range(i + 1, len(factor)))
        found[i] = (aims[i] - later) / factor[i][i]
    return [found[i] for i in range(len(factor))]


SPARSE_BAYES = Baseline(
    name="sparse_bayes",
    label="Bayes, sparse weights",
    source="Spike and slab with a known number of non-zero coordinates, N(0, 1) each, supports enumerated",
    family="sparse",
    color="#870087",
    solve=solve,
    linear_in_y=False,
)
