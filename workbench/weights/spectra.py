"""Singular values of key-query products, beside those of random weights of equal norm."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.models.transformer import Transformer
from workbench.weights.patterns import random_products
from workbench.weights.products import Products, products

PerDirection = Float[Tensor, "layer head direction"]


@dataclass(frozen=True, eq=False)
class Spectra:
    """Singular values of KQ among the inputs over the norm of that block, largest first: their squares sum to 1.

    All are 1/sqrt(d_input) where KQ is a multiple of a rotation, the identity among them; one is 1 and the rest 0 where
    it looks along a single direction.

    Attributes:
        values: Of the model.
        null_mean: Mean over models with Gaussian attention weights of the same norms.
        null_low: Their 2.5% quantile.
        null_high: Their 97.5% quantile.
    """

    values: PerDirection
    null_mean: PerDirection
    null_low: PerDirection
    null_high: PerDirection


@torch.no_grad()
def spectra(model: Transformer, n_draws: int = 200, seed: int = 0) -> Spectra:
    """The spectra of all heads with their null.

    Args:
        model: A model whose weights can be folded.
        n_draws: Models with random attention weights.
        seed: Seeds them.

    Raises:
        InputError: As `products`.
    """
    found = products(model)
    generator = torch.Generator().manual_seed(seed)
    null = torch.stack([relative_spectrum(random_products(model, found, generator)) for _ in range(n_draws)])
    low, high = null.nanquantile(torch.tensor([0.025, 0.975], dtype=null.dtype), dim=0)
    return Spectra(relative_spectrum(found), null.nanmean(0), low, high)


def relative_spectrum(found: Products) -> PerDirection:
    """Singular values of KQ among the inputs over their norm; NaN for a head that looks at nothing."""
    values = torch.linalg.svdvals(found.key_query[..., : found.d_input, : found.d_input])
    norm = values.norm(dim=-1, keepdim=True)
    return torch.where(norm > 0, values / norm.clamp(min=torch.finfo(values.dtype).tiny), torch.nan)
