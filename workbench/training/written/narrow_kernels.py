# pyright: reportMissingImports=false, reportIndexIssue=false, reportAttributeAccessIssue=false
"""The Triton kernels of ``narrow``.

Rows are positions of prompts. A kernel from one attention to the next touches the block below and the block above;
weights come by their names in a block.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench.models.norm import EPSILON
from workbench.training.written import kernels
from workbench.training.written.kernels import half_erfc_and_bell

Weights = Mapping[str, Tensor]
_MANY = 132
"""Programs that keep every multiprocessor of an accelerator busy; the tilings below are by measurement on an H200."""


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


def _is_large(n_replicas: int, n_rows: int) -> bool:
    return n_replicas * triton.cdiv(n_rows, 64) >= 2 * _MANY


def _forward_tiling(n_replicas: int, n_rows: int, hidden: int) -> Tiling:
    chunk = min(64, hidden)
    return Tiling(64, chunk, 4, 1) if _is_large(n_replicas, n_rows) else Tiling(32, chunk, 4, 2)


def _backward_tiling(n_replicas: int, n_rows: int, hidden: int) -> Tiling:
    """Three large programs on a multiprocessor, with a few registers spilled, beat two."""
    if _is_large(n_replicas, n_rows):
        return Tiling(64, min(32, hidden), 4, 3, registers=168)
    return Tiling(32, min(64, hidden), 4, 2)


def _gradient_tiling(n_programs: int, n_rows: int, hidden: int) -> Tiling:
    """For sums over all rows, where as many programs would take one part each."""
    parts = min(triton.cdiv(_MANY, n_programs), triton.cdiv(n_rows, 64))
    return Tiling(64, min(64, hidden), 4, 3, parts=parts)


# From one attention to the next

_BELOW = ("attn.out.weight", "mlp.inner.weight", "mlp.inner.bias", "mlp.out.weight", "ln2.w", "ln2.b")
_ABOVE = ("attn.qkv.weight", "ln1.w")


def _pointers(below: Weights | None, above: Weights | None, *, forth: bool) -> tuple[list[Tensor], int, int]:
    """The weights that a kernel reads, some placeholder where it has no such block, and how far replicas are apart."""
    some = below or above
    assert some is not None
    of_below = (*_BELOW, "mlp.out.bias", "attn.out.bias") if forth else _BELOW
    of_above = (*_ABOVE, "attn.qkv.bias", "ln1.b") if forth else _ABOVE
    named = [(below or some)[name] for name in of_below] + [(above or some)[name] for name in of_above]
    return named, some["mlp.out.bias"].stride(0), some["ln1.w"].stride(0)


@dataclass(frozen=True)
class Normed:
    """What norms left of the rows of all layers.

    Attributes:
        scaled: With mean 0 and variance 1, before gain and shift, ``[replica layer row d]``.
        rate: What the centred rows were multiplied with, ``[replica layer row]``.
    """

    scaled: Tensor
    rate: Tensor


def forward(
    stream: Tensor, mixed: Tensor | None, below: Weights | None, above: Weights | None, qkv: Tensor | None,
    norms: tuple[Normed, Normed], layer: int,
) -> Tensor:  # fmt: skip
    """The stream after the block below, from that before it and what its heads mixed; ``qkv`` of the block above.

    What the two norms of ``layer``, the block above, and of the block below leave goes to its place.
    """
    n_replicas, n_rows, d = stream.shape
    weights, maps_apart, rest_apart = _pointers(below, above, forth=True)
    hidden = weights[2].shape[-1]
    low = qkv if mixed is None else mixed
    assert low is not None
    out = stream if below is None else torch.empty_like(stream)
    n_layers = norms[0].rate.shape[1]
    kept = _of_layer(norms[0], min(layer, n_layers - 1)) + _of_layer(norms[1], max(layer - 1, 0))
    cut = _forward_tiling(n_replicas, n_rows, hidden)
    _forward[(triton.cdiv(n_rows, cut.rows), n_replicas)](
        stream, low, low.stride(0), out, low if qkv is None else qkv, low.stride(0) if qkv is None else qkv.stride(0),
        *kept, *weights, maps_apart, rest_apart, n_rows, n_rows * n_layers, EPSILON, d, hidden, cut.chunk, cut.rows,
        cut.stages, below is not None, above is not None, _fast(low), kernels.precision(low), num_warps=cut.warps,
        maxnreg=cut.registers,
    )  # fmt: skip
    return out


def _of_layer(normed: Normed, layer: int) -> tuple[Tensor, Tensor]:
    return normed.scaled[:, layer], normed.rate[:, layer]


@dataclass(frozen=True)
class Left:
    """What weight gradients are products of, ``[replica layer row d]``: inputs of maps, and gradients of their outputs.

    Attributes:
        norm_1: The first norm, without its gain and shift.
        d_qkv: Of queries, keys and values.
        mixed: What the heads mixed.
        d_mid: Of what attention writes.
        norm_2: The second norm.
        d_out: Of what the MLP writes.
    """

    norm_1: Normed
    d_qkv: Tensor
    mixed: Tensor
    d_mid: Tensor
    norm_2: Normed
    d_out: Tensor


def backward(
    now: Tensor, d_mixed: Tensor, left: Left, layer: int, below: Weights | None, above: Weights | None
) -> Tensor:
    """From the gradient of one attention's inputs to that of another's output, ``d_mixed``.

    ``now`` is the gradient of the stream after the block below or, where there is a block above, in the middle of that;
    what comes back is the gradient in the middle of the block below or, where there is none, of the stream.
    """
    n_replicas, n_rows, d = now.shape
    weights, maps_apart, rest_apart = _pointers(below, above, forth=False)
    n_layers, hidden = left.mixed.shape[1], weights[2].shape[-1]
    out = torch.empty_like(now)
    lower, upper = max(layer - 1, 0), min(layer, n_layers - 1)
    of_below = [left.d_mid[:, lower], left.d_out[:, lower], *_of_layer(left.norm_2, lower)]
    of_above = [left.d_qkv[:, upper], *_of_layer(left.norm_1, upper)]
    cut = _backward_tiling(n_replicas, n_rows, hidden)
    _backward[(triton.cdiv(n_rows, cut.rows), n_replicas)](
        now, out, *of_below, *of_above, d_mixed, *weights, maps_apart,
        rest_apart, n_rows, n_rows * n_layers, d, hidden, cut.chunk, cut.rows, cut.stages, below is not None,
        above is not None, _fast(d_mixed), kernels.precision(d_mixed), num_warps=cut.warps, maxnreg=cut.registers,
    )  # fmt: skip
    return out


def _fast(low: Tensor) -> bool:
    """Whether the device's own tanh, good to 5e-4, is exact enough for GELU."""
    return low.dtype == torch.bfloat16 and low.is_cuda


