# pyright: reportMissingImports=false, reportIndexIssue=false, reportAttributeAccessIssue=false
"""From one attention to the next in one kernel: rows of the stream, which meet no others there.

Forward that is the output map of what heads mixed, norm, MLP, and the norm before the next attention, whose maps
belong to ``narrow_attention``. After the last block only those rows count where predictions are read.
"""

import triton
import triton.language as tl
from torch import Tensor

from workbench.models.norm import EPSILON
from workbench.training.written import kernels
from workbench.training.written.narrow_parts import (
    MANY,
    Left,
    Normed,
    Places,
    Tiling,
    Weights,
    inward,
    is_fast,
    matrix,
    normalise,
    rate_of,
    row_of,
    share_and_slope,
    store_rate,
    store_tile,
    tile_of,
    vector,
)


def _is_large(n_replicas: int, n_rows: int) -> bool:
    return n_replicas * triton.cdiv(n_rows, 64) >= 2 * MANY


def _forward_tiling(n_replicas: int, n_rows: int, hidden: int) -> Tiling:
    chunk = min(64, hidden)
    return Tiling(64, chunk, 4, 1) if _is_large(n_replicas, n_rows) else Tiling(32, chunk, 4, 2)


def _backward_tiling(n_replicas: int, n_rows: int, hidden: int) -> Tiling:
    """Three large programs on a multiprocessor, with a few registers spilled, beat two."""
    if _is_large(n_replicas, n_rows):
        return Tiling(64, min(32, hidden), 4, 3, registers=168)
    return Tiling(32, min(64, hidden), 4, 2)


_BELOW = ("attn.out.weight", "mlp.inner.weight", "mlp.inner.bias", "mlp.out.weight", "ln2.w", "ln2.b")


def forward(
    stream: Tensor, mixed: Tensor | None, below: Weights | None, above: Weights | None, norms: tuple[Normed, Normed],
    layer: int, places: Places,
) -> Tensor:  # fmt: skip
    """The stream after the block below, from that before it and what its heads mixed.

    What the first norm of ``layer``, the block above, and the second of the block below leave goes to its place. Where
    there is no block above, the stream comes back ``[replica prompt*read d]``.
    """
    n_replicas, n_rows, d = stream.shape
    some = below or above
    assert some is not None
    of_below = [(below or some)[name] for name in (*_BELOW, "attn.out.bias", "mlp.out.bias")]
    n_layers, hidden = norms[0].rate.shape[1], of_below[1].shape[-2]
    low = norms[0].scaled if mixed is None else mixed
    every = places.every if above is None else 1
    n_out = n_rows if above is not None else places.n_batch * places.n_read
    out = stream if below is None else stream.new_empty(n_replicas, n_out, d)
    kept = _of_layer(norms[0], min(layer, n_layers - 1)) + _of_layer(norms[1], max(layer - 1, 0))
    cut = _forward_tiling(n_replicas, n_out, hidden)
    _forward[(triton.cdiv(n_out, cut.rows), n_replicas)](
        stream, low, low.stride(0), out, *kept, *of_below, some["mlp.out.bias"].stride(0), some["ln1.w"].stride(0),
        n_rows, n_rows * n_layers, n_out, places.n_positions, places.n_read, EPSILON, d, hidden, cut.chunk, cut.rows,
        cut.stages, every, below is not None, above is not None, is_fast(low), kernels.precision(low),
        num_warps=cut.warps, maxnreg=cut.registers,
    )  # fmt: skip
    return out


def _of_layer(normed: Normed, layer: int) -> tuple[Tensor, Tensor]:
    return normed.scaled[:, layer], normed.rate[:, layer]


