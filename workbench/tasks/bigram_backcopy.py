"""Bigram-Backcopy: text by a bigram law, but after a trigger comes again what stood before it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.batch import TokenBatch
from workbench.configs import is_count, is_finite
from workbench.errors import must, refuse_faults
from workbench.tasks.chains import Law, choose, choose_from, follow, in_one_row, law_of, steps_of
from workbench.tasks.draws import Draws
from workbench.tasks.token_task import LogProbabilities, TokenTask

_GUO: Mapping[str, Any] = {
    "n_steps": 10_000,
    "n_batch": 512,
    "optimizer": "adamw",
    "lr": 3e-4,
    "betas": [0.9, 0.99],
    "weight_decay": 1e-4,
    "checkpoint_every": 500,
    "checkpoints_per_decade": 10,
}
_BLOCK: Mapping[str, Any] = {"n_heads": 1, "mlp": "relu", "bias": False, "positions": "learned"}


@dataclass(frozen=True)
class BigramBackcopy(TokenTask):
    """A start token, a character that is no trigger, then the bigram law or the copy (Guo et al. 2024, section 2.1).

    The original's counts are those of another text, and it has a vocabulary entry that never comes.
    """

    name: ClassVar[str] = "bigram_backcopy"
    label: ClassVar[str] = "Bigram-Backcopy"
    source: ClassVar[str] = "Guo et al. 2024, arXiv:2410.13835"
    drawn_in_order: ClassVar[bool] = True

    counts: str = "asv_1901"
    """Character counts: a name that ships, a path to a .json file of counts, or 'synthetic'."""
    n_triggers: int = 3
    """Triggers: the most frequent tokens."""
    n_positions: int = 256
    """Input positions, start tokens included."""
    n_starts: int = 1
    """Start tokens: 0, 1 or 2."""
    after_trigger: Literal["copy", "bigram_of_previous"] = "copy"
    """What follows a trigger: the token before it, or a draw from that token's bigram row."""
    trigger_share: float = 1.0
    """Probability that a trigger acts; otherwise the bigram law goes on."""

    presets: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        "demo": {
            "task": {"n_positions": 64},
            "model": {**_BLOCK, "n_layers": 1, "d_model": 64},
            "train": {**_GUO, "n_steps": 1500, "n_batch": 32, "lr": 3e-3},
        },
        "small": {
            "task": {"n_positions": 128},
            "model": {**_BLOCK, "n_layers": 1, "d_model": 128},
            "train": {**_GUO, "n_steps": 2000, "n_batch": 64, "lr": 1e-3},
        },
        "small_3": {
            "task": {"n_positions": 128},
            "model": {**_BLOCK, "n_layers": 3, "d_model": 64},
            "train": {**_GUO, "n_steps": 3000, "n_batch": 32, "lr": 1e-3},
        },
        "paper": {"task": {}, "model": {**_BLOCK, "n_layers": 1, "d_model": 256, "init": "torch"}, "train": _GUO},
        "paper_3": {"task": {}, "model": {**_BLOCK, "n_layers": 3, "d_model": 256, "init": "torch"}, "train": _GUO},
    }

    def __post_init__(self) -> None:
        share = self.trigger_share
        refuse_faults(
            [
                must("n_positions", "be a whole number of at least 4", self.n_positions, is_count(self.n_positions, 4)),
                must("n_starts", "be 0, 1 or 2", self.n_starts, is_count(self.n_starts, 0, 2)),
                must("n_triggers", "be a whole number of at least 0", self.n_triggers, is_count(self.n_triggers, 0)),
                must("trigger_share", "be between 0 and 1", share, is_finite(share, at_least=0) and share <= 1),
            ]
        )
        n = law_of(self.counts, torch.device("cpu")).n_tokens
        refuse_faults([must("n_triggers", f"be less than the {n} tokens", self.n_triggers, self.n_triggers < n)])

    def model_shape(self) -> Mapping[str, Any]:
        """Tokens in, logits out; the last id is the start token."""
        return {"input": "tokens", "output": "logits", "d_vocab": self._start + 1, "n_ctx": self.n_positions}

    @property
    def _start(self) -> int:
        return law_of(self.counts, torch.device("cpu")).n_tokens

    def ordinary_tokens(self) -> range:
        """All but the start token."""
        return range(self._start)

    def first_token(self) -> int | None:
        """The start token, if prompts have one."""
        return self._start if self.n_starts else None

    def triggers(self) -> list[int]:
        """Ids of the triggers, the most frequent first."""
        return law_of(self.counts, torch.device("cpu")).rank.argsort()[: self.n_triggers].tolist()

    def draw(self, draws: Draws, *, d_active: object = None) -> TokenBatch:  # noqa: ARG002  # there are no coordinates
        """Fresh prompts with latent ``is_trigger`` ``[batch pos]``, true where the input token is one."""
        law = law_of(self.counts, draws.device)
        triggers = law.triggers(self.n_triggers)
        chance = draws.uniform(self.n_positions + 1)
        acts = draws.uniform(self.n_positions + 1) < self.trigger_share
        drawn = sample_backcopy(law, triggers, chance, acts, self.after_trigger)
        start = torch.full_like(drawn[:, :1], law.n_tokens).expand(-1, self.n_starts)
        tokens = torch.cat([start, drawn], 1)[:, : self.n_positions + 1]
        latents = {"is_trigger": marked(tokens[:, :-1], triggers)}
        return TokenBatch(tokens[:, :-1], tokens[:, 1:], tokens[:, 1:] != law.n_tokens, latents)

    def references(self, batch: TokenBatch) -> Mapping[str, LogProbabilities]:
        """``oracle``, the law itself; ``bigram``, its rows alone; ``unigram``; ``uniform`` over the vocabulary."""
        law = law_of(self.counts, batch.tokens.device)
        triggers = law.triggers(self.n_triggers)
        said = backcopy_law(law, triggers, batch.tokens, self.trigger_share, self.after_trigger)
        bigram = F.pad(torch.cat([law.bigram, law.unigram[None]]), (0, 1))[batch.tokens]
        unigram = F.pad(law.unigram, (0, 1)).expand_as(said)
        uniform = torch.full_like(said, 1 / said.shape[-1])
        return {
            "oracle": follow(said),
            "bigram": follow(bigram),
            "unigram": follow(unigram),
            "uniform": follow(uniform),
        }

    def domains(self, seed: int, n_prompts: int) -> Mapping[str, TokenBatch]:
        """The same prompts by what a position holds: ``non_trigger`` (no start token) and ``trigger``."""
        batch = self._tokens(seed, "heads", n_prompts)
        is_trigger = batch.latents["is_trigger"]
        is_start = batch.tokens == self._start
        return {
            "non_trigger": replace(batch, loss_mask=~is_trigger & ~is_start),
            "trigger": replace(batch, loss_mask=is_trigger),
        }


