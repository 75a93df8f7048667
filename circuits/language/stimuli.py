"""Rows of tokens to run a language model on: text in windows, and random tokens."""

from collections.abc import Callable

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.errors import InputError

Rows = Int[Tensor, "row pos"]


def text_rows(
    tokenize: Callable[[str], list[int]], text: str, *, n_rows: int, n_tokens: int, bos: int | None, name: str = "text"
) -> Rows:
    """Windows of a text that do not overlap, spread evenly over it, each after the BOS token if there is one.

    Args:
        tokenize: Text to token ids, without special tokens.
        text: As long as the windows need.
        n_rows: How many windows.
        n_tokens: Tokens of a window, BOS included; at least 2.
        bos: Token put first, or None.
        name: What an error calls the text.

    Raises:
        InputError: If the text is too short.
    """
    n_own = n_tokens - (bos is not None)
    ids = tokenize(text)
    n_windows = len(ids) // n_own
    if n_windows < n_rows:
        raise InputError(
            f"{name} must have at least {n_rows} windows of {n_own} tokens; it has {len(ids)} tokens, which are "
            f"{n_windows}. Give a longer text, fewer rows, or shorter ones."
        )
    windows = torch.tensor(ids[: n_windows * n_own]).view(n_windows, n_own)
    return _after(bos, windows[torch.arange(n_rows) * n_windows // n_rows])


def random_rows(ids: range, *, n_rows: int, n_tokens: int, bos: int | None, seed: int) -> Rows:
    """Tokens drawn independently, each as likely as the other, after the BOS token if there is one."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(ids.start, ids.stop, (n_rows, n_tokens - (bos is not None)), generator=generator)
    return _after(bos, drawn)


def one_token_rows(ids: range, *, n_rows: int, n_tokens: int, bos: int | None, seed: int) -> Rows:
    """One random token per row, over and over, after the BOS token if there is one."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(ids.start, ids.stop, (n_rows, 1), generator=generator)
    return _after(bos, drawn.repeat(1, n_tokens - (bos is not None)))


def _after(bos: int | None, rows: Tensor) -> Tensor:
    return rows if bos is None else torch.cat([rows.new_full((len(rows), 1), bos), rows], dim=1)