def backward(
    now: Tensor, left: Left, layer: int, below: Weights | None, above: Weights | None, places: Places
) -> Tensor:
    """From the gradient of one attention's queries, keys and values to that of what another writes, in ``left``.

    ``now`` is the gradient of the stream after the block below, as ``forward`` gave it, or, where there is a block
    above, in the middle of that; what comes back is the gradient in the middle of the block below or, where there is
    none, of the stream.
    """
    n_replicas, n_in, d = now.shape
    some = below or above
    assert some is not None
    of_below = [(below or some)[name] for name in _BELOW[1:]]
    of_above = [(above or some)[name] for name in ("attn.qkv.weight", "ln1.w")]
    n_layers, n_rows, hidden = *left.mixed.shape[1:3], of_below[0].shape[-2]
    out = now.new_empty(n_replicas, n_rows, d)
    lower, upper = max(layer - 1, 0), min(layer, n_layers - 1)
    at_below = [left.d_mid[:, lower], left.d_out[:, lower], *_of_layer(left.norm_2, lower)]
    at_above = [left.d_qkv[:, upper], *_of_layer(left.norm_1, upper)]
    every = places.every if above is None else 1
    cut = _backward_tiling(n_replicas, n_in, hidden)
    _backward[(triton.cdiv(n_in, cut.rows), n_replicas)](
        now, out, *at_below, *at_above, *of_below, *of_above, some["mlp.out.bias"].stride(0), some["ln1.w"].stride(0),
        n_rows, n_rows * n_layers, n_in, places.n_positions, places.n_read, d, hidden, cut.chunk, cut.rows, cut.stages,
        every, below is not None, above is not None, is_fast(left.mixed), kernels.precision(left.mixed),
        num_warps=cut.warps, maxnreg=cut.registers,
    )  # fmt: skip
    return out


@triton.jit
def _clear_between(pointer, row, n_rows, n_positions, width: tl.constexpr, every: tl.constexpr):
    """Zeros in the rows that are not counted."""
    for more in tl.static_range(1, every):
        inside = (row < n_rows) & (row % n_positions + more < n_positions)
        zeros = tl.zeros([row.shape[0], width], pointer.dtype.element_ty)
        tl.store(pointer + (row + more)[:, None] * width + tl.arange(0, width)[None, :], zeros, mask=inside[:, None])


