"""Linear algebra that does not fall into the traps of this machine or that."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from einops import pack, unpack
from jaxtyping import Float
from torch import Tensor


@contextmanager
def cpu_threads(n: int) -> Iterator[None]:
    """So many CPU threads inside, the old number after."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def eigh(
    matrices: Float[Tensor, "*lead d d"],
) -> tuple[Float[Tensor, "*lead d"], Float[Tensor, "*lead d d"]]:
    """Eigenvalues, ascending, and eigenvectors as columns of symmetric matrices.

    On one CPU thread: batched ``eigh`` with two OpenMP threads was up to 200 times slower on a busy machine.
    """
    flat, lead = pack([matrices], "* row col")
    with cpu_threads(1):
        values, vectors = torch.linalg.eigh(flat)
    (values,), (vectors,) = unpack(values, lead, "* eigen"), unpack(vectors, lead, "* row eigen")
    return values, vectors
