# pyright: reportMissingImports=false, reportIndexIssue=false, reportAttributeAccessIssue=false
"""Gradients of the weights of narrow blocks, of all layers at once.

A map W after a norm reads s * x + b, with gain s and shift b. With P the product of the map's output gradients and x,
and c the sum of the former, the gradient of W is P * s + c b, that of s the sum of W * P over outputs, and that of b
the sum of W * c: the norm's own need no further sum over rows.
"""

from collections.abc import Callable, Iterable

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench.training.written import kernels
from workbench.training.written.narrow_parts import (
    MANY,
    Left,
    Tiling,
    Weights,
    is_fast,
    matrix,
    put,
    row_of,
    share_and_slope,
    tile_of,
    vector,
)
from workbench.training.written.sums import summed


def _gradient_tiling(n_programs: int, n_rows: int, hidden: int) -> Tiling:
    """For sums over all rows, where as many programs would take one part each."""
    parts = min(triton.cdiv(MANY, n_programs), triton.cdiv(n_rows, 64))
    return Tiling(64, min(64, hidden), 4, 3, parts=parts)


def attention_gradients(left: Left, weights: Weights, into: Weights) -> None:
    """Gradients of the maps and biases of attention, and of the gain and shift of the norm before, into place."""
    n_replicas, n_layers, n_rows, d = left.mixed.shape
    cut = _gradient_tiling(4 * n_replicas * n_layers, n_rows, d)
    names = ("attn.qkv.weight", "attn.qkv.bias", "attn.out.weight", "attn.out.bias")
    parts, sum_up = _parts(into, names, cut.parts)
    norm = torch.empty(n_replicas, n_layers, cut.parts * 3, 2, d, device=left.mixed.device)
    read = [weights[name] for name in ("attn.qkv.weight", "ln1.w", "ln1.b")]
    _attention_gradients[(4, cut.parts, n_replicas * n_layers)](
        left.norm_1.scaled, left.d_qkv, left.mixed, left.d_mid, *read, *_aparts(read[:2], 2), *parts.values(),
        *_aparts(parts.values(), 3), norm, n_rows, n_layers, d, cut.rows, triton.cdiv(n_rows, cut.rows * cut.parts),
        cut.stages, kernels.precision(left.mixed), num_warps=cut.warps, maxnreg=cut.registers,
    )  # fmt: skip
    sum_up()
    summed(norm, into["ln1.w"], into["ln1.b"])


