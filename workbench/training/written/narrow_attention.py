# pyright: reportMissingImports=false, reportIndexIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false
"""Attention with its maps, of whole prompts on the chip: from what the norm left to what the heads mixed.

Each warp has one prompt, in tiles of 16 positions: a tile of the program is 16 positions of as many prompts as it has
warps. So a map to queries, keys and values is one product for all of them, heads mix what lies in one warp, and none of
their products leaves the registers. Queries, keys and values are never written: going back computes them again.
"""

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

from workbench.training.written import kernels
from workbench.training.written.narrow_parts import MANY, Weights, is_fast, matrix, vector
from workbench.training.written.narrow_prompts import (
    all_places,
    bias_of_head,
    four,
    log_places,
    map_of_head,
    mapped,
    places_of,
    power,
    rows_at,
)

_LOG2_E = tl.constexpr(1.4426950408889634)


@dataclass(frozen=True)
class Tiling:
    """How a kernel cuts its work; by measurement on an H200.

    Attributes:
        prompts: Of a program, and its warps; four share one product of 64 rows.
        heads: Of a program.
        stages: Heads whose maps are on their way at once.
        registers: Of a thread, at most.
    """

    prompts: int
    heads: int
    stages: int
    registers: int | None = None


def _is_large(logs: Tensor) -> bool:
    return logs.shape[0] * triton.cdiv(logs.shape[1], 4) >= 2 * MANY


def _forward_tiling(logs: Tensor, d: int) -> Tiling:
    if not _is_large(logs):
        return Tiling(1, 1, 1)
    *_, n_heads, n_positions = logs.shape
    fits = n_positions <= 48 and d // n_heads == 16
    return Tiling(4, n_heads, 1, registers=128 if fits else None)


def _backward_tiling(logs: Tensor) -> Tiling:
    return Tiling(1, logs.shape[2] if _is_large(logs) else 1, 2)


def attention(scaled: Tensor, weights: Weights, mixed: Tensor, logs: Tensor, scale: float) -> None:
    """What the heads of a block mix into ``mixed``, from what its first norm left, both ``[replica row d]``.

    ``logs [replica batch head pos]`` get the base-2 logarithms of the sums of the attention's rows.
    """
    read = [weights[name] for name in ("attn.qkv.weight", "attn.qkv.bias", "ln1.w", "ln1.b")]
    cut = _forward_tiling(logs, mixed.shape[-1])
    _attention[_grid(logs, cut)](
        scaled, scaled.stride(0), mixed, mixed.stride(0), logs, *read, read[0].stride(0), read[2].stride(0),
        scale * _LOG2_E.value, *_sizes(logs, mixed), cut.prompts, cut.heads, cut.stages, is_fast(mixed),
        kernels.precision(mixed), num_warps=cut.prompts, maxnreg=cut.registers,
    )  # fmt: skip


def attention_backward(
    scaled: Tensor, d_mid: Tensor, logs: Tensor, weights: Weights, d_qkv: Tensor, scale: float
) -> None:
    """The gradient of queries, keys and values into ``d_qkv``, from that of what attention writes, ``d_mid``."""
    read = [weights[name] for name in ("attn.qkv.weight", "attn.qkv.bias", "attn.out.weight", "ln1.w", "ln1.b")]
    cut = _backward_tiling(logs)
    _attention_backward[_grid(logs, cut)](
        scaled, scaled.stride(0), d_mid, d_mid.stride(0), logs, d_qkv, d_qkv.stride(0), *read, read[0].stride(0),
        read[3].stride(0), scale, *_sizes(logs, d_mid), cut.prompts, cut.heads, cut.stages, is_fast(d_mid),
        kernels.precision(d_mid), num_warps=cut.prompts, maxnreg=cut.registers,
    )  # fmt: skip


def _grid(logs: Tensor, cut: Tiling) -> tuple[int, int, int]:
    n_replicas, n_batch, n_heads, _ = logs.shape
    return n_heads // cut.heads, triton.cdiv(n_batch, cut.prompts), n_replicas


def _sizes(logs: Tensor, rows: Tensor) -> tuple[int, ...]:
    _, n_batch, n_heads, n_positions = logs.shape
    d = rows.shape[-1]
    return n_batch, n_positions, d, n_heads, d // n_heads, triton.cdiv(n_positions, 16)