@triton.jit
def _share_and_slope(x, fast: tl.constexpr):
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
def _tile(pointer, row, n_rows, width: tl.constexpr):
    return tl.load(pointer + row[:, None] * width + tl.arange(0, width)[None, :], mask=row[:, None] < n_rows, other=0.0)


@triton.jit
def _store(pointer, row, n_rows, tile, width: tl.constexpr):
    at = pointer + row[:, None] * width + tl.arange(0, width)[None, :]
    tl.store(at, tile.to(pointer.dtype.element_ty), mask=row[:, None] < n_rows)


@triton.jit
def _rate(pointer, row, n_rows):
    return tl.load(pointer + row, mask=row < n_rows, other=0.0)[:, None]


@triton.jit
def _store_rate(pointer, row, n_rows, rate):
    tl.store(pointer + row, tl.sum(rate, 1), mask=row < n_rows)


@triton.jit
def _put(pointer, place, values):
    tl.store(pointer + place, values.to(pointer.dtype.element_ty))


@triton.jit
def _matrix(pointer, n_out: tl.constexpr, n_in: tl.constexpr, apart: tl.constexpr):
    return tl.load(pointer + tl.arange(0, n_out)[:, None] * apart + tl.arange(0, n_in)[None, :])


@triton.jit
def _vector(pointer, length: tl.constexpr):
    return tl.load(pointer + tl.arange(0, length))[None, :].to(tl.float32)


