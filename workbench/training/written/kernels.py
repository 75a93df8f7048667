"""The pieces of a block as Triton kernels; ``plain`` says what each computes."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench.models.norm import EPSILON
from workbench.training.written.sums import n_received_parts, received, summed

__all__ = [
    "attention", "attention_backward", "gelu_backward", "map_add_norm", "map_gelu", "mapped", "n_attention_parts",
    "n_gelu_parts", "n_norm_parts", "n_received_parts", "norm", "norm_backward", "obstacle", "received", "summed",
]  # fmt: skip

_TILE = 32
"""Positions per side of an attention tile: prompts are short, and hidden tiles are skipped."""
MOST_POSITIONS = 128
_NORM_SIZE, _NORM_TILES, _NORM_STAGES = 1024, 4, 3
"""Numbers of a tile of a norm's backward pass, tiles after each other in one program, and on their way at once."""
_ADD_NORM_SIZE = 512
"""Numbers of a tile of a norm."""
_GELU_ROWS, _GELU_TILES, _GELU_COLUMNS = 4, 2, 256
"""Rows of a tile of GELU's backward pass, tiles after each other in one program, and columns."""


def obstacle(n_positions: int, d_head: int) -> str:
    """Why the attention kernels cannot run such heads, or ""."""
    if n_positions > MOST_POSITIONS:
        return f"prompts have {n_positions} positions, more than {MOST_POSITIONS}"
    if d_head not in (16, 32, 64, 128):
        return f"d_head is {d_head}, not 16, 32, 64 or 128"
    return ""


def n_norm_parts(n_rows: int, d: int) -> int:
    """Parts over which the gradients of a norm's gain and shift are summed."""
    return triton.cdiv(n_rows, _norm_rows(d) * _NORM_TILES)


def n_gelu_parts(n_rows: int, d: int) -> int:  # noqa: ARG001  # other kernels take a number of it
    """Parts over which the gradient of a bias before GELU is summed."""
    return triton.cdiv(n_rows, _GELU_ROWS * _GELU_TILES)


def n_attention_parts(n_batch: int, n_positions: int) -> int:  # noqa: ARG001  # other kernels take more
    """Parts over which the gradient of the bias of queries, keys and values is summed."""
    return n_batch


