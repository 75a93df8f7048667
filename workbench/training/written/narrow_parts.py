# pyright: reportMissingImports=false, reportIndexIssue=false, reportAttributeAccessIssue=false
"""What the kernels of narrow blocks have in common."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench.training.written.kernels import half_erfc_and_bell

Weights = Mapping[str, Tensor]
MANY = 132
"""Programs that keep every multiprocessor of an accelerator busy; tilings are by measurement on an H200."""


@dataclass(frozen=True)
class Tiling:
    """How a kernel cuts its work.

    Attributes:
        rows: Of a tile.
        chunk: Columns of the MLP at a time.
        warps: Of one program.
        stages: Chunks of weights, or tiles of rows, that are on their way at once.
        registers: Of a thread, at most.
        parts: Over which a sum over all rows is spread.
    """

    rows: int
    chunk: int
    warps: int
    stages: int
    registers: int | None = None
    parts: int = 1


@dataclass(frozen=True)
class Places:
    """Where predictions are read.

    Attributes:
        n_batch: Prompts of a replica.
        n_positions: Of a prompt.
        every: So many positions apart.
    """

    n_batch: int
    n_positions: int
    every: int

    @property
    def n_read(self) -> int:
        """Positions of a prompt that are read."""
        return triton.cdiv(self.n_positions, self.every)


@dataclass(frozen=True)
class Normed:
    """What norms left of the rows of all layers.

    Attributes:
        scaled: With mean 0 and variance 1, before gain and shift, ``[replica layer row d]``.
        rate: What the centred rows were multiplied with, ``[replica layer row]``.
    """

    scaled: Tensor
    rate: Tensor


@dataclass(frozen=True)
class Left:
    """What weight gradients are products of, ``[replica layer row d]``: inputs of maps, and gradients of their outputs.

    Attributes:
        norm_1: The first norm, without its gain and shift.
        d_qkv: Of queries, keys and values.
        mixed: What the heads mixed.
        d_mid: Of what attention writes.
        norm_2: The second norm.
        d_out: Of what the MLP writes; that of the last block is zero where nothing is read.
        places: Where predictions are read.
    """

    norm_1: Normed
    d_qkv: Tensor
    mixed: Tensor
    d_mid: Tensor
    norm_2: Normed
    d_out: Tensor
    places: Places


def is_fast(low: Tensor) -> bool:
    """Whether the device's own tanh, good to 5e-4, is exact enough for GELU."""
    return low.dtype == torch.bfloat16 and low.is_cuda


@triton.jit
def share_and_slope(x, fast: tl.constexpr):
    """The normal distribution's share below x, and GELU's slope."""
    if fast:  # to 3e-5 and 9e-5, fitted; beyond 4 both are 0 or 1 to 2e-4
        square = tl.minimum(x * x, 16.0)
        u = x * (0.79748066 + square * (0.036983655 - square * 0.00034625755))
        t = tl.inline_asm_elementwise("tanh.approx.f32 $0, $1;", "=f,f", [u], dtype=tl.float32, is_pure=True, pack=1)
        share = 0.5 + 0.5 * t
        steep = 0.79748066 + square * (0.110950964 - square * 0.0017312877)
        slope = share + x * (0.5 - 0.5 * t * t) * steep
    else:
        tail, bell = half_erfc_and_bell(x)
        share = tl.where(x > 0, 1.0 - tail, tail)
        slope = share + x * bell * 0.3989422804014327
    return share, slope


@triton.jit
def row_of(number, n_positions, n_read, every: tl.constexpr):
    """The row of which a tile has a number, where only every so many-th position of a prompt is counted."""
    if every == 1:
        return number
    return number // n_read * n_positions + number % n_read * every


@triton.jit
def tile_of(pointer, row, n_rows, width: tl.constexpr):
    """Rows of a matrix, zeros beyond the last."""
    return tl.load(pointer + row[:, None] * width + tl.arange(0, width)[None, :], mask=row[:, None] < n_rows, other=0.0)


@triton.jit
def store_tile(pointer, row, n_rows, tile, width: tl.constexpr):
    """Rows into a matrix."""
    at = pointer + row[:, None] * width + tl.arange(0, width)[None, :]
    tl.store(at, tile.to(pointer.dtype.element_ty), mask=row[:, None] < n_rows)


@triton.jit
def rate_of(pointer, row, n_rows):
    """A number of each row, as a column."""
    return tl.load(pointer + row, mask=row < n_rows, other=0.0)[:, None]


@triton.jit
def store_rate(pointer, row, n_rows, rate):
    """The same back."""
    tl.store(pointer + row, tl.sum(rate, 1), mask=row < n_rows)


@triton.jit
def put(pointer, place, values):
    """Values in the precision of where they go."""
    tl.store(pointer + place, values.to(pointer.dtype.element_ty))


@triton.jit
def matrix(pointer, n_out: tl.constexpr, n_in: tl.constexpr, apart: tl.constexpr):
    """A whole matrix."""
    return tl.load(pointer + tl.arange(0, n_out)[:, None] * apart + tl.arange(0, n_in)[None, :])


@triton.jit
def vector(pointer, length: tl.constexpr):
    """A whole vector, as a row of float32."""
    return tl.load(pointer + tl.arange(0, length))[None, :].to(tl.float32)


@triton.jit
def normalise(x, epsilon, d: tl.constexpr):
    """Rows with mean 0 and variance 1, and what they were multiplied with."""
    centred = x - tl.sum(x, 1)[:, None] / d
    rate = tl.rsqrt(tl.sum(centred * centred, 1)[:, None] / d + epsilon)
    return centred * rate, rate


@triton.jit
def inward(d_normed, gain, scaled, rate, d: tl.constexpr):
    """The gradient before a norm."""
    d_scaled = d_normed * gain
    along = tl.sum(d_scaled * scaled, 1)[:, None] / d
    return (d_scaled - tl.sum(d_scaled, 1)[:, None] / d - scaled * along) * rate
