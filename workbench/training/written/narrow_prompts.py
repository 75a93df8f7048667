# pyright: reportMissingImports=false, reportIndexIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false
"""Whole prompts in tiles of 16 positions, one prompt in each warp, and the maps of a head for all of them."""

import triton
import triton.language as tl


@triton.jit
def places_of(first, i, n_batch, n_positions, prompts: tl.constexpr):
    """Rows of tile i, 16 positions of each prompt, and which of them there are."""
    number = tl.arange(0, prompts * 16)
    prompt, position = first + number // 16, i * 16 + number % 16
    return prompt * n_positions + position, (prompt < n_batch) & (position < n_positions)


@triton.jit
def all_places(first, n_batch, n_positions, prompts: tl.constexpr):
    """The same of four tiles one after the other, prompt by prompt."""
    number = tl.arange(0, prompts * 64)
    prompt, position = first + number // 64, number % 64
    return prompt, position, (prompt < n_batch) & (position < n_positions)


@triton.jit
def four(tiles, n_tiles: tl.constexpr):
    """Up to four tiles together, ``[... 2 2]``, so that they are stored at once; some tile stands for those missing."""
    pair = tl.join(tiles[0], tiles[1 % n_tiles])
    return tl.join(pair, tl.join(tiles[2 % n_tiles], tiles[3 % n_tiles]))


@triton.jit
def log_places(first, i, head, n_heads, n_positions, prompts: tl.constexpr):
    """Where the logarithms of tile i lie."""
    number = tl.arange(0, prompts * 16)
    return ((first + number // 16) * n_heads + head) * n_positions + i * 16 + number % 16


@triton.jit
def rows_at(pointer, row, there, width: tl.constexpr):
    """Some rows of a matrix, zeros where there is none."""
    return tl.load(pointer + row[:, None] * width + tl.arange(0, width)[None, :], mask=there[:, None], other=0.0)


@triton.jit
def map_of_head(w_qkv, head, d: tl.constexpr, d_head: tl.constexpr):
    """Maps to a head's queries, keys and values, one after the other, and zeros."""
    number = tl.arange(0, 4 * d_head)
    which, line = number // d_head, head * d_head + number % d_head
    place = (which * d + line)[:, None] * d + tl.arange(0, d)[None, :]
    return tl.load(w_qkv + place, mask=(which < 3)[:, None], other=0.0)


@triton.jit
def bias_of_head(b_qkv, head, d: tl.constexpr, d_head: tl.constexpr):
    """Their biases."""
    number = tl.arange(0, 4 * d_head)
    which, line = number // d_head, head * d_head + number % d_head
    return tl.load(b_qkv + which * d + line, mask=which < 3, other=0.0)[None, :].to(tl.float32)


@triton.jit
def mapped(normed, w, bias, prompts: tl.constexpr, d_head: tl.constexpr, precision: tl.constexpr):
    """A head's queries, keys and values of a tile: one product, as each by itself would wait for the one before."""
    found = (tl.dot(normed, tl.trans(w), input_precision=precision) + bias).to(normed.dtype)
    low, high = tl.split(tl.permute(found.reshape(prompts, 16, 2, 2, d_head), (0, 1, 4, 3, 2)))
    q, k = tl.split(low)
    v, _zero = tl.split(high)
    return q, k, v


@triton.jit
def power(x, fast: tl.constexpr):
    """2 to the x."""
    if fast:
        return tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    return tl.exp2(x)