@triton.jit
def _scaled(x, epsilon, d: tl.constexpr):
    """Rows with mean 0 and variance 1, and what they were multiplied with."""
    centred = x - tl.sum(x, 1)[:, None] / d
    rate = tl.rsqrt(tl.sum(centred * centred, 1)[:, None] / d + epsilon)
    return centred * rate, rate


@triton.jit
def _inward(d_normed, gain, scaled, rate, d: tl.constexpr):
    """The gradient before a norm."""
    d_scaled = d_normed * gain
    along = tl.sum(d_scaled * scaled, 1)[:, None] / d
    return (d_scaled - tl.sum(d_scaled, 1)[:, None] / d - scaled * along) * rate


@triton.jit
def _forward(
    stream, mixed, mixed_apart, out, qkv, qkv_apart, scaled_1, rate_1, scaled_2, rate_2,
    w_out, w_inner, b_inner, w_back, gain_2, shift_2, b_back, b_out, w_qkv, gain_1, b_qkv, shift_1, maps_apart,
    rest_apart, n_rows, apart, epsilon, d: tl.constexpr, hidden: tl.constexpr, chunk: tl.constexpr,
    rows: tl.constexpr, stages: tl.constexpr, has_below: tl.constexpr, has_above: tl.constexpr, fast: tl.constexpr,
    precision: tl.constexpr,
):  # fmt: skip
    replica = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    maps, rest = replica * maps_apart, replica * rest_apart
    low = mixed.dtype.element_ty
    x = _tile(stream + replica * n_rows * d, row, n_rows, d)
    if has_below:
        z = _tile(mixed + replica * mixed_apart, row, n_rows, d)
        x += tl.dot(z, tl.trans(_matrix(w_out + maps, d, d, d)), input_precision=precision)
        x += _vector(b_out + maps, d)
        scaled, rate = _scaled(x, epsilon, d)
        _store(scaled_2 + replica * apart * d, row, n_rows, scaled, d)
        _store_rate(rate_2 + replica * apart, row, n_rows, rate)
        normed = (scaled * _vector(gain_2 + rest, d) + _vector(shift_2 + rest, d)).to(low)
        x += _vector(b_back + maps, d)
        for start in tl.range(0, hidden, chunk, num_stages=stages):
            w_up = _matrix(w_inner + maps + start * d, chunk, d, d)
            pre = tl.dot(normed, tl.trans(w_up), input_precision=precision) + _vector(b_inner + maps + start, chunk)
            share, _slope = _share_and_slope(pre, fast)
            w_down = _matrix(w_back + maps + start, d, chunk, hidden)
            x = tl.dot((pre * share).to(low), tl.trans(w_down), x, input_precision=precision)
        _store(out + replica * n_rows * d, row, n_rows, x, d)
    if has_above:
        scaled, rate = _scaled(x, epsilon, d)
        _store(scaled_1 + replica * apart * d, row, n_rows, scaled, d)
        _store_rate(rate_1 + replica * apart, row, n_rows, rate)
        normed = (scaled * _vector(gain_1 + rest, d) + _vector(shift_1 + rest, d)).to(low)
        to = qkv + replica * qkv_apart + row[:, None] * 3 * d + tl.arange(0, d)[None, :]
        for which in tl.static_range(3):
            w = _matrix(w_qkv + maps + which * d * d, d, d, d)
            found = tl.dot(normed, tl.trans(w), input_precision=precision)
            found += _vector(b_qkv + maps + which * d, d)
            tl.store(to + which * d, found.to(low), mask=row[:, None] < n_rows)


