"""Exact expectations of polynomials over small prompts: Gauss quadrature over every random number."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Prompts:
    """All nodes, with weights that sum to 1."""

    xs: Tensor
    ys: Tensor
    query: Tensor
    w: Tensor
    weight: Tensor

    def mean(self, values: Tensor) -> Tensor:
        """The expectation."""
        return (self.weight * values).sum()


def gaussian(n_nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights for N(0, 1), exact to degree 2 n_nodes - 1."""
    at, weight = np.polynomial.hermite_e.hermegauss(n_nodes)
    return torch.tensor(at), torch.tensor(weight / weight.sum())


def uniform(n_nodes: int) -> tuple[Tensor, Tensor]:
    """The same for the uniform law of variance 1."""
    at, weight = np.polynomial.legendre.leggauss(n_nodes)
    return torch.tensor(at * 3**0.5), torch.tensor(weight / 2)


def grid(*rules: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The product rule: nodes ``[node number]`` and weights."""
    at = torch.tensor(list(product(*(rule[0].tolist() for rule in rules))), dtype=torch.float64)
    weight = torch.tensor([np.prod(w) for w in product(*(rule[1].tolist() for rule in rules))], dtype=torch.float64)
    return at, weight


def prompts(
    n_examples: int,
    root: Tensor,
    prior_root: Tensor,
    noise_variance: float,
    *,
    coordinate=gaussian,
    n_nodes: tuple[int, int, int] = (3, 2, 2),
) -> Prompts:
    """Every prompt of a small law, x = z @ root, w = v @ prior_root.

    The numbers of nodes for x, for w and the query, and for noise make polynomials of twice that degree less one exact.
    """
    d = len(root)
    of_x, of_w, of_noise = n_nodes
    noisy = n_examples if noise_variance else 0
    rules = [coordinate(of_x)] * (n_examples * d) + [gaussian(of_w)] * d
    rules += [coordinate(of_w)] * d + [gaussian(of_noise)] * noisy
    at, weight = grid(*rules)
    xs, w, query, noise = at.split([n_examples * d, d, d, noisy], 1)
    xs = xs.reshape(-1, n_examples, d) @ root
    w, query = w @ prior_root, query @ root
    ys = (xs * w[:, None]).sum(-1) + (noise_variance**0.5 * noise if noisy else 0.0)
    return Prompts(xs, ys, query, w, weight)