def marked(tokens: Int[Tensor, "batch pos"], triggers: Bool[Tensor, " token"]) -> Bool[Tensor, "batch pos"]:
    """True where a token is a trigger; ids beyond the table are none."""
    return F.pad(triggers, (0, 1))[tokens.clamp(max=len(triggers))]


def sample_backcopy(
    law: Law,
    triggers: Bool[Tensor, " token"],
    chance: Float[Tensor, "batch pos"],
    acts: Bool[Tensor, "batch pos"],
    after_trigger: str,
) -> Int[Tensor, "batch pos"]:
    """Tokens of the law, without start token.

    Args:
        law: Unigram and bigram law.
        triggers: Which tokens are triggers.
        chance: A uniform number in [0, 1) for every token.
        acts: Whether a trigger at this position acts.
        after_trigger: ``copy`` or ``bigram_of_previous``.
    """
    first = steps_of(law.unigram * ~triggers)
    entries, n = in_one_row(steps_of(law.bigram)), law.n_tokens
    tokens, chance = [choose(first.expand(len(chance), -1), chance[:, 0])], chance.double()
    before = tokens[0]
    for i in range(1, chance.shape[1]):
        last = tokens[-1]
        active = triggers[last] & acts[:, i]
        row = last if after_trigger == "copy" else torch.where(active, before, last)
        drawn = choose_from(entries, n, row, chance[:, i])
        tokens.append(torch.where(active, before, drawn) if after_trigger == "copy" else drawn)
        before = last
    return torch.stack(tokens, 1)


def backcopy_law(
    law: Law,
    triggers: Bool[Tensor, " token"],
    tokens: Int[Tensor, "batch pos"],
    trigger_share: float,
    after_trigger: str,
) -> Float[Tensor, "batch pos d_vocab"]:
    """Probabilities of the next token at every position; the start token is the last id and never comes."""
    first = law.unigram * ~triggers
    table = torch.cat([law.bigram, (first / first.sum())[None]])
    rows = F.pad(table, (0, 1))
    plain = rows[tokens]
    before = tokens.roll(1, 1)
    copied = F.one_hot(before, law.n_tokens + 1).to(plain.dtype) if after_trigger == "copy" else rows[before]
    is_active = marked(tokens, triggers)
    is_active[:, 0] = False
    return torch.where(is_active[..., None], trigger_share * copied + (1 - trigger_share) * plain, plain)
