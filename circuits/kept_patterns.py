"""Attention patterns as plain data, for models that are too slow to be run each time somebody looks."""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.prompt_patterns import PromptPatterns

_STEPS = 255
"""Attention is kept in steps of 1/255, finer than any colour scale shows."""


def patterns_to_data(
    prompts: Sequence[PromptPatterns], show: Callable[[list[int]], list[str]] | None = None
) -> dict[str, Any]:
    """Prompts and what all heads attend to on them, keys up to the query, in steps of 1/255.

    Args:
        prompts: With their patterns.
        show: Token ids to texts, for people; none if None.
    """
    return {"prompts": [_to_data(each, show) for each in prompts]}


def _to_data(prompt: PromptPatterns, show: Callable[[list[int]], list[str]] | None) -> dict[str, Any]:
    tokens = prompt.tokens.tolist()
    rows, columns = torch.tril_indices(len(tokens), len(tokens))
    steps = (prompt.pattern[:, :, rows, columns].clamp(0, 1) * _STEPS).round().to(torch.uint8)
    return {
        "name": prompt.name,
        "tokens": tokens,
        "texts": show(tokens) if show else None,
        "domains": {name: mask.tolist() for name, mask in prompt.domains.items()},
        "n_layers": prompt.pattern.shape[0],
        "n_heads": prompt.pattern.shape[1],
        "attention": base64.b64encode(steps.contiguous().numpy().tobytes()).decode("ascii"),
    }


def patterns_from_data(data: Mapping[str, Any]) -> list[PromptPatterns]:
    """The prompts that `patterns_to_data` wrote.

    Raises:
        ValueError: If it is something else.
    """
    try:
        return [_from_data(each) for each in data["prompts"]]
    except (KeyError, TypeError, RuntimeError, binascii.Error) as error:
        raise ValueError(f"it holds no attention patterns: {error}") from error


def _from_data(data: Mapping[str, Any]) -> PromptPatterns:
    tokens = torch.tensor(data["tokens"], dtype=torch.int64)
    n = len(tokens)
    texts = data["texts"]
    return PromptPatterns(
        name=str(data["name"]),
        tokens=tokens,
        domains={str(name): torch.tensor(mask, dtype=torch.bool) for name, mask in data["domains"].items()},
        pattern=_square(data, n),
        texts=None if texts is None else tuple(str(text) for text in texts),
    )


def _square(data: Mapping[str, Any], n: int) -> Float[Tensor, "layer head query key"]:
    steps = torch.frombuffer(bytearray(base64.b64decode(data["attention"], validate=True)), dtype=torch.uint8)
    rows, columns = torch.tril_indices(n, n)
    flat = steps.view(data["n_layers"], data["n_heads"], len(rows))
    square = torch.zeros(*flat.shape[:2], n, n)
    square[:, :, rows, columns] = flat / _STEPS
    return square
