# pyright: reportMissingImports=false, reportIndexIssue=false, reportAttributeAccessIssue=false
"""The Triton kernels of ``wide``: products with what comes after them.

A product takes rows ``[row k]`` through a map that is read as ``[k column]``, at strides ``w_k`` and ``w_n``. Rows past
the last are read as the last, and neither stored nor summed; where tiles are ``even``, there are none.
"""

import triton
import triton.language as tl

from workbench.training.written.narrow_parts import share_and_slope


@triton.jit
def _rows(tile_of, n_rows, tile: tl.constexpr, even: tl.constexpr):
    """Rows of a tile to read, and which of them there are."""
    place = tile_of * tile + tl.arange(0, tile)
    row = place if even else tl.minimum(place, n_rows - 1)
    inside = tl.full([tile, 1], True, tl.int1) if even else (place < n_rows)[:, None]
    return row, inside


@triton.jit
def _product(
    rows, weight, row, column, k_total: tl.constexpr, w_n: tl.constexpr, w_k: tl.constexpr, tile: tl.constexpr,
    columns: tl.constexpr, inner: tl.constexpr, stages: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    found = tl.zeros([tile, columns], tl.float32)
    k = tl.arange(0, inner)
    from_rows = rows + row[:, None] * k_total + k[None, :]
    from_weight = weight + k[:, None] * w_k + column[None, :] * w_n
    for _ in tl.range(0, k_total, inner, num_stages=stages):
        found = tl.dot(tl.load(from_rows), tl.load(from_weight), found, input_precision=precision)
        from_rows += inner
        from_weight += inner * w_k
    return found


@triton.jit
def mapped(
    rows, rows_apart, weight, weight_apart, bias, bias_apart, out, out_apart, n_rows, n_out: tl.constexpr,
    k_total: tl.constexpr, w_n: tl.constexpr, w_k: tl.constexpr, tile: tl.constexpr, even: tl.constexpr,
    columns: tl.constexpr, inner: tl.constexpr, stages: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """Rows through a map, with its bias."""
    replica = tl.program_id(2).to(tl.int64)
    row, inside = _rows(tl.program_id(1), n_rows, tile, even)
    column = tl.program_id(0) * columns + tl.arange(0, columns)
    found = _product(
        rows + replica * rows_apart, weight + replica * weight_apart, row, column, k_total, w_n, w_k, tile, columns,
        inner, stages, precision,
    )  # fmt: skip
    found += tl.load(bias + replica * bias_apart + column)[None, :].to(tl.float32)
    to = out + replica * out_apart + row[:, None] * n_out + column[None, :]
    tl.store(to, found.to(out.dtype.element_ty), mask=inside)


@triton.jit
def map_gelu(
    rows, rows_apart, weight, weight_apart, bias, bias_apart, slope, slope_apart, out, out_apart, n_rows,
    n_out: tl.constexpr, k_total: tl.constexpr, w_n: tl.constexpr, w_k: tl.constexpr, tile: tl.constexpr,
    even: tl.constexpr, columns: tl.constexpr, inner: tl.constexpr, stages: tl.constexpr, precision: tl.constexpr,
    fast: tl.constexpr,
):  # fmt: skip
    """GELU of rows through a map with its bias, and the slope there."""
    replica = tl.program_id(2).to(tl.int64)
    row, inside = _rows(tl.program_id(1), n_rows, tile, even)
    column = tl.program_id(0) * columns + tl.arange(0, columns)
    shift = tl.load(bias + replica * bias_apart + column)[None, :].to(tl.float32)
    x = _product(
        rows + replica * rows_apart, weight + replica * weight_apart, row, column, k_total, w_n, w_k, tile, columns,
        inner, stages, precision,
    ) + shift  # fmt: skip
    share, steep = share_and_slope(x, fast)
    at = row[:, None] * n_out + column[None, :]
    tl.store(out + replica * out_apart + at, (x * share).to(out.dtype.element_ty), mask=inside)
    tl.store(slope + replica * slope_apart + at, steep.to(slope.dtype.element_ty), mask=inside)


@triton.jit
def gelu_backward(
    d_rows, d_rows_apart, weight, weight_apart, slope, slope_apart, d_pre, d_pre_apart, parts, parts_apart, n_rows,
    n_out: tl.constexpr, k_total: tl.constexpr, w_n: tl.constexpr, w_k: tl.constexpr, tile: tl.constexpr,
    even: tl.constexpr, columns: tl.constexpr, n_tiles: tl.constexpr, stages: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """Rows through a map, times the slope, and their sum.

    A program keeps its columns of the map on the chip, and takes every so-manieth tile of rows through them.
    """
    replica = tl.program_id(2).to(tl.int64)
    k, column = tl.arange(0, k_total), tl.program_id(0) * columns + tl.arange(0, columns)
    w = tl.load(weight + replica * weight_apart + k[:, None] * w_k + column[None, :] * w_n)
    total = tl.zeros([tile, columns], tl.float32)
    for i in tl.range(0, n_tiles, num_stages=stages):
        row, inside = _rows(i * tl.num_programs(1) + tl.program_id(1), n_rows, tile, even)
        at = row[:, None] * n_out + column[None, :]
        read = tl.load(d_rows + replica * d_rows_apart + row[:, None] * k_total + k[None, :])
        steep = tl.load(slope + replica * slope_apart + at).to(tl.float32)
        dx = tl.where(inside, tl.dot(read, w, input_precision=precision) * steep, 0.0)
        tl.store(d_pre + replica * d_pre_apart + at, dx.to(d_pre.dtype.element_ty), mask=inside)
        total += dx
    tl.store(parts + replica * parts_apart + tl.program_id(1) * n_out + column, tl.sum(total, 0))