@triton.jit
def _backward(
    d_stream, d_to, d_mid, d_out, scaled_2, rate_2, d_qkv, scaled_1, rate_1, d_mixed,
    w_out, w_inner, b_inner, w_back, gain_2, shift_2, w_qkv, gain_1, maps_apart, rest_apart, n_rows, apart,
    d: tl.constexpr, hidden: tl.constexpr, chunk: tl.constexpr,
    rows: tl.constexpr, stages: tl.constexpr, has_below: tl.constexpr, has_above: tl.constexpr, fast: tl.constexpr,
    precision: tl.constexpr,
):  # fmt: skip
    replica = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    maps, rest, at = replica * maps_apart, replica * rest_apart, replica * apart * d
    low = d_mixed.dtype.element_ty
    dx = _tile(d_stream + replica * n_rows * d, row, n_rows, d)
    if has_above:
        scaled = _tile(scaled_1 + at, row, n_rows, d).to(tl.float32)
        rate = _rate(rate_1 + replica * apart, row, n_rows)
        come = d_qkv + at * 3 + row[:, None] * 3 * d + tl.arange(0, d)[None, :]
        read, ws = (), ()
        for which in tl.static_range(3):  # first, so that all are on their way at once
            read += (tl.load(come + which * d, mask=row[:, None] < n_rows, other=0.0),)
            ws += (_matrix(w_qkv + maps + which * d * d, d, d, d),)
        d_normed = tl.zeros([rows, d], tl.float32)
        for which in tl.static_range(3):
            d_normed = tl.dot(read[which], ws[which], d_normed, input_precision=precision)
        dx += _inward(d_normed, _vector(gain_1 + rest, d), scaled, rate, d)
    if has_below:
        d_low = dx.to(low)
        _store(d_out + at, row, n_rows, d_low, d)
        scaled = _tile(scaled_2 + at, row, n_rows, d).to(tl.float32)
        rate = _rate(rate_2 + replica * apart, row, n_rows)
        w_o = _matrix(w_out + maps, d, d, d)
        gain = _vector(gain_2 + rest, d)
        normed = (scaled * gain + _vector(shift_2 + rest, d)).to(low)
        d_normed = tl.zeros([rows, d], tl.float32)
        for start in tl.range(0, hidden, chunk, num_stages=stages):
            w_up = _matrix(w_inner + maps + start * d, chunk, d, d)
            pre = tl.dot(normed, tl.trans(w_up), input_precision=precision) + _vector(b_inner + maps + start, chunk)
            _share, slope = _share_and_slope(pre, fast)
            w_down = _matrix(w_back + maps + start, d, chunk, hidden)
            d_pre = (tl.dot(d_low, w_down, input_precision=precision) * slope).to(low)
            d_normed = tl.dot(d_pre, w_up, d_normed, input_precision=precision)
        dx += _inward(d_normed, gain, scaled, rate, d)
        d_low = dx.to(low)
        _store(d_mid + at, row, n_rows, d_low, d)
        d_z = tl.dot(d_low, w_o, input_precision=precision)
        _store(d_mixed + replica * n_rows * d, row, n_rows, d_z, d)
    _store(d_to + replica * n_rows * d, row, n_rows, dx, d)


# Gradients of the weights, of all layers at once. A map W after a norm reads s * x + b, with gain s and shift b. With P
# the product of the map's output gradients and x, and c the sum of the former, the gradient of W is P * s + c b, that
# of s the sum of W * P over outputs, and that of b the sum of W * c: the norm's own need no further sum over rows.