def mlp_gradients(left: Left, weights: Weights, into: Weights) -> None:
    """As ``attention_gradients``, of the MLP, which is computed once more: that is cheaper than writing it down."""
    n_replicas, n_layers, n_rows, d = left.mixed.shape
    names = ("mlp.inner.weight", "mlp.inner.bias", "mlp.out.weight", "mlp.out.bias")
    hidden = weights[names[0]].shape[2]
    chunk = min(64, hidden)
    cut = _gradient_tiling(hidden // chunk * n_replicas * n_layers, n_rows, hidden)
    parts, sum_up = _parts(into, names, cut.parts)
    norm = torch.empty(n_replicas, n_layers, cut.parts * (hidden // cut.chunk), 2, d, device=left.mixed.device)
    read = [weights[name] for name in (*names[:3], "ln2.w", "ln2.b")]
    for first, n_span, every in _spans(left, cut.parts):
        n_counted = n_rows if every == 1 else left.places.n_batch * left.places.n_read
        _mlp_gradients[(hidden // cut.chunk, cut.parts, n_replicas * n_span)](
            left.norm_2.scaled, left.d_out, *read, *_aparts((read[0], read[3]), 2), *parts.values(),
            *_aparts(parts.values(), 3), norm, n_rows, n_layers, first, n_span, left.places.n_positions,
            left.places.n_read, d, hidden, cut.chunk, cut.rows,
            triton.cdiv(n_counted, cut.rows * cut.parts), cut.stages,
            every, is_fast(left.mixed), kernels.precision(left.mixed), num_warps=cut.warps, maxnreg=cut.registers,
        )  # fmt: skip
    sum_up()
    summed(norm, into["ln2.w"], into["ln2.b"])


def _spans(left: Left, n_parts: int) -> list[tuple[int, int, int]]:
    """First layer, number of layers, and how far apart rows are that count: after the last block, those read.

    For few models, a kernel more would cost more than it saves.
    """
    n_layers, every = left.mixed.shape[1], left.places.every
    if n_parts > 1 or every == 1:
        return [(0, n_layers, 1)]
    spans = [(0, n_layers - 1, 1), (n_layers - 1, 1, every)]
    return spans if n_layers > 1 else spans[1:]


def _parts(into: Weights, names: tuple[str, ...], n_parts: int) -> tuple[dict[str, Tensor], Callable[[], None]]:
    """Where gradients go, ``[replica layer part ...]``, and what brings them into place.

    Those of a layer lie one after the other in the flat vector. So do their summands, if there are several: one kernel
    sums them all, and zeros where there is none.
    """
    places = [into[name] for name in names]
    if n_parts == 1:
        return {name: place[:, :, None] for name, place in zip(names, places, strict=True)}, lambda: None
    starts = [place.storage_offset() for place in places]
    sizes = [place[0, 0].numel() for place in places]
    length = starts[-1] + sizes[-1] - starts[0]
    room = torch.zeros if sum(sizes) < length else torch.empty
    summands = room(*places[0].shape[:2], n_parts, length, device=places[0].device)
    parts = {
        name: summands[..., start - starts[0] :][..., :size].unflatten(-1, place.shape[2:])
        for name, place, start, size in zip(names, places, starts, sizes, strict=True)
    }
    whole = places[0].as_strided((*places[0].shape[:2], length), (*places[0].stride()[:2], 1), starts[0])
    return parts, lambda: summed(summands[..., None, :], whole)


def _aparts(tensors: Iterable[Tensor], n: int) -> list[int]:
    return [tensor.stride(i) for tensor in tensors for i in range(n)]


@triton.jit
def _attention_gradients(
    scaled, d_qkv, mixed, d_mid, w_qkv, gain, shift, maps_0, maps_1, rest_0, rest_1,
    to_qkv, to_qkv_bias, to_out, to_out_bias, qkv_0, qkv_1, qkv_2, qkv_bias_0, qkv_bias_1, qkv_bias_2, out_0, out_1,
    out_2, out_bias_0, out_bias_1, out_bias_2, norm, n_rows, n_layers,
    d: tl.constexpr, rows: tl.constexpr, n_tiles: tl.constexpr, stages: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """One program sums one of the four maps: to queries, keys, values, and out."""
    which, part = tl.program_id(0), tl.program_id(1)
    block = tl.program_id(2).to(tl.int64)
    replica, layer = block // n_layers, block % n_layers
    low = mixed.dtype.element_ty
    column = tl.arange(0, d)
    read, come, come_apart = scaled + block * n_rows * d, d_qkv + block * n_rows * 3 * d + which * d, 3 * d
    if which == 3:
        read, come, come_apart = mixed + block * n_rows * d, d_mid + block * n_rows * d, d
    product = tl.zeros([d, d], tl.float32)
    sums = tl.zeros([d, 16], tl.float32)
    ones = tl.full([rows, 16], 1.0, low)
    for tile in tl.range(0, n_tiles, num_stages=stages):
        row = (part * n_tiles + tile) * rows + tl.arange(0, rows)
        x = tile_of(read, row, n_rows, d)
        d_y = tl.load(come + row[:, None] * come_apart + column[None, :], mask=row[:, None] < n_rows, other=0.0)
        product = tl.dot(tl.trans(d_y), x, product, input_precision=precision)
        sums = tl.dot(tl.trans(d_y), ones, sums, input_precision=precision)
    of_bias = tl.sum(sums, 1) / 16
    inner = column[:, None] * d + column[None, :]
    if which == 3:
        put(to_out, replica * out_0 + layer * out_1 + part * out_2 + inner, product)
        put(to_out_bias, replica * out_bias_0 + layer * out_bias_1 + part * out_bias_2 + column, of_bias)
    else:
        w = tl.load(w_qkv + replica * maps_0 + layer * maps_1 + which * d * d + inner).to(tl.float32)
        at = replica * rest_0 + layer * rest_1
        full = product * vector(gain + at, d) + of_bias[:, None] * vector(shift + at, d)
        put(to_qkv, replica * qkv_0 + layer * qkv_1 + part * qkv_2 + which * d * d + inner, full)
        place = replica * qkv_bias_0 + layer * qkv_bias_1 + part * qkv_bias_2 + which * d + column
        put(to_qkv_bias, place, of_bias)
        of_norm = ((block * tl.num_programs(1) + part) * 3 + which) * 2 * d + column
        put(norm, of_norm, tl.sum(w * product, 0))
        put(norm, of_norm + d, tl.sum(w * of_bias[:, None], 0))


@triton.jit
def _mlp_gradients(
    scaled, d_out, w_inner, b_inner, w_back, gain, shift, maps_0, maps_1, rest_0, rest_1,
    to_inner, to_bias, to_back, to_back_bias, inner_0, inner_1, inner_2, bias_0, bias_1, bias_2, back_0, back_1,
    back_2, back_bias_0, back_bias_1, back_bias_2, norm, n_rows, n_layers, first_layer, n_span, n_positions, n_read,
    d: tl.constexpr, hidden: tl.constexpr, chunk: tl.constexpr, rows: tl.constexpr, n_tiles: tl.constexpr,
    stages: tl.constexpr, every: tl.constexpr, fast: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """One program sums some columns of the MLP."""
    start, part = tl.program_id(0) * chunk, tl.program_id(1)
    span = tl.program_id(2).to(tl.int64)
    replica, layer = span // n_span, first_layer + span % n_span
    block = replica * n_layers + layer
    maps, rest = replica * maps_0 + layer * maps_1, replica * rest_0 + layer * rest_1
    low = scaled.dtype.element_ty
    some, column = start + tl.arange(0, chunk), tl.arange(0, d)
    s, b = vector(gain + rest, d), vector(shift + rest, d)
    w = matrix(w_inner + maps + start * d, chunk, d, d).to(tl.float32)
    bias = (tl.load(b_inner + maps + some).to(tl.float32) + tl.sum(w * b, 1))[:, None]
    w_up = (w * s).to(low)
    w_down = tl.trans(matrix(w_back + maps + start, d, chunk, hidden))
    product = tl.zeros([chunk, d], tl.float32)
    of_back = tl.zeros([chunk, d], tl.float32)
    of_bias = tl.zeros([chunk], tl.float32)
    sums = tl.zeros([d, 16], tl.float32)
    ones = tl.full([rows, 16], 1.0, low)
    for tile in tl.range(0, n_tiles, num_stages=stages):
        row = row_of((part * n_tiles + tile) * rows + tl.arange(0, rows), n_positions, n_read, every)
        x = tile_of(scaled + block * n_rows * d, row, n_rows, d)
        come = tile_of(d_out + block * n_rows * d, row, n_rows, d)
        pre = tl.dot(w_up, tl.trans(x), input_precision=precision) + bias
        share, slope = share_and_slope(pre, fast)
        d_pre = tl.dot(w_down, tl.trans(come), input_precision=precision) * slope
        of_bias += tl.sum(d_pre, 1)
        product = tl.dot(d_pre.to(low), x, product, input_precision=precision)
        of_back = tl.dot((pre * share).to(low), come, of_back, input_precision=precision)
        sums = tl.dot(tl.trans(come), ones, sums, input_precision=precision)
    full = product * s + of_bias[:, None] * b
    put(to_inner, replica * inner_0 + layer * inner_1 + part * inner_2 + some[:, None] * d + column[None, :], full)
    put(to_bias, replica * bias_0 + layer * bias_1 + part * bias_2 + some, of_bias)
    place = replica * back_0 + layer * back_1 + part * back_2 + column[None, :] * hidden + some[:, None]
    put(to_back, place, of_back)
    if start == 0:
        outer = replica * back_bias_0 + layer * back_bias_1 + part * back_bias_2 + column
        put(to_back_bias, outer, tl.sum(sums, 1) / 16)
    w = matrix(w_inner + maps + start * d, chunk, d, d).to(tl.float32)
    of_norm = ((block * tl.num_programs(1) + part) * tl.num_programs(0) + tl.program_id(0)) * 2 * d + column
    put(norm, of_norm, tl.sum(w * product, 0))
    put(norm, of_norm + d, tl.sum(w * of_bias[:, None], 0))
