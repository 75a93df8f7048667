# pyright: reportMissingImports=false, reportIndexIssue=false, reportAttributeAccessIssue=false
"""The Triton kernels of attention in ``wide``: a program for every tile of positions, head and prompt.

Queries, keys and values hold their bias already. Backward, the program of a tile gives the gradients of its queries,
which see the tiles before, and of its keys and values, which the tiles after see: so every pair of tiles but those on
the diagonal is met twice, and no two programs write to one place.
"""

import triton
import triton.language as tl


@triton.jit
def _tile(pointer, row, n_positions, apart, d_head: tl.constexpr):
    """Rows of one head; positions past the last are 0."""
    width = tl.arange(0, d_head)[None, :]
    return tl.load(pointer + row[:, None] * apart + width, mask=row[:, None] < n_positions, other=0.0)


@triton.jit
def attention(
    qkv, qkv_apart, out, out_apart, logs, scale, n_positions, n_heads, d_head: tl.constexpr, side: tl.constexpr,
    n_tiles: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """What the queries of a tile mix, and the logarithms of their sums."""
    i, head = n_tiles - 1 - tl.program_id(0) % n_tiles, tl.program_id(0) // n_tiles
    prompt, replica = tl.program_id(1), tl.program_id(2).to(tl.int64)
    wide = n_heads * d_head
    at = qkv + replica * qkv_apart + prompt.to(tl.int64) * n_positions * 3 * wide + head * d_head
    order = tl.arange(0, side)
    row = i * side + order
    low = qkv.dtype.element_ty
    q = _tile(at, row, n_positions, 3 * wide, d_head)
    keys, values = (), ()
    for j in tl.static_range(n_tiles):  # first, so that all are on their way at once
        seen = tl.minimum(n_positions, (i + 1) * side)
        keys += (_tile(at + wide, j * side + order, seen, 3 * wide, d_head),)
        values += (_tile(at + 2 * wide, j * side + order, seen, 3 * wide, d_head),)
    most = tl.full([side], float("-inf"), tl.float32)
    total = tl.zeros([side], tl.float32)
    mixed = tl.zeros([side, d_head], tl.float32)
    for j in tl.static_range(n_tiles):
        if j <= i:
            scores = tl.dot(q, tl.trans(keys[j]), input_precision=precision)
            scores = tl.where(row[:, None] >= (j * side + order)[None, :], scores, float("-inf"))
            above = tl.maximum(most, tl.max(scores, 1))
            raised = tl.exp2(scores * scale - above[:, None] * scale)
            shrink = tl.exp2((most - above) * scale)
            total = total * shrink + tl.sum(raised, 1)
            mixed = tl.dot(raised.to(low), values[j], mixed * shrink[:, None], input_precision=precision)
            most = above
    to = out + replica * out_apart + prompt.to(tl.int64) * n_positions * wide + head * d_head
    place = to + row[:, None] * wide + tl.arange(0, d_head)[None, :]
    tl.store(place, (mixed / total[:, None]).to(out.dtype.element_ty), mask=row[:, None] < n_positions)
    log_to = logs + ((replica * tl.num_programs(1) + prompt) * n_heads + head) * n_positions
    tl.store(log_to + row, most * scale + tl.log2(total), mask=row < n_positions)


@triton.jit
def _pattern(q, k, log, scale, precision: tl.constexpr):
    return tl.exp2(tl.dot(q, tl.trans(k), input_precision=precision) * (scale * 1.4426950408889634) - log[:, None])


@triton.jit
def _d_scores(pattern, d_z, v, through, precision: tl.constexpr):
    """The gradient of the scores, scaled ones."""
    d_pattern = tl.dot(d_z, tl.trans(v), input_precision=precision)
    return (pattern * (d_pattern - through[:, None])).to(v.dtype)


@triton.jit
def attention_backward(
    d_out, d_out_apart, out, out_apart, logs, qkv, qkv_apart, d_qkv, d_qkv_apart, parts, parts_apart, scale,
    n_positions, n_heads, d_head: tl.constexpr, side: tl.constexpr, n_tiles: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """The gradients of a tile's queries, keys and values."""
    own, head = tl.program_id(0) % n_tiles, tl.program_id(0) // n_tiles
    prompt, replica = tl.program_id(1), tl.program_id(2).to(tl.int64)
    wide = n_heads * d_head
    from_start = prompt.to(tl.int64) * n_positions * wide + head * d_head
    at = qkv + replica * qkv_apart + from_start + prompt.to(tl.int64) * n_positions * 2 * wide
    come, mixed = d_out + replica * d_out_apart + from_start, out + replica * out_apart + from_start
    log_at = logs + ((replica * tl.num_programs(1) + prompt) * n_heads + head) * n_positions
    order = tl.arange(0, side)
    row = own * side + order
    low = qkv.dtype.element_ty
    q = _tile(at, row, n_positions, 3 * wide, d_head)
    k = _tile(at + wide, row, n_positions, 3 * wide, d_head)
    v = _tile(at + 2 * wide, row, n_positions, 3 * wide, d_head)
    d_z = _tile(come, row, n_positions, wide, d_head)
    z = _tile(mixed, row, n_positions, wide, d_head)
    log = tl.load(log_at + row, mask=row < n_positions, other=1e30)
    through = tl.sum(d_z.to(tl.float32) * z.to(tl.float32), 1)
    pattern = tl.where(order[:, None] >= order[None, :], _pattern(q, k, log, scale, precision), 0.0)
    d_scores = _d_scores(pattern, d_z, v, through, precision)
    d_q = tl.dot(d_scores, k, input_precision=precision)
    d_k = tl.dot(tl.trans(d_scores), q, input_precision=precision)
    d_v = tl.dot(tl.trans(pattern.to(low)), d_z, input_precision=precision)
    for step in tl.static_range(1, n_tiles):
        other = (own + step) % n_tiles
        there = other * side + order
        if other < own:  # keys and values that these queries see
            first = _tile(at + wide, there, n_positions, 3 * wide, d_head)
            second = _tile(at + 2 * wide, there, n_positions, 3 * wide, d_head)
            pattern = _pattern(q, first, log, scale, precision)
            d_scores = _d_scores(pattern, d_z, second, through, precision)
            d_q = tl.dot(d_scores, first, d_q, input_precision=precision)
        else:  # queries that see these keys and values
            first = _tile(at, there, n_positions, 3 * wide, d_head)
            second = _tile(come, there, n_positions, wide, d_head)
            left = _tile(mixed, there, n_positions, wide, d_head)
            across = tl.sum(second.to(tl.float32) * left.to(tl.float32), 1)
            others_log = tl.load(log_at + there, mask=there < n_positions, other=1e30)
            pattern = _pattern(first, k, others_log, scale, precision)
            d_scores = _d_scores(pattern, second, v, across, precision)
            d_k = tl.dot(tl.trans(d_scores), first, d_k, input_precision=precision)
            d_v = tl.dot(tl.trans(pattern.to(low)), second, d_v, input_precision=precision)
    d_q, d_k = d_q * scale, d_k * scale
    width = tl.arange(0, d_head)
    to = d_qkv + replica * d_qkv_apart + from_start + prompt.to(tl.int64) * n_positions * 2 * wide
    place, inside = to + row[:, None] * 3 * wide + width[None, :], row[:, None] < n_positions
    tl.store(place, d_q.to(low), mask=inside)
    tl.store(place + wide, d_k.to(low), mask=inside)
    tl.store(place + 2 * wide, d_v.to(low), mask=inside)
    part = parts + replica * parts_apart + (prompt * n_tiles + own).to(tl.int64) * 3 * wide + head * d_head + width
    tl.store(part, tl.sum(d_q, 0))
    tl.store(part + wide, tl.sum(d_k, 0))
    tl.store(part + 2 * wide, tl.sum(d_v, 0))
