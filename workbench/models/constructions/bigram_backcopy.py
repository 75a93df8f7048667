"""Bigram-Backcopy on tokens: one head that rests on the start token, but copies after a trigger."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.configs import is_count
from workbench.errors import must, refuse_faults
from workbench.models.constructions.record import TokenConstruction
from workbench.models.constructions.writing import (
    NEVER,
    OVER_TOKENS,
    SHARP,
    blank_tokens,
    parts,
    previous,
    say,
    write_head,
)
from workbench.models.transformer import Transformer


def build(
    d_vocab: int, n_ctx: int, *, start: int, bigram: Float[Tensor, "d_vocab d_vocab"], triggers: Sequence[int]
) -> Transformer:
    """Logits are the present token's row of log-probabilities; on a trigger, the token before it alone.

    The stream is (token, place, copy). The one head is active on triggers: there it attends to the token before, whose
    copy settles what comes next. On all others it is dormant: it attends to the start token, whose value is zero.

    Args:
        d_vocab: Tokens in the vocabulary, the start token included.
        n_ctx: Positions; the start token must stand at the first and nowhere else.
        start: Id of the start token.
        bigram: Row v holds the probabilities of what comes next after v; rows of triggers do not matter.
        triggers: Ids of the triggers.

    Raises:
        InputError: If a size, a trigger or a row is out of range.
    """
    refuse_faults(_faults(d_vocab, start, bigram, triggers))
    widths = (d_vocab, n_ctx, d_vocab)
    config = replace(OVER_TOKENS, n_layers=1, d_model=sum(widths), d_head=max(n_ctx + 1, d_vocab))
    model = blank_tokens(config, d_vocab=d_vocab, n_ctx=n_ctx, start=start)
    token, place, copy = parts(*widths)
    worth = token.clone()
    worth[:, start] = 0.0
    rests = token.sum(1, keepdim=True) - token[:, list(triggers)].sum(1, keepdim=True)
    asked = torch.cat([place @ previous(n_ctx), 2 * rests], 1)
    given = torch.cat([place, place[:, :1]], 1)
    write_head(model.layers[0], query=SHARP * asked, key=given, value=worth, out=copy.mT)
    rows = bigram.detach().double().log().clamp(min=-NEVER)
    rows[list(triggers)] = 0.0
    say(model, token @ rows + NEVER * copy)
    return model


def reference(
    tokens: Int[Tensor, "batch pos"],
    d_vocab: int,
    *,
    start: int,  # noqa: ARG001
    bigram: Float[Tensor, "d_vocab d_vocab"],
    triggers: Sequence[int],
) -> Float[Tensor, "batch pos d_vocab"]:
    """Log-probabilities by looking up rows, and tokens before triggers; -inf for what cannot come."""
    said = bigram.detach().double().log()[tokens]
    is_trigger = torch.isin(tokens, torch.tensor(list(triggers), device=tokens.device))
    before = torch.nn.functional.one_hot(tokens.roll(1, 1), d_vocab).double().log()
    return torch.where(is_trigger[..., None], before, said)


def _faults(d_vocab: int, start: int, bigram: Tensor, triggers: Sequence[int]) -> list[str]:
    shape = tuple(bigram.shape)
    fits = shape == (d_vocab, d_vocab)
    rows_fit = fits and bool((bigram >= 0).all()) and torch.allclose(bigram.double().sum(1), torch.ones(1).double())
    ids_fit = all(is_count(i, 0) and i < d_vocab and i != start for i in triggers)
    return [
        must("bigram", f"be [{d_vocab} {d_vocab}]", shape, fits),
        must("bigram", "hold probabilities, each row of sum 1", "another matrix", rows_fit or not fits),
        must("triggers", f"be ids below {d_vocab}, the start token not among them", list(triggers), ids_fit),
    ]


BIGRAM_BACKCOPY = TokenConstruction(
    name="bigram_backcopy",
    label="Bigram-Backcopy: an active-dormant head with its sink on the start token",
    source="Guo et al. 2024, arXiv:2410.13835, section 2; patterns as in their clean-attention intervention",
    build=build,
    reference=reference,
    heads={(0, 0): ("sink", "active_dormant")},
)
