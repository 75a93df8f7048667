"""Where the matrices of the blocks lie in a row of weights."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from workbench.training.flat import FlatLayout

_N_PARTS = {
    "attn.qkv.weight": 3,
    "attn.out.weight": 1,
    "mlp.inner.weight": 1,
    "mlp.gate.weight": 1,
    "mlp.out.weight": 1,
}
"""The hidden matrices, and of how many each weight holds the rows: queries, keys and values are matrices apart."""

Matrices = Float[Tensor, "matrix small large"]
Rows = Float[Tensor, "replica length"]


@dataclass(frozen=True)
class Piece:
    """Consecutive numbers of a block: a matrix, or what lies between matrices.

    Attributes:
        length: Numbers in all.
        shape: Of the matrix; None if it is none.
    """

    length: int
    shape: tuple[int, int] | None


@dataclass(frozen=True)
class Hidden:
    """The hidden matrices of a row: equal blocks, each cut in the same way.

    Attributes:
        n_blocks: Blocks in a row.
        pieces: Of each block, in order.
        dtype: In which matrices are multiplied.
    """

    n_blocks: int
    pieces: Sequence[Piece]
    dtype: torch.dtype

    def replaced(self, rows: Rows, source: Rows, change: Callable[[Matrices], Matrices]) -> Rows:
        """The rows, with each hidden matrix taken from ``source`` and changed.

        Args:
            rows: Gives all other numbers.
            source: Gives the matrices.
            change: Given all matrices of one shape at once, the longer side last; returns as many.
        """
        found, given = self._cut(rows), self._cut(source)
        for numbers in self._alike():
            wide = torch.cat([self._wide(given[i], i) for i in numbers])
            for i, changed in zip(numbers, change(wide).chunk(len(numbers)), strict=True):
                found[i] = self._narrow(changed, i)
        return rearrange(torch.cat(found, 2), "replica block piece -> replica (block piece)")

    def _cut(self, rows: Rows) -> list[Tensor]:
        blocks = rearrange(rows, "replica (block piece) -> replica block piece", block=self.n_blocks)
        return list(blocks.split([piece.length for piece in self.pieces], 2))

    def _alike(self) -> list[list[int]]:
        """Numbers of the pieces that are matrices, those with the same sides together."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, piece in enumerate(self.pieces):
            if piece.shape is not None:
                groups.setdefault(tuple(sorted(piece.shape)), []).append(i)
        return list(groups.values())

    def _wide(self, numbers: Float[Tensor, "replica block piece"], i: int) -> Matrices:
        shape = self.pieces[i].shape
        assert shape is not None
        matrices = rearrange(numbers, "replica block (row column) -> (replica block) row column", row=shape[0])
        return matrices.mT if shape[0] > shape[1] else matrices

    def _narrow(self, matrices: Matrices, i: int) -> Float[Tensor, "replica block piece"]:
        shape = self.pieces[i].shape
        assert shape is not None
        upright = matrices.mT if shape[0] > shape[1] else matrices
        return rearrange(upright, "(replica block) row column -> replica block (row column)", block=self.n_blocks)


def hidden_of(layout: FlatLayout, dtype: torch.dtype) -> Hidden:
    """The hidden matrices in the first part of a layout's rows, of which all blocks are alike."""
    blocks: dict[str, dict[str, int]] = {}
    for name, start in layout.starts.items():
        if start < layout.n_maps:
            _, number, weight = name.split(".", 2)
            blocks.setdefault(number, {})[weight] = start
    n_blocks = len(blocks)
    number, first = next(iter(blocks.items()))
    ends = [*list(first.values())[1:], layout.n_maps // n_blocks]
    pieces = [
        piece
        for (weight, start), end in zip(first.items(), ends, strict=True)
        for piece in _pieces(weight, layout.shapes[f"blocks.{number}.{weight}"], end - start)
    ]
    assert sum(piece.length for piece in pieces) * n_blocks == layout.n_maps, "the blocks are alike"
    return Hidden(n_blocks, tuple(pieces), dtype)


def _pieces(weight: str, shape: tuple[int, ...], length: int) -> list[Piece]:
    """A weight of a block, with the room behind it."""
    if weight not in _N_PARTS:
        return [Piece(length, None)]
    n_parts, (n_rows, n_columns) = _N_PARTS[weight], shape
    matrix = Piece(math.prod(shape) // n_parts, (n_rows // n_parts, n_columns))
    room = Piece(length - math.prod(shape), None)
    return [matrix] * n_parts + [room] * (room.length > 0)
