"""Linear algebra that does not fall into the traps of this machine or that."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch
from einops import pack, unpack
from jaxtyping import Float
from torch import Tensor

_MATRICES_PER_PIECE = 512

T = TypeVar("T")


@contextmanager
def cpu_threads(n: int) -> Iterator[None]:
    """So many CPU threads inside, the old number after."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_pieces(work: Callable[[int, int], T], n: int, size: int) -> list[T]:
    """``work(start, stop)`` for consecutive pieces of ``n`` rows, in order.

    On as many Python threads as torch has CPU threads, with one of torch's for each: small operations gain nothing
    from threads inside, and batched ``eigh`` loses by them.
    """
    starts = range(0, n, size)
    n_threads = min(torch.get_num_threads(), len(starts))
    with cpu_threads(1):
        if n_threads < 2:
            return [work(start, min(start + size, n)) for start in starts]
        with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as threads:
            return list(threads.map(lambda start: work(start, min(start + size, n)), starts))


def eigh(
    matrices: Float[Tensor, "*lead d d"],
) -> tuple[Float[Tensor, "*lead d"], Float[Tensor, "*lead d d"]]:
    """Eigenvalues, ascending, and eigenvectors as columns of symmetric matrices.

    On one CPU thread a piece: batched ``eigh`` with two OpenMP threads was up to 200 times slower on a busy machine.
    """
    flat, lead = pack([matrices], "* row col")
    values, vectors = flat.new_empty(flat.shape[:-1]), torch.empty_like(flat)
    work = partial(_eigh_piece, flat, values, vectors)
    in_pieces(work, len(flat), _MATRICES_PER_PIECE if flat.device.type == "cpu" else max(len(flat), 1))
    (values,), (vectors,) = unpack(values, lead, "* eigen"), unpack(vectors, lead, "* row eigen")
    return values, vectors


def _eigh_piece(matrices: Tensor, values: Tensor, vectors: Tensor, start: int, stop: int) -> None:
    values[start:stop], vectors[start:stop] = torch.linalg.eigh(matrices[start:stop])
