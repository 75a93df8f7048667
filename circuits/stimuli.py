"""Prompts that heads are looked for on."""

import torch
from jaxtyping import Int
from torch import Tensor


def repeated(
    ids: range, *, first: int | None, n_positions: int, n_block: int, n_prompts: int, seed: int
) -> Int[Tensor, "batch pos"]:
    """Distinct random tokens, repeated, behind a first token where there is one.

    Args:
        ids: Tokens to draw from.
        first: Id of the first token, or None for none.
        n_positions: Longest prompt.
        n_block: Tokens in a block; fewer where there are fewer ids or no room for two copies.
        n_prompts: Prompts.
        seed: Of the draw.

    Returns:
        As many whole copies as fit, at most four; no position at all where no two copies of two tokens do.
    """
    starts = 0 if first is None else 1
    n = min(n_block, len(ids), (n_positions - starts) // 2)
    if n < 2:
        return torch.zeros(n_prompts, 0, dtype=torch.int64)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(n_prompts, len(ids), generator=generator).argsort(1)[:, :n] + ids.start
    body = drawn.repeat(1, min(4, (n_positions - starts) // n))
    return body if first is None else torch.nn.functional.pad(body, (1, 0), value=first)