@triton.jit
def _mix(q, k, v, i: tl.constexpr, scale, fast: tl.constexpr, precision: tl.constexpr):
    """What tile i of the queries reads ``[prompt query d_head]``, and the logarithms of its rows' sums."""
    order = tl.arange(0, 16)
    scores = ()
    for j in tl.static_range(i + 1):
        score = tl.dot(q[i], tl.permute(k[j], (0, 2, 1)), input_precision=precision)
        if i == j:
            score = tl.where((order[:, None] >= order[None, :])[None], score, float("-inf"))
        scores += (score,)
    highest = scores[i]
    for j in tl.static_range(i):
        highest = tl.maximum(highest, scores[j])
    most = tl.max(highest, 2) * scale
    total = tl.zeros_like(scores[0])
    mixed = tl.zeros(q[i].shape, tl.float32)
    for j in tl.static_range(i + 1):
        raised = power(scores[j] * scale - most[:, :, None], fast)
        total += raised
        mixed = tl.dot(raised.to(v[j].dtype), v[j], mixed, input_precision=precision)
    height = tl.log2(tl.sum(total, 2))
    return mixed * power(-height, fast)[:, :, None], most + height


@triton.jit
def _attention(
    scaled, scaled_apart, mixed, mixed_apart, logs, w_qkv, b_qkv, gain, shift, maps_apart, rest_apart, scale,
    n_batch, n_positions, d: tl.constexpr, n_heads: tl.constexpr, d_head: tl.constexpr, n_tiles: tl.constexpr,
    prompts: tl.constexpr, heads: tl.constexpr, stages: tl.constexpr, fast: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    replica, first = tl.program_id(2).to(tl.int64), tl.program_id(1) * prompts
    maps, rest = replica * maps_apart, replica * rest_apart
    low = mixed.dtype.element_ty
    logs += replica * n_batch * n_heads * n_positions
    normed, times, plus = (), vector(gain + rest, d), vector(shift + rest, d)
    for i in tl.static_range(n_tiles):
        row, there = places_of(first, i, n_batch, n_positions, prompts)
        x = rows_at(scaled + replica * scaled_apart, row, there, d).to(tl.float32)
        normed += ((x * times + plus).to(low),)
    for one in tl.range(0, heads, num_stages=stages):
        head = tl.program_id(0) * heads + one
        w, bias = map_of_head(w_qkv + maps, head, d, d_head), bias_of_head(b_qkv + maps, head, d, d_head)
        q, k, v = (), (), ()
        for i in tl.static_range(n_tiles):
            one_q, one_k, one_v = mapped(normed[i], w, bias, prompts, d_head, precision)
            q += (one_q,)
            k += (one_k,)
            v += (one_v,)
        z, log = (), ()
        for i in tl.static_range(n_tiles):
            of_z, of_log = _mix(q, k, v, i, scale, fast, precision)
            z += (of_z.to(low),)
            log += (of_log,)
        prompt, position, inside = all_places(first, n_batch, n_positions, prompts)
        line = ((prompt * n_positions + position) * d)[:, None] + head * d_head + tl.arange(0, d_head)[None, :]
        tiles = tl.permute(four(z, n_tiles), (0, 4, 3, 1, 2)).reshape(prompts * 64, d_head)
        tl.store(mixed + replica * mixed_apart + line, tiles, mask=inside[:, None])
        all_logs = tl.permute(four(log, n_tiles), (0, 3, 2, 1)).reshape(prompts * 64)
        tl.store(logs + (prompt * n_heads + head) * n_positions + position, all_logs, mask=inside)


@triton.jit
def _unmix(d_z, q, k, v, log, i: tl.constexpr, scale, fast: tl.constexpr, precision: tl.constexpr):
    """Gradients of tile i of the queries, and through it of the keys and values up to it."""
    order = tl.arange(0, 16)
    low = q[i].dtype
    patterns, d_patterns = (), ()
    for j in tl.static_range(i + 1):
        score = tl.dot(q[i], tl.permute(k[j], (0, 2, 1)), input_precision=precision)
        pattern = power(score * (scale * _LOG2_E) - log[:, :, None], fast)
        if i == j:
            pattern = tl.where((order[:, None] >= order[None, :])[None], pattern, 0.0)
        patterns += (pattern,)
        d_patterns += (tl.dot(d_z[i], tl.permute(v[j], (0, 2, 1)), input_precision=precision),)
    along = patterns[i] * d_patterns[i]
    for j in tl.static_range(i):
        along += patterns[j] * d_patterns[j]
    through = tl.sum(along, 2)
    d_q = tl.zeros(q[i].shape, tl.float32)
    of_k, of_v = (), ()
    for j in tl.static_range(i + 1):
        d_score = (patterns[j] * ((d_patterns[j] - through[:, :, None]) * scale)).to(low)
        d_q = tl.dot(d_score, k[j], d_q, input_precision=precision)
        of_k += (tl.dot(tl.permute(d_score, (0, 2, 1)), q[i], input_precision=precision),)
        of_v += (tl.dot(tl.permute(patterns[j].to(low), (0, 2, 1)), d_z[i], input_precision=precision),)
    return d_q.to(low), of_k, of_v


@triton.jit
def _attention_backward(
    scaled, scaled_apart, d_mid, d_mid_apart, logs, d_qkv, d_qkv_apart, w_qkv, b_qkv, w_out, gain, shift, maps_apart,
    rest_apart, scale, n_batch, n_positions, d: tl.constexpr, n_heads: tl.constexpr, d_head: tl.constexpr,
    n_tiles: tl.constexpr, prompts: tl.constexpr, heads: tl.constexpr, stages: tl.constexpr, fast: tl.constexpr,
    precision: tl.constexpr,
):  # fmt: skip
    replica, first = tl.program_id(2).to(tl.int64), tl.program_id(1) * prompts
    maps, rest = replica * maps_apart, replica * rest_apart
    low = d_mid.dtype.element_ty
    logs += replica * n_batch * n_heads * n_positions
    normed, come, times, plus = (), (), vector(gain + rest, d), vector(shift + rest, d)
    for i in tl.static_range(n_tiles):
        row, there = places_of(first, i, n_batch, n_positions, prompts)
        x = rows_at(scaled + replica * scaled_apart, row, there, d).to(tl.float32)
        normed += ((x * times + plus).to(low),)
        come += (rows_at(d_mid + replica * d_mid_apart, row, there, d),)
    number = tl.arange(0, 4 * d_head)
    for one in tl.range(0, heads, num_stages=stages):
        head = tl.program_id(0) * heads + one
        w, bias = map_of_head(w_qkv + maps, head, d, d_head), bias_of_head(b_qkv + maps, head, d, d_head)
        w_o = matrix(w_out + maps + head * d_head, d, d_head, d)
        q, k, v, d_z, log = (), (), (), (), ()
        for i in tl.static_range(n_tiles):
            one_q, one_k, one_v = mapped(normed[i], w, bias, prompts, d_head, precision)
            q += (one_q,)
            k += (one_k,)
            v += (one_v,)
            d_z += (tl.dot(come[i], w_o, input_precision=precision).to(low).reshape(prompts, 16, d_head),)
            _row, there = places_of(first, i, n_batch, n_positions, prompts)
            place = log_places(first, i, head, n_heads, n_positions, prompts)
            log += (tl.load(logs + place, mask=there, other=1e30).reshape(prompts, 16),)
        d_q, d_k, d_v = (), (), ()
        for i in tl.static_range(n_tiles):
            of_q, of_k, of_v = _unmix(d_z, q, k, v, log[i], i, scale, fast, precision)
            more_k, more_v = (), ()
            for j in tl.static_range(i):
                more_k += (d_k[j] + of_k[j],)
                more_v += (d_v[j] + of_v[j],)
            d_q += (of_q,)
            d_k, d_v = more_k + (of_k[i],), more_v + (of_v[i],)  # noqa: RUF005  # all that Triton reads
        place = number // d_head * d + head * d_head + number % d_head
        for i in tl.static_range(n_tiles):
            row, there = places_of(first, i, n_batch, n_positions, prompts)
            four = tl.join(tl.join(d_q[i], d_k[i].to(low)), tl.join(d_v[i].to(low), d_q[i]))
            tile = tl.permute(four, (0, 1, 4, 3, 2)).reshape(prompts * 16, 4 * d_head)
            to = d_qkv + replica * d_qkv_apart + row[:, None] * 3 * d + place[None, :]
            tl.store(to, tile, mask=there[:, None] & (number < 3 * d_head)[None, :])