def attention_gradients(left: Left, weights: Weights, into: Weights) -> tuple[Weights, Tensor]:
    """Gradients of the maps and biases of attention, and of the gain and shift of the norm before.

    Where the rows of a block are one part, the former are written ``into`` place; otherwise what comes back are parts,
    to be summed: ``[replica layer part ...]``. The latter are parts in any case.
    """
    n_replicas, n_layers, n_rows, d = left.mixed.shape
    cut = _gradient_tiling(4 * n_replicas * n_layers, n_rows, d)
    names = ("attn.qkv.weight", "attn.qkv.bias", "attn.out.weight", "attn.out.bias")
    parts = _parts(into, names, cut.parts)
    norm = torch.empty(n_replicas, n_layers, cut.parts * 3, 2, d, device=left.mixed.device)
    read = [weights[name] for name in ("attn.qkv.weight", "ln1.w", "ln1.b")]
    _attention_gradients[(4, cut.parts, n_replicas * n_layers)](
        left.norm_1.scaled, left.d_qkv, left.mixed, left.d_mid, *read, *_aparts(read[:2], 2), *parts.values(),
        *_aparts(parts.values(), 3), norm, n_rows, n_layers, d, cut.rows, triton.cdiv(n_rows, cut.rows * cut.parts),
        cut.stages, kernels.precision(left.mixed), num_warps=cut.warps, maxnreg=cut.registers,
    )  # fmt: skip
    return ({} if cut.parts == 1 else parts), norm


