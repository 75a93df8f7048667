"""The phases of its coordinates in which a layer on diagonal dynamics takes its step: none of them can be told by risk.

W is diagonal, so that it commutes with every D = diag(e^{i phi}). The step f = D x_{i+1} x_i^* D^* x_t errs as much as
that without D: the coherent part of coordinate j has e^{i phi_j} e^{-i phi_j}, and the rest, of other coordinates, has
mean 0 and the same size. From random weights training so ends at phases that are left to chance.
"""

import torch
from einops import einsum
from jaxtyping import Complex, Float
from torch import Tensor

Phases = Complex[Tensor, " coordinate"]
_N_ROUNDS = 100


def coefficients(
    plain: Float[Tensor, "output value key query"],
) -> Complex[Tensor, "output_coordinate key_coordinate"]:
    """M_jr of f_j = sum_r M_jr v_j k_r^* q_r, the nearest of such maps to a real tensor of pairs of coordinates.

    Args:
        plain: f_o = sum T[o, v, k, q] v_v k_k q_q with real and imaginary parts in turn.
    """
    pairs = plain.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).unflatten(0, (-1, 2))
    of_output = torch.diagonal(pairs, dim1=0, dim2=2)  # value coordinate = output coordinate, now the last axis
    own = torch.diagonal(of_output, dim1=2, dim2=4)  # key = query, the last axis; parts of output, value, key, query
    product = _product().to(plain.dtype)
    turned = torch.stack([-product[1], product[0]])
    real, imaginary = (
        einsum(own, each, "out value key query j r, out value key query -> j r") / 8 for each in (product, turned)
    )
    return torch.complex(real, imaginary)


def _product() -> Float[Tensor, "2 2 2 2"]:
    """V k^* q of complex numbers as a real tensor [output value key query]."""
    one = torch.tensor([1, 1j], dtype=torch.complex128)
    return torch.view_as_real(einsum(one, one.conj(), one, "v, k, q -> v k q")).permute(3, 0, 1, 2)


def best_phases(found: Complex[Tensor, "coordinate coordinate"]) -> Phases:
    """D, the first of it 1, that makes Re sum_jr D_j^* M_jr D_r large, by power steps from an eigenvector."""
    both = found + found.mH
    start = torch.linalg.eigh(both).eigenvectors[:, -1]
    phases = _of_size_one(start)
    shift = torch.linalg.matrix_norm(both, 2) * torch.eye(len(found), dtype=found.dtype)
    for _ in range(_N_ROUNDS):
        phases = _of_size_one((both + shift) @ phases)  # the shift makes every step an ascent
    return phases * phases[0].conj()


def _of_size_one(numbers: Phases) -> Phases:
    sizes = numbers.abs()
    return torch.where(sizes > 0, numbers / sizes.clamp(min=torch.finfo(sizes.dtype).tiny), torch.ones_like(numbers))


def turning(phases: Phases) -> Float[Tensor, "state state"]:
    """D as a real matrix on real and imaginary parts in turn."""
    return torch.block_diag(
        *[torch.stack([torch.stack([p.real, -p.imag]), torch.stack([p.imag, p.real])]) for p in phases]
    )