@triton.jit
def _forward(
    stream, mixed, mixed_apart, out, scaled_1, rate_1, scaled_2, rate_2,
    w_out, w_inner, b_inner, w_back, gain_2, shift_2, b_out, b_back, maps_apart, rest_apart,
    n_rows, apart, n_out, n_positions, n_read, epsilon, d: tl.constexpr, hidden: tl.constexpr, chunk: tl.constexpr,
    rows: tl.constexpr, stages: tl.constexpr, every: tl.constexpr, has_below: tl.constexpr, has_above: tl.constexpr,
    fast: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    replica = tl.program_id(1).to(tl.int64)
    number = tl.program_id(0) * rows + tl.arange(0, rows)
    row = row_of(number, n_positions, n_read, every)
    maps, rest = replica * maps_apart, replica * rest_apart
    low = mixed.dtype.element_ty
    x = tile_of(stream + replica * n_rows * d, row, n_rows, d)
    if has_below:
        z = tile_of(mixed + replica * mixed_apart, row, n_rows, d)
        x += tl.dot(z, tl.trans(matrix(w_out + maps, d, d, d)), input_precision=precision)
        x += vector(b_out + maps, d)
        scaled, rate = normalise(x, epsilon, d)
        store_tile(scaled_2 + replica * apart * d, row, n_rows, scaled, d)
        _clear_between(scaled_2 + replica * apart * d, row, n_rows, n_positions, d, every)
        store_rate(rate_2 + replica * apart, row, n_rows, rate)
        normed = (scaled * vector(gain_2 + rest, d) + vector(shift_2 + rest, d)).to(low)
        x += vector(b_back + maps, d)
        for start in tl.range(0, hidden, chunk, num_stages=stages):
            w_up = matrix(w_inner + maps + start * d, chunk, d, d)
            pre = tl.dot(normed, tl.trans(w_up), input_precision=precision) + vector(b_inner + maps + start, chunk)
            share, _slope = share_and_slope(pre, fast)
            w_down = matrix(w_back + maps + start, d, chunk, hidden)
            x = tl.dot((pre * share).to(low), tl.trans(w_down), x, input_precision=precision)
        store_tile(out + replica * n_out * d, number, n_out, x, d)
    if has_above:
        scaled, rate = normalise(x, epsilon, d)
        store_tile(scaled_1 + replica * apart * d, row, n_rows, scaled, d)
        store_rate(rate_1 + replica * apart, row, n_rows, rate)


@triton.jit
def _backward(
    d_stream, d_to, d_mid, d_out, scaled_2, rate_2, d_qkv, scaled_1, rate_1,
    w_inner, b_inner, w_back, gain_2, shift_2, w_qkv, gain_1, maps_apart, rest_apart,
    n_rows, apart, n_in, n_positions, n_read, d: tl.constexpr, hidden: tl.constexpr, chunk: tl.constexpr,
    rows: tl.constexpr, stages: tl.constexpr, every: tl.constexpr, has_below: tl.constexpr, has_above: tl.constexpr,
    fast: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    replica = tl.program_id(1).to(tl.int64)
    number = tl.program_id(0) * rows + tl.arange(0, rows)
    row = row_of(number, n_positions, n_read, every)
    maps, rest, at = replica * maps_apart, replica * rest_apart, replica * apart * d
    low = d_mid.dtype.element_ty
    dx = tile_of(d_stream + replica * n_in * d, number, n_in, d)
    if has_above:
        scaled = tile_of(scaled_1 + at, row, n_rows, d).to(tl.float32)
        rate = rate_of(rate_1 + replica * apart, row, n_rows)
        come = d_qkv + at * 3 + row[:, None] * 3 * d + tl.arange(0, d)[None, :]
        read, ws = (), ()
        for which in tl.static_range(3):  # first, so that all are on their way at once
            read += (tl.load(come + which * d, mask=row[:, None] < n_rows, other=0.0),)
            ws += (matrix(w_qkv + maps + which * d * d, d, d, d),)
        d_normed = tl.zeros([rows, d], tl.float32)
        for which in tl.static_range(3):
            d_normed = tl.dot(read[which], ws[which], d_normed, input_precision=precision)
        dx += inward(d_normed, vector(gain_1 + rest, d), scaled, rate, d)
    if has_below:
        d_low = dx.to(low)
        store_tile(d_out + at, row, n_rows, d_low, d)
        _clear_between(d_out + at, row, n_rows, n_positions, d, every)
        scaled = tile_of(scaled_2 + at, row, n_rows, d).to(tl.float32)
        rate = rate_of(rate_2 + replica * apart, row, n_rows)
        gain = vector(gain_2 + rest, d)
        normed = (scaled * gain + vector(shift_2 + rest, d)).to(low)
        d_normed = tl.zeros([rows, d], tl.float32)
        for start in tl.range(0, hidden, chunk, num_stages=stages):
            w_up = matrix(w_inner + maps + start * d, chunk, d, d)
            pre = tl.dot(normed, tl.trans(w_up), input_precision=precision) + vector(b_inner + maps + start, chunk)
            _share, slope = share_and_slope(pre, fast)
            w_down = matrix(w_back + maps + start, d, chunk, hidden)
            d_pre = (tl.dot(d_low, w_down, input_precision=precision) * slope).to(low)
            d_normed = tl.dot(d_pre, w_up, d_normed, input_precision=precision)
        dx += inward(d_normed, gain, scaled, rate, d)
        store_tile(d_mid + at, row, n_rows, dx, d)
        _clear_between(d_mid + at, row, n_rows, n_positions, d, every)
    store_tile(d_to + replica * n_rows * d, row, n_rows, dx, d)
    _clear_between(d_to + replica * n_rows * d, row, n_rows, n_positions, d, every)