def _norm_rows(d: int) -> int:
    """Rows of a tile of one program, a single warp: sums over rows then stay inside its threads."""
    return max(1, _NORM_SIZE // triton.next_power_of_2(d))


def precision(tensor: Tensor) -> str:
    """Products of float32 numbers in three roundings, as exact as float32 itself, or in one."""
    exact = tensor.dtype == torch.float32 and not torch.backends.cuda.matmul.allow_tf32
    return "tf32x3" if exact else "tf32"


def mapped(rows: Tensor, weight: Tensor, out: Tensor | None = None) -> Tensor:
    """Rows through a linear map, per replica."""
    if rows.shape[0] > 1:
        return torch.bmm(rows, weight.mT) if out is None else torch.bmm(rows, weight.mT, out=out)
    if out is None:
        return torch.mm(rows[0], weight[0].mT)[None]
    torch.mm(rows[0], weight[0].mT, out=out[0])
    return out


# Adding and normalising


Onward = tuple[Tensor, Tensor, Tensor]


def norm(
    stream: Tensor, gain: Tensor, shift: Tensor, out: Tensor, total: Tensor, onward: Onward | None
) -> tuple[Tensor, Tensor]:
    """Normalise; ``onward`` without its bias, which ``attention`` adds."""
    return _then(add_norm(stream, None, None, gain, shift, out, total), out, onward)


def map_add_norm(
    rows: Tensor, weight: Tensor, bias: Tensor, stream: Tensor, gain: Tensor, shift: Tensor, out: Tensor, total: Tensor,
    onward: Onward | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Add rows through a map to the stream and normalise."""
    return _then(add_norm(stream, mapped(rows, weight), bias, gain, shift, out, total), out, onward)


def _then(found: tuple[Tensor, Tensor], out: Tensor, onward: Onward | None) -> tuple[Tensor, Tensor]:
    if onward is not None:
        weight, _, to = onward
        mapped(out, weight, to)
    return found


def add_norm(
    stream: Tensor, added: Tensor | None, bias: Tensor | None, gain: Tensor, shift: Tensor, out: Tensor, total: Tensor
) -> tuple[Tensor, Tensor]:
    """Add to the stream and normalise."""
    n_replicas, n_rows, d = stream.shape
    mean, rate = (stream.new_empty(n_replicas, n_rows) for _ in range(2))
    block = triton.next_power_of_2(d)
    rows = max(1, _ADD_NORM_SIZE // block)
    _add_norm[(triton.cdiv(n_rows, rows), n_replicas)](
        stream, stream.stride(0), added, 0 if added is None else added.stride(0), bias,
        0 if bias is None else bias.stride(0), gain, gain.stride(0), shift, shift.stride(0), out, out.stride(0),
        total, total.stride(0), mean, rate, n_rows, d, EPSILON, block, rows, added is not None,
        num_warps=1,
    )  # fmt: skip
    return mean, rate


@triton.jit
def _add_norm(
    stream, stream_apart, added, added_apart, bias, bias_apart, gain, gain_apart, shift, shift_apart, out, out_apart,
    total, total_apart, mean, rate, n_rows, d, epsilon,
    block: tl.constexpr, rows: tl.constexpr, adds: tl.constexpr,
):  # fmt: skip
    replica = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * rows + tl.arange(0, rows)[:, None]
    column = tl.arange(0, block)[None, :]
    inside = (row < n_rows) & (column < d)
    at = row * d + column
    x = tl.load(stream + replica * stream_apart + at, mask=inside, other=0.0)
    if adds:
        x += tl.load(added + replica * added_apart + at, mask=inside, other=0.0).to(tl.float32)
        x += tl.load(bias + replica * bias_apart + column, mask=column < d, other=0.0).to(tl.float32)
    tl.store(total + replica * total_apart + at, x, mask=inside)
    middle = tl.sum(x, 1) / d
    centred = tl.where(inside, x - middle[:, None], 0.0)
    per = tl.rsqrt(tl.sum(centred * centred, 1) / d + epsilon)
    g = tl.load(gain + replica * gain_apart + column, mask=column < d, other=0.0)
    b = tl.load(shift + replica * shift_apart + column, mask=column < d, other=0.0)
    y = centred * per[:, None] * g + b
    tl.store(out + replica * out_apart + at, y.to(out.dtype.element_ty), mask=inside)
    one = tl.program_id(0) * rows + tl.arange(0, rows)
    tl.store(mean + replica * n_rows + one, middle, mask=one < n_rows)
    tl.store(rate + replica * n_rows + one, per, mask=one < n_rows)


def norm_backward(
    d_rows: Tensor, weight: Tensor, d_total: Tensor, total: Tensor, mean: Tensor, rate: Tensor, gain: Tensor,
    d_added: Tensor, parts: Tensor, onward: tuple[Tensor, Tensor] | None,
) -> None:  # fmt: skip
    """Add to ``d_total`` what comes back through a map and the norm before it."""
    n_replicas, n_rows, d = d_total.shape
    d_out = mapped(d_rows, weight)
    _add_norm_backward[(parts.shape[1], n_replicas)](
        d_out, d_out.stride(0), d_total, d_total.stride(0), total, total.stride(0), mean, rate, gain, gain.stride(0),
        d_added, d_added.stride(0), parts, parts.stride(0), n_rows, d, triton.next_power_of_2(d), _norm_rows(d),
        _NORM_TILES, _NORM_STAGES, num_warps=1,
    )  # fmt: skip
    if onward is not None:
        mapped(d_added, *onward)


@triton.jit
def _add_norm_backward(
    d_out, d_out_apart, d_total, d_total_apart, total, total_apart, mean, rate, gain, gain_apart, d_added,
    d_added_apart, parts, parts_apart, n_rows, d, block: tl.constexpr, rows: tl.constexpr, n_tiles: tl.constexpr,
    stages: tl.constexpr,
):  # fmt: skip
    replica, part = tl.program_id(1).to(tl.int64), tl.program_id(0)
    column = tl.arange(0, block)
    g = tl.load(gain + replica * gain_apart + column, mask=column < d, other=0.0)[None, :]
    d_gain = tl.zeros([block], tl.float32)
    d_shift = tl.zeros([block], tl.float32)
    d_bias = tl.zeros([block], tl.float32)
    for tile in tl.range(0, n_tiles, num_stages=stages):
        one = (part * n_tiles + tile) * rows + tl.arange(0, rows)
        inside = (one[:, None] < n_rows) & (column[None, :] < d)
        at = one[:, None] * d + column[None, :]
        dy = tl.load(d_out + replica * d_out_apart + at, mask=inside, other=0.0).to(tl.float32)
        x = tl.load(total + replica * total_apart + at, mask=inside, other=0.0)
        dx = tl.load(d_total + replica * d_total_apart + at, mask=inside, other=0.0)
        middle = tl.load(mean + replica * n_rows + one, mask=one < n_rows, other=0.0)[:, None]
        per = tl.load(rate + replica * n_rows + one, mask=one < n_rows, other=0.0)[:, None]
        scaled = tl.where(inside, (x - middle) * per, 0.0)
        d_scaled = dy * g
        inward = d_scaled - tl.sum(d_scaled, 1)[:, None] / d - scaled * (tl.sum(d_scaled * scaled, 1)[:, None] / d)
        dx += inward * per
        tl.store(d_total + replica * d_total_apart + at, dx, mask=inside)
        tl.store(d_added + replica * d_added_apart + at, dx.to(d_added.dtype.element_ty), mask=inside)
        d_gain += tl.sum(dy * scaled, 0)
        d_shift += tl.sum(dy, 0)
        d_bias += tl.sum(tl.where(inside, dx, 0.0), 0)
    to = parts + replica * parts_apart + part * 3 * d + column
    tl.store(to, d_gain, mask=column < d)
    tl.store(to + d, d_shift, mask=column < d)
    tl.store(to + 2 * d, d_bias, mask=column < d)


# GELU


@triton.jit
def half_erfc_and_bell(x):
    """(1 - erf(|x| / sqrt 2)) / 2 to 1e-7 and exp(-x^2 / 2) (Abramowitz and Stegun 1964, 7.1.26)."""
    size = tl.abs(x) * 0.7071067811865476
    t = 1.0 / (1.0 + 0.3275911 * size)
    bell = tl.exp(-size * size)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return 0.5 * series * bell, bell


def map_gelu(rows: Tensor, weight: Tensor, bias: Tensor, slope: Tensor, out: Tensor) -> None:
    """GELU of rows through a map, into ``out``; its slope takes the place of what the map gave."""
    pre = mapped(rows, weight, slope)
    n_replicas, n_rows, d = pre.shape
    columns = min(_GELU_COLUMNS, triton.next_power_of_2(d))
    rows = 2048 // columns
    _gelu[(triton.cdiv(n_rows, rows), triton.cdiv(d, columns), n_replicas)](
        pre, pre.stride(0), bias, bias.stride(0), out, out.stride(0), n_rows, d, rows, columns, num_warps=4
    )


@triton.jit
def _gelu(
    pre, pre_apart, bias, bias_apart, out, out_apart, n_rows, d, rows: tl.constexpr, columns: tl.constexpr
):  # fmt: skip
    replica = tl.program_id(2).to(tl.int64)
    row = tl.program_id(0) * rows + tl.arange(0, rows)[:, None]
    column = tl.program_id(1) * columns + tl.arange(0, columns)[None, :]
    inside = (row < n_rows) & (column < d)
    place = pre + replica * pre_apart + row * d + column
    x = tl.load(place, mask=inside, other=0.0).to(tl.float32)
    x += tl.load(bias + replica * bias_apart + column, mask=column < d, other=0.0).to(tl.float32)
    tail, bell = half_erfc_and_bell(x)
    share = tl.where(x > 0, 1.0 - tail, tail)
    tl.store(out + replica * out_apart + row * d + column, (x * share).to(out.dtype.element_ty), mask=inside)
    tl.store(place, (share + x * bell * 0.3989422804014327).to(pre.dtype.element_ty), mask=inside)


def gelu_backward(d_rows: Tensor, weight: Tensor, slope: Tensor, d_pre: Tensor, parts: Tensor) -> None:
    """The gradient before GELU into ``d_pre``, and of the bias into ``parts``; ``weight`` maps gradients back."""
    n_replicas, n_rows, d = slope.shape
    d_out = mapped(d_rows, weight)
    columns = min(_GELU_COLUMNS, triton.next_power_of_2(d))
    _gelu_backward[(parts.shape[1], triton.cdiv(d, columns), n_replicas)](
        d_out, d_out.stride(0), slope, slope.stride(0), d_pre, d_pre.stride(0), parts, parts.stride(0), n_rows, d,
        _GELU_ROWS, columns, _GELU_TILES, num_warps=1,
    )  # fmt: skip


@triton.jit
def _gelu_backward(
    d_out, d_out_apart, slope, slope_apart, d_pre, d_pre_apart, parts, parts_apart, n_rows, d,
    rows: tl.constexpr, columns: tl.constexpr, n_tiles: tl.constexpr,
):  # fmt: skip
    replica, part = tl.program_id(2).to(tl.int64), tl.program_id(0)
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    d_bias = tl.zeros([columns], tl.float32)
    for tile in tl.static_range(n_tiles):
        row = (part * n_tiles + tile) * rows + tl.arange(0, rows)[:, None]
        inside = (row < n_rows) & (column[None, :] < d)
        at = row * d + column[None, :]
        per = tl.load(slope + replica * slope_apart + at, mask=inside, other=0.0).to(tl.float32)
        dx = tl.load(d_out + replica * d_out_apart + at, mask=inside, other=0.0).to(tl.float32) * per
        tl.store(d_pre + replica * d_pre_apart + at, dx.to(d_pre.dtype.element_ty), mask=inside)
        d_bias += tl.sum(dx, 0)
    tl.store(parts + replica * parts_apart + part * d + column, d_bias, mask=column < d)


# Attention


def attention(qkv: Tensor, bias: Tensor, out: Tensor, scale: float) -> Tensor:
    """Causal softmax attention; the base-2 logarithms of the rows' sums come back."""
    n_replicas, n_batch, n_positions, _, n_heads, d_head = qkv.shape
    logs = torch.empty(n_replicas, n_batch, n_heads, n_positions, device=qkv.device)
    _attention[(n_batch, n_heads, n_replicas)](
        qkv, qkv.stride(0), bias, bias.stride(0), out, out.stride(0), logs, scale * 1.4426950408889634, n_batch,
        n_positions, n_heads, d_head, _TILE, triton.cdiv(n_positions, _TILE), precision(qkv),
        num_warps=_warps(qkv, n_replicas * n_batch * n_heads),
    )  # fmt: skip
    return logs


def _warps(tensor: Tensor, n_programs: int) -> int:
    """Warps of an attention program, by measurement: one is enough where programs are many and numbers short."""
    return 1 if tensor.dtype == torch.bfloat16 and tensor.shape[-1] <= 32 and n_programs >= 4096 else 2


@triton.jit
def _tile(rows, at, bias_at, row, n_positions, apart, d_head: tl.constexpr):
    """Rows of one of queries, keys and values, with their bias."""
    width = tl.arange(0, d_head)[None, :]
    tile = tl.load(rows + at + row[:, None] * apart + width, mask=row[:, None] < n_positions, other=0.0)
    shift = tl.load(bias_at + width)
    return (tile.to(tl.float32) + shift.to(tl.float32)).to(tile.dtype)


@triton.jit
def _attention(
    qkv, qkv_apart, bias, bias_apart, out, out_apart, logs, scale, n_batch, n_positions, n_heads,
    d_head: tl.constexpr, side: tl.constexpr, n_tiles: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    prompt, head, replica = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    wide = n_heads * d_head
    at = replica * qkv_apart + prompt.to(tl.int64) * n_positions * 3 * wide + head * d_head
    to = out + replica * out_apart + prompt.to(tl.int64) * n_positions * wide + head * d_head
    b = bias + replica * bias_apart + head * d_head
    log_to = logs + ((replica * n_batch + prompt) * n_heads + head) * n_positions
    width = tl.arange(0, d_head)[None, :]
    order = tl.arange(0, side)
    for i in tl.static_range(n_tiles):
        row = i * side + order
        q = _tile(qkv, at, b, row, n_positions, 3 * wide, d_head)
        most = tl.full([side], float("-inf"), tl.float32)
        total = tl.zeros([side], tl.float32)
        mixed = tl.zeros([side, d_head], tl.float32)
        for j in tl.static_range(i + 1):
            column = j * side + order
            k = _tile(qkv, at + wide, b + wide, column, n_positions, 3 * wide, d_head)
            v = _tile(qkv, at + 2 * wide, b + 2 * wide, column, n_positions, 3 * wide, d_head)
            scores = tl.dot(q, tl.trans(k), input_precision=precision) * scale
            if j == i:
                scores = tl.where(row[:, None] >= column[None, :], scores, float("-inf"))
            above = tl.maximum(most, tl.max(scores, 1))
            raised = tl.exp2(scores - above[:, None])
            shrink = tl.exp2(most - above)
            total = total * shrink + tl.sum(raised, 1)
            mixed = mixed * shrink[:, None] + tl.dot(raised.to(v.dtype), v, input_precision=precision)
            most = above
        z = mixed / total[:, None]
        inside = row[:, None] < n_positions
        tl.store(to + row[:, None] * wide + width, z.to(out.dtype.element_ty), mask=inside)
        tl.store(log_to + row, most + tl.log2(total), mask=row < n_positions)


def attention_backward(
    d_out: Tensor, out: Tensor, logs: Tensor, qkv: Tensor, bias: Tensor, d_qkv: Tensor, parts: Tensor, scale: float
) -> None:
    """The gradient of ``qkv`` into ``d_qkv``, and of its bias into ``parts``."""
    n_replicas, n_batch, n_positions, _, n_heads, d_head = qkv.shape
    _attention_backward[(n_batch, n_heads, n_replicas)](
        d_out, d_out.stride(0), out, out.stride(0), logs, qkv, qkv.stride(0), bias, bias.stride(0), d_qkv,
        d_qkv.stride(0), parts, parts.stride(0), scale, n_batch, n_positions, n_heads, d_head, _TILE,
        triton.cdiv(n_positions, _TILE), precision(qkv), num_warps=_warps(qkv, n_replicas * n_batch * n_heads),
    )  # fmt: skip


@triton.jit
def _attention_backward(
    d_out, d_out_apart, out, out_apart, logs, qkv, qkv_apart, bias, bias_apart, d_qkv, d_qkv_apart, parts,
    parts_apart, scale, n_batch, n_positions, n_heads,
    d_head: tl.constexpr, side: tl.constexpr, n_tiles: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    prompt, head, replica = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    wide = n_heads * d_head
    at = replica * qkv_apart + prompt.to(tl.int64) * n_positions * 3 * wide + head * d_head
    to = d_qkv + replica * d_qkv_apart + prompt.to(tl.int64) * n_positions * 3 * wide + head * d_head
    z_at = out + replica * out_apart + prompt.to(tl.int64) * n_positions * wide + head * d_head
    dz_at = d_out + replica * d_out_apart + prompt.to(tl.int64) * n_positions * wide + head * d_head
    b = bias + replica * bias_apart + head * d_head
    log_at = logs + ((replica * n_batch + prompt) * n_heads + head) * n_positions
    width = tl.arange(0, d_head)
    order = tl.arange(0, side)
    d_q_0 = tl.zeros([side, d_head], tl.float32)
    d_q_1 = tl.zeros([side, d_head], tl.float32)
    d_q_2 = tl.zeros([side, d_head], tl.float32)
    d_q_3 = tl.zeros([side, d_head], tl.float32)
    bias_k = tl.zeros([d_head], tl.float32)
    bias_v = tl.zeros([d_head], tl.float32)
    for j in tl.static_range(n_tiles):
        column = j * side + order
        k = _tile(qkv, at + wide, b + wide, column, n_positions, 3 * wide, d_head)
        v = _tile(qkv, at + 2 * wide, b + 2 * wide, column, n_positions, 3 * wide, d_head)
        d_k = tl.zeros([side, d_head], tl.float32)
        d_v = tl.zeros([side, d_head], tl.float32)
        for i in tl.static_range(j, n_tiles):
            row = i * side + order
            inside = row[:, None] < n_positions
            q = _tile(qkv, at, b, row, n_positions, 3 * wide, d_head)
            dz = tl.load(dz_at + row[:, None] * wide + width[None, :], mask=inside, other=0.0)
            z = tl.load(z_at + row[:, None] * wide + width[None, :], mask=inside, other=0.0)
            log = tl.load(log_at + row, mask=row < n_positions, other=1e30)
            through = tl.sum(dz.to(tl.float32) * z.to(tl.float32), 1)
            scores = tl.dot(q, tl.trans(k), input_precision=precision) * (scale * 1.4426950408889634)
            pattern = tl.exp2(scores - log[:, None])
            if j == i:
                pattern = tl.where(row[:, None] >= column[None, :], pattern, 0.0)
            d_v += tl.dot(tl.trans(pattern.to(v.dtype)), dz, input_precision=precision)
            d_pattern = tl.dot(dz, tl.trans(v), input_precision=precision)
            d_scores = (pattern * (d_pattern - through[:, None]) * scale).to(v.dtype)
            d_k += tl.dot(tl.trans(d_scores), q, input_precision=precision)
            d_q = tl.dot(d_scores, k, input_precision=precision)
            if i == 0:
                d_q_0 += d_q
            elif i == 1:
                d_q_1 += d_q
            elif i == 2:
                d_q_2 += d_q
            else:
                d_q_3 += d_q
        within = column[:, None] < n_positions
        place = to + column[:, None] * 3 * wide + width[None, :]
        tl.store(place + wide, d_k.to(d_qkv.dtype.element_ty), mask=within)
        tl.store(place + 2 * wide, d_v.to(d_qkv.dtype.element_ty), mask=within)
        bias_k += tl.sum(tl.where(within, d_k, 0.0), 0)
        bias_v += tl.sum(tl.where(within, d_v, 0.0), 0)
    bias_q = tl.zeros([d_head], tl.float32)
    for i in tl.static_range(n_tiles):
        if i == 0:
            d_q = d_q_0
        elif i == 1:
            d_q = d_q_1
        elif i == 2:
            d_q = d_q_2
        else:
            d_q = d_q_3
        row = i * side + order
        inside = row[:, None] < n_positions
        tl.store(to + row[:, None] * 3 * wide + width[None, :], d_q.to(d_qkv.dtype.element_ty), mask=inside)
        bias_q += tl.sum(tl.where(inside, d_q, 0.0), 0)
    part = parts + replica * parts_apart + prompt.to(tl.int64) * 3 * wide + head * d_head + width
    tl.store(part, bias_q)
    tl.store(part + wide, bias_k)
    tl.store(part + 2 * wide, bias_v)
