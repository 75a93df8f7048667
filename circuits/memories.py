"""What the three memories of an induction circuit recall, read off the weights (Bietti et al. 2023, section 4.2).

Each memory is a matrix that should answer a question about every token or position with itself: which token does the
late head write for the one that it attends to (copying), which token does its query look for in what the early head
wrote (matching), and which position does the early head attend to (previous).
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuits.folding import FoldedWeights
from circuits.watching import Hooked, looking
from workbench.batch import TokenBatch


@dataclass(frozen=True)
class Recall:
    """Share of questions answered rightly, in [0, 1].

    Attributes:
        copying: Of tokens v: the highest logit that W_V W_O of the late head gives from v is v's (``wo1``).
        matching: Of the tokens q that are asked for: the key that q's query likes most, of those made of what the
            early head writes of each token, is q's (``wk1``).
        previous: Of positions i: the one that the query of position i + 1 likes most in the early head is i (``wk0``).
        chance_token: Of a guess among tokens.
        chance_position: Of a guess among positions.
    """

    copying: float
    matching: float
    previous: float
    chance_token: float
    chance_position: float


def recall(
    weights: FoldedWeights,
    positions: Float[Tensor, "pos d_model"],
    early: tuple[int, int],
    late: tuple[int, int],
    asked: Int[Tensor, " token"] | None = None,
) -> Recall:
    """Recall of one early and one late head.

    Args:
        weights: Of the model.
        positions: Learned vectors of the positions.
        early: Layer and head that should attend to the previous position, 0-based.
        late: Layer and head that should attend to what followed the same token.
        asked: Tokens that matching is asked for; all if None.
    """
    tokens, places = weights.W_E, positions.double().cpu()
    written = tokens @ weights.W_V[late] @ weights.W_O[late] @ weights.W_U
    keys = tokens @ weights.W_V[early] @ weights.W_O[early] @ weights.W_K[late]
    asked = torch.arange(len(tokens)) if asked is None else asked.cpu()
    scores = (tokens[asked] @ weights.W_Q[late]) @ keys.T
    of_places = (places[1:] @ weights.W_Q[early]) @ (places @ weights.W_K[early]).T
    every, place = torch.arange(len(tokens)), torch.arange(len(places) - 1)
    shares = (_right(written, every), _right(scores, asked), _right(of_places, place))
    return Recall(shares[0], shares[1], shares[2], 1 / len(tokens), 1 / len(places))


def _right(scores: Float[Tensor, "question answer"], answers: Int[Tensor, " question"]) -> float:
    """How often the highest score of a row is at its answer."""
    return (scores.argmax(1) == answers).double().mean().item()


@torch.no_grad()
def attended(
    model: Hooked, batch: TokenBatch, early: tuple[int, int], late: tuple[int, int]
) -> dict[str, Float[Tensor, " prompt"]]:
    """Attention of the two heads on what the circuit needs, mean over the positions of each prompt that count.

    ``late``: of counted queries, on keys that stand behind the same token, beside ``late_chance``, uniform attention;
    ``early``: of those keys as queries, on the position before, and ``early_chance``. NaN for prompts without any.

    Args:
        model: Any with TransformerLens's hook names.
        batch: Prompts with the mask of queries whose token has come before.
        early: Layer and head, 0-based.
        late: Layer and head.
    """
    kept: dict[str, Tensor] = {}
    names = {name: f"blocks.{at[0]}.attn.hook_pattern" for name, at in (("early", early), ("late", late))}
    model.run_with_hooks(batch.tokens, fwd_hooks=looking({at: partial(kept.__setitem__, at) for at in names.values()}))
    first, second = kept[names["early"]][:, early[1]].double(), kept[names["late"]][:, late[1]].double()
    tokens, n = batch.tokens, batch.tokens.shape[1]
    alike = tokens[:, :, None] == tokens.roll(1, 1)[:, None, :]
    alike[:, :, 0] = False
    keys = alike.tril() & batch.loss_mask[:, :, None]
    asked, used = keys.any(2), keys.any(1)
    uniform = 1 / torch.arange(1, n + 1, dtype=torch.float64, device=tokens.device)
    before = F.pad(first.diagonal(-1, 1, 2), (1, 0))
    each = {
        "late": _over((second * keys).sum(2), asked),
        "late_chance": _over(keys.sum(2) * uniform, asked),
        "early": _over(before, used),
        "early_chance": _over(uniform.expand_as(before), used),
    }
    return {name: value.cpu() for name, value in each.items()}


def _over(values: Float[Tensor, "prompt pos"], mask: Bool[Tensor, "prompt pos"]) -> Float[Tensor, " prompt"]:
    return torch.where(mask, values, 0.0).sum(1) / mask.sum(1)