def mlp_gradients(left: Left, weights: Weights, into: Weights) -> tuple[Weights, Tensor]:
    """As ``attention_gradients``, of the MLP, which is computed once more: that is cheaper than writing it down."""
    n_replicas, n_layers, n_rows, d = left.mixed.shape
    names = ("mlp.inner.weight", "mlp.inner.bias", "mlp.out.weight", "mlp.out.bias")
    hidden = weights[names[0]].shape[2]
    chunk = min(64, hidden)
    cut = _gradient_tiling(hidden // chunk * n_replicas * n_layers, n_rows, hidden)
    parts = _parts(into, names, cut.parts)
    norm = torch.empty(n_replicas, n_layers, cut.parts * (hidden // cut.chunk), 2, d, device=left.mixed.device)
    read = [weights[name] for name in (*names[:3], "ln2.w", "ln2.b")]
    _mlp_gradients[(hidden // cut.chunk, cut.parts, n_replicas * n_layers)](
        left.norm_2.scaled, left.d_out, *read, *_aparts((read[0], read[3]), 2), *parts.values(),
        *_aparts(parts.values(), 3), norm, n_rows, n_layers, d, hidden, cut.chunk, cut.rows,
        triton.cdiv(n_rows, cut.rows * cut.parts), cut.stages, _fast(left.mixed), kernels.precision(left.mixed),
        num_warps=cut.warps, maxnreg=cut.registers,
    )  # fmt: skip
    return ({} if cut.parts == 1 else parts), norm


def _parts(into: Weights, names: tuple[str, ...], n_parts: int) -> dict[str, Tensor]:
    """Where gradients go: their places, or room for ``n_parts`` summands."""
    if n_parts == 1:
        return {name: into[name][:, :, None] for name in names}
    shapes = {name: (*into[name].shape[:2], n_parts, *into[name].shape[2:]) for name in names}
    return {name: torch.empty(shape, device=into[name].device) for name, shape in shapes.items()}


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
        x = _tile(read, row, n_rows, d)
        d_y = tl.load(come + row[:, None] * come_apart + column[None, :], mask=row[:, None] < n_rows, other=0.0)
        product = tl.dot(tl.trans(d_y), x, product, input_precision=precision)
        sums = tl.dot(tl.trans(d_y), ones, sums, input_precision=precision)
    of_bias = tl.sum(sums, 1) / 16
    inner = column[:, None] * d + column[None, :]
    if which == 3:
        _put(to_out, replica * out_0 + layer * out_1 + part * out_2 + inner, product)
        _put(to_out_bias, replica * out_bias_0 + layer * out_bias_1 + part * out_bias_2 + column, of_bias)
    else:
        w = tl.load(w_qkv + replica * maps_0 + layer * maps_1 + which * d * d + inner).to(tl.float32)
        at = replica * rest_0 + layer * rest_1
        full = product * _vector(gain + at, d) + of_bias[:, None] * _vector(shift + at, d)
        _put(to_qkv, replica * qkv_0 + layer * qkv_1 + part * qkv_2 + which * d * d + inner, full)
        place = replica * qkv_bias_0 + layer * qkv_bias_1 + part * qkv_bias_2 + which * d + column
        _put(to_qkv_bias, place, of_bias)
        of_norm = ((block * tl.num_programs(1) + part) * 3 + which) * 2 * d + column
        _put(norm, of_norm, tl.sum(w * product, 0))
        _put(norm, of_norm + d, tl.sum(w * of_bias[:, None], 0))


@triton.jit
def _mlp_gradients(
    scaled, d_out, w_inner, b_inner, w_back, gain, shift, maps_0, maps_1, rest_0, rest_1,
    to_inner, to_bias, to_back, to_back_bias, inner_0, inner_1, inner_2, bias_0, bias_1, bias_2, back_0, back_1,
    back_2, back_bias_0, back_bias_1, back_bias_2, norm, n_rows, n_layers,
    d: tl.constexpr, hidden: tl.constexpr, chunk: tl.constexpr, rows: tl.constexpr, n_tiles: tl.constexpr,
    stages: tl.constexpr, fast: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """One program sums some columns of the MLP."""
    start, part = tl.program_id(0) * chunk, tl.program_id(1)
    block = tl.program_id(2).to(tl.int64)
    replica, layer = block // n_layers, block % n_layers
    maps, rest = replica * maps_0 + layer * maps_1, replica * rest_0 + layer * rest_1
    low = scaled.dtype.element_ty
    some, column = start + tl.arange(0, chunk), tl.arange(0, d)
    s, b = _vector(gain + rest, d), _vector(shift + rest, d)
    w = _matrix(w_inner + maps + start * d, chunk, d, d).to(tl.float32)
    bias = (tl.load(b_inner + maps + some).to(tl.float32) + tl.sum(w * b, 1))[:, None]
    w_up = (w * s).to(low)
    w_down = tl.trans(_matrix(w_back + maps + start, d, chunk, hidden))
    product = tl.zeros([chunk, d], tl.float32)
    of_back = tl.zeros([chunk, d], tl.float32)
    of_bias = tl.zeros([chunk], tl.float32)
    sums = tl.zeros([d, 16], tl.float32)
    ones = tl.full([rows, 16], 1.0, low)
    for tile in tl.range(0, n_tiles, num_stages=stages):
        row = (part * n_tiles + tile) * rows + tl.arange(0, rows)
        x = _tile(scaled + block * n_rows * d, row, n_rows, d)
        come = _tile(d_out + block * n_rows * d, row, n_rows, d)
        pre = tl.dot(w_up, tl.trans(x), input_precision=precision) + bias
        share, slope = _share_and_slope(pre, fast)
        d_pre = tl.dot(w_down, tl.trans(come), input_precision=precision) * slope
        of_bias += tl.sum(d_pre, 1)
        product = tl.dot(d_pre.to(low), x, product, input_precision=precision)
        of_back = tl.dot((pre * share).to(low), come, of_back, input_precision=precision)
        sums = tl.dot(tl.trans(come), ones, sums, input_precision=precision)
    full = product * s + of_bias[:, None] * b
    _put(to_inner, replica * inner_0 + layer * inner_1 + part * inner_2 + some[:, None] * d + column[None, :], full)
    _put(to_bias, replica * bias_0 + layer * bias_1 + part * bias_2 + some, of_bias)
    place = replica * back_0 + layer * back_1 + part * back_2 + column[None, :] * hidden + some[:, None]
    _put(to_back, place, of_back)
    if start == 0:
        outer = replica * back_bias_0 + layer * back_bias_1 + part * back_bias_2 + column
        _put(to_back_bias, outer, tl.sum(sums, 1) / 16)
    w = _matrix(w_inner + maps + start * d, chunk, d, d).to(tl.float32)
    of_norm = ((block * tl.num_programs(1) + part) * tl.num_programs(0) + tl.program_id(0)) * 2 * d + column
    _put(norm, of_norm, tl.sum(w * product, 0))
    _put(norm, of_norm + d, tl.sum(w * of_bias[:, None], 0))


# Attention of prompts of up to 64 positions: one warp holds all tiles of one head


def attention(qkv: Tensor, out: Tensor, scale: float) -> Tensor:
    """Causal softmax attention; the base-2 logarithms of the rows' sums come back."""
    n_replicas, n_batch, n_positions, _, n_heads, d_head = qkv.shape
    logs = torch.empty(n_replicas, n_batch, n_heads, n_positions, device=qkv.device)
    _attention[(n_heads, n_batch, n_replicas)](
        qkv, qkv.stride(0), out, out.stride(0), logs, scale * 1.4426950408889634, n_positions, n_heads, d_head,
        triton.cdiv(n_positions, 16), kernels.precision(qkv), num_warps=1,
    )  # fmt: skip
    return logs


def attention_backward(d_out: Tensor, logs: Tensor, qkv: Tensor, d_qkv: Tensor, scale: float) -> None:
    """The gradient of ``qkv`` into ``d_qkv``."""
    n_replicas, n_batch, n_positions, _, n_heads, d_head = qkv.shape
    _attention_backward[(n_heads, n_batch, n_replicas)](
        d_out, d_out.stride(0), logs, qkv, qkv.stride(0), d_qkv, d_qkv.stride(0), scale, n_positions, n_heads, d_head,
        triton.cdiv(n_positions, 16), kernels.precision(qkv), num_warps=1,
    )  # fmt: skip


@triton.jit
def _head_tiles(pointer, apart, n_positions, d_head: tl.constexpr, n_tiles: tl.constexpr):
    """All rows of a head, 16 at a time."""
    tiles = ()
    for i in tl.static_range(n_tiles):
        row = i * 16 + tl.arange(0, 16)[:, None]
        tile = tl.load(pointer + row * apart + tl.arange(0, d_head)[None, :], mask=row < n_positions, other=0.0)
        tiles += (tile,)
    return tiles


@triton.jit
def _attention(
    qkv, qkv_apart, out, out_apart, logs, scale, n_positions, n_heads, d_head: tl.constexpr, n_tiles: tl.constexpr,
    precision: tl.constexpr,
):  # fmt: skip
    head, prompt, replica = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    wide = n_heads * d_head
    at = qkv + replica * qkv_apart + prompt.to(tl.int64) * n_positions * 3 * wide + head * d_head
    to = out + replica * out_apart + prompt.to(tl.int64) * n_positions * wide + head * d_head
    log_to = logs + ((replica * tl.num_programs(1) + prompt) * n_heads + head) * n_positions
    q = _head_tiles(at, 3 * wide, n_positions, d_head, n_tiles)
    k = _head_tiles(at + wide, 3 * wide, n_positions, d_head, n_tiles)
    v = _head_tiles(at + 2 * wide, 3 * wide, n_positions, d_head, n_tiles)
    order = tl.arange(0, 16)
    for i in tl.static_range(n_tiles):
        most = tl.full([16], float("-inf"), tl.float32)
        scores = ()
        for j in tl.static_range(i + 1):
            score = tl.dot(q[i], tl.trans(k[j]), input_precision=precision) * scale
            if i == j:
                score = tl.where(order[:, None] >= order[None, :], score, float("-inf"))
            most = tl.maximum(most, tl.max(score, 1))
            scores += (score,)
        total = tl.zeros([16], tl.float32)
        mixed = tl.zeros([16, d_head], tl.float32)
        for j in tl.static_range(i + 1):
            raised = tl.exp2(scores[j] - most[:, None])
            total += tl.sum(raised, 1)
            mixed = tl.dot(raised.to(qkv.dtype.element_ty), v[j], mixed, input_precision=precision)
        row = i * 16 + order
        place = to + row[:, None] * wide + tl.arange(0, d_head)[None, :]
        tl.store(place, (mixed / total[:, None]).to(out.dtype.element_ty), mask=row[:, None] < n_positions)
        tl.store(log_to + row, most + tl.log2(total), mask=row < n_positions)


@triton.jit
def _attention_backward(
    d_out, d_out_apart, logs, qkv, qkv_apart, d_qkv, d_qkv_apart, scale,
    n_positions, n_heads, d_head: tl.constexpr, n_tiles: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    head, prompt, replica = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    wide = n_heads * d_head
    width = tl.arange(0, d_head)
    at = qkv + replica * qkv_apart + prompt.to(tl.int64) * n_positions * 3 * wide + head * d_head
    to = d_qkv + replica * d_qkv_apart + prompt.to(tl.int64) * n_positions * 3 * wide + head * d_head
    log_at = logs + ((replica * tl.num_programs(1) + prompt) * n_heads + head) * n_positions
    low = qkv.dtype.element_ty
    q = _head_tiles(at, 3 * wide, n_positions, d_head, n_tiles)
    k = _head_tiles(at + wide, 3 * wide, n_positions, d_head, n_tiles)
    v = _head_tiles(at + 2 * wide, 3 * wide, n_positions, d_head, n_tiles)
    come = d_out + replica * d_out_apart + prompt.to(tl.int64) * n_positions * wide + head * d_head
    d_z = _head_tiles(come, wide, n_positions, d_head, n_tiles)
    order = tl.arange(0, 16)
    d_k, d_v = (), ()
    for i in tl.static_range(n_tiles):
        row = i * 16 + order
        log = tl.load(log_at + row, mask=row < n_positions, other=1e30)
        through = tl.zeros([16], tl.float32)
        patterns, d_patterns = (), ()
        for j in tl.static_range(i + 1):
            scores = tl.dot(q[i], tl.trans(k[j]), input_precision=precision) * (scale * 1.4426950408889634)
            pattern = tl.exp2(scores - log[:, None])
            if i == j:
                pattern = tl.where(order[:, None] >= order[None, :], pattern, 0.0)
            d_pattern = tl.dot(d_z[i], tl.trans(v[j]), input_precision=precision)
            through += tl.sum(pattern * d_pattern, 1)
            patterns += (pattern,)
            d_patterns += (d_pattern,)
        d_q = tl.zeros([16, d_head], tl.float32)
        more_k, more_v = (), ()
        for j in tl.static_range(i + 1):
            d_scores = (patterns[j] * (d_patterns[j] - through[:, None]) * scale).to(low)
            d_q = tl.dot(d_scores, k[j], d_q, input_precision=precision)
            of_k = tl.dot(tl.trans(d_scores), q[i], input_precision=precision)
            of_v = tl.dot(tl.trans(patterns[j].to(low)), d_z[i], input_precision=precision)
            if i == j:
                more_k += (of_k,)
                more_v += (of_v,)
            else:
                more_k += (d_k[j] + of_k,)
                more_v += (d_v[j] + of_v,)
        d_k, d_v = more_k, more_v
        tl.store(to + row[:, None] * 3 * wide + width[None, :], d_q.to(low), mask=row[:, None] < n_positions)
    for j in tl.static_range(n_tiles):
        row = (j * 16 + order)[:, None]
        place = to + row * 3 * wide + width[None, :]
        tl.store(place + wide, d_k[j].to(low), mask=row < n_positions)
        tl.store(place + 2 * wide, d_v[j].to(low), mask=row < n_positions)
