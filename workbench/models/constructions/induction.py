"""Induction on tokens: a previous-token head, then a head that finds what stood behind the same token."""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.models.constructions.record import TokenConstruction
from workbench.models.constructions.writing import OVER_TOKENS, SHARP, blank_tokens, parts, previous, say, write_head
from workbench.models.transformer import Transformer

GAIN = 40.0
"""Logit of a token that has always come next; e^-40 of it is left for others."""


def build(d_vocab: int, n_ctx: int, *, start: int, gain: float = GAIN) -> Transformer:
    """Logits are gain times the shares with which tokens have followed the present one so far, 0 before any has.

    The stream is (token, place, previous, next). In layer 0 every token gets the one before as its previous, and none
    behind the start token. In layer 1 a token attends to those whose previous it is, all alike, and to the start token
    if there are none; what it attends to is its next, but the start token counts as nothing.

    Args:
        d_vocab: Tokens in the vocabulary, the start token included.
        n_ctx: Positions; the start token must stand at the first and nowhere else.
        start: Id of the start token, whose logit is -infinity but for rounding.
        gain: From shares to logits.

    Raises:
        InputError: If a size is out of range.
    """
    widths = (d_vocab, n_ctx, d_vocab, d_vocab)
    config = replace(OVER_TOKENS, n_layers=2, d_model=sum(widths), d_head=max(d_vocab + 1, n_ctx))
    model = blank_tokens(config, d_vocab=d_vocab, n_ctx=n_ctx, start=start)
    token, place, before, following = parts(*widths)
    worth = token.clone()
    worth[:, start] = 0.0
    first, second = model.layers
    write_head(first, query=SHARP * place @ previous(n_ctx), key=place, value=worth, out=before.mT)
    anywhere, at_start = place.sum(1, keepdim=True), place[:, :1]
    asked, given = torch.cat([token, anywhere / 2], 1), torch.cat([before, at_start], 1)
    write_head(second, query=SHARP * asked, key=given, value=worth, out=following.mT)
    say(model, gain * following)
    return model


def reference(
    tokens: Int[Tensor, "batch pos"], d_vocab: int, *, start: int, gain: float = GAIN
) -> Float[Tensor, "batch pos d_vocab"]:
    """Gain times the shares of what has followed the token at each position before, counted; -inf for ``start``."""
    n = tokens.shape[1]
    alike = (tokens[:, :, None] == tokens[:, None, :]) & (tokens != start)[:, None, :]
    earlier = torch.ones(n, n, dtype=torch.bool, device=tokens.device).tril(-1)
    followers = torch.nn.functional.one_hot(tokens.roll(-1, 1), d_vocab).double()
    counts = (alike & earlier).double() @ followers
    logits = gain * counts / counts.sum(-1, keepdim=True).clamp(min=1)
    logits[..., start] = -torch.inf
    return logits


INDUCTION = TokenConstruction(
    name="induction",
    label="Induction: previous-token head, then induction head",
    source="Elhage et al. 2021, transformer-circuits.pub/2021/framework; Olsson et al. 2022, arXiv:2209.11895",
    build=build,
    reference=reference,
    heads={(0, 0): ("previous_token",), (1, 0): ("induction",)},
)
