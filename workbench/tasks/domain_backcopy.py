"""Bigram-Backcopy in two kinds of text: one rich in triggers, one free of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from workbench.batch import TokenBatch
from workbench.configs import is_count, is_finite
from workbench.errors import must, refuse_faults
from workbench.tasks.bigram_backcopy import marked
from workbench.tasks.chains import Law, choose, choose_from, follow, in_one_row, law_of, steps_of
from workbench.tasks.draws import Draws, numbered
from workbench.tasks.token_task import LogProbabilities, TokenTask

_CPU = torch.device("cpu")
RICH, FREE = 0, 1
_TRAIN: Mapping[str, Any] = {
    "optimizer": "adamw",
    "betas": [0.9, 0.99],
    "weight_decay": 1e-4,
    "checkpoint_every": 500,
}
_BLOCK: Mapping[str, Any] = {"n_heads": 1, "mlp": "relu", "bias": False, "positions": "learned"}


@dataclass(frozen=True)
class DomainBackcopy(TokenTask):
    """Each prompt is of one of two domains; a head that copies after triggers has work in one and none in the other.

    After Guo et al. 2024, section 4.1, where such a head of a language model is dormant on prose and active on code.
    """

    name: ClassVar[str] = "domain_backcopy"
    label: ClassVar[str] = "Bigram-Backcopy in two domains"
    source: ClassVar[str] = "made here after Guo et al. 2024, arXiv:2410.13835"
    drawn_in_order: ClassVar[bool] = True

    counts: str = "asv_1901"
    """Character counts: a name that ships, a path to a .json file of counts, or 'synthetic'."""
    n_triggers: int = 3
    """Triggers: the most frequent tokens."""
    trigger_boost: float = 4.0
    """Factor on the bigram probability of triggers in trigger-rich text; rows are normalised anew."""
    rich_share: float = 0.5
    """Share of trigger-rich prompts."""
    n_positions: int = 128
    """Input positions, the start token included."""

    presets: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        "demo": {
            "task": {"n_positions": 64},
            "model": {**_BLOCK, "n_layers": 1, "d_model": 64},
            "train": {**_TRAIN, "n_steps": 1500, "n_batch": 32, "lr": 3e-3},
        },
        "small": {
            "task": {},
            "model": {**_BLOCK, "n_layers": 1, "d_model": 128},
            "train": {**_TRAIN, "n_steps": 2000, "n_batch": 64, "lr": 1e-3},
        },
        "paper": {
            "task": {"n_positions": 256},
            "model": {**_BLOCK, "n_layers": 1, "d_model": 256, "init": "torch"},
            "train": {**_TRAIN, "n_steps": 10_000, "n_batch": 512, "lr": 3e-4},
        },
    }

    def __post_init__(self) -> None:
        share, boost = self.rich_share, self.trigger_boost
        refuse_faults(
            [
                must("n_triggers", "be a whole number of at least 1", self.n_triggers, is_count(self.n_triggers)),
                must("n_positions", "be a whole number of at least 4", self.n_positions, is_count(self.n_positions, 4)),
                must("trigger_boost", "be greater than 0", boost, is_finite(boost, above=0)),
                must("rich_share", "be between 0 and 1", share, is_finite(share, at_least=0) and share <= 1),
            ]
        )
        n = law_of(self.counts, _CPU).n_tokens
        refuse_faults([must("n_triggers", f"be less than the {n} tokens", self.n_triggers, self.n_triggers < n)])

    def model_shape(self) -> Mapping[str, Any]:
        """Tokens in, logits out; the last id is the start token."""
        n = law_of(self.counts, _CPU).n_tokens
        return {"input": "tokens", "output": "logits", "d_vocab": n + 1, "n_ctx": self.n_positions}

    def ordinary_tokens(self) -> range:
        """All but the start token."""
        return range(self.first_token())

    def first_token(self) -> int:
        """The start token."""
        return law_of(self.counts, _CPU).n_tokens

    def triggers(self) -> list[int]:
        """Ids of the triggers, the most frequent first."""
        return law_of(self.counts, _CPU).rank.argsort()[: self.n_triggers].tolist()

    def draw(self, draws: Draws, *, d_active: object = None) -> TokenBatch:  # noqa: ARG002  # there are no coordinates
        """Fresh prompts with latents ``domain``, 0 rich in triggers and 1 free, and ``is_trigger`` ``[batch pos]``."""
        return self._drawn(draws, (draws.uniform() >= self.rich_share).long())

    def _drawn(self, draws: Draws, domain: Int[Tensor, " batch"]) -> TokenBatch:
        law = law_of(self.counts, draws.device)
        n, triggers = law.n_tokens, law.triggers(self.n_triggers)
        entries = in_one_row(steps_of(self._rows(law)).flatten(0, 1))
        chance = draws.uniform(self.n_positions)
        tokens = [choose(steps_of(law.unigram * ~triggers).expand(draws.n_batch, -1), chance[:, 0])]
        chance = chance.double()
        before = tokens[0]
        for i in range(1, self.n_positions):
            last = tokens[-1]
            drawn = choose_from(entries, n, domain * n + last, chance[:, i])
            tokens.append(torch.where(triggers[last], before, drawn))
            before = last
        body = torch.stack(tokens, 1)
        inputs = F.pad(body[:, :-1], (1, 0), value=n)
        latents = {"domain": domain, "is_trigger": marked(inputs, triggers)}
        return TokenBatch(inputs, body, torch.ones_like(body, dtype=torch.bool), latents)

    def _rows(self, law: Law) -> Float[Tensor, "domain token token"]:
        """The bigram law of either domain; a row that leads to triggers alone becomes the unigram law without them."""
        triggers = law.triggers(self.n_triggers)
        rich = law.bigram * torch.where(triggers, self.trigger_boost, 1.0)
        free = law.bigram * ~triggers
        plain = law.unigram * ~triggers
        free = torch.where(free.sum(1, keepdim=True) > 0, free, plain)
        both = torch.stack([rich, free])
        return both / both.sum(-1, keepdim=True)

    def references(self, batch: TokenBatch) -> Mapping[str, LogProbabilities]:
        """``bayes``, which weighs the domains by what it has read; ``told``, which knows the domain; ``uniform``."""
        law = law_of(self.counts, batch.tokens.device)
        laws = torch.stack([self._said(law, batch.tokens, domain) for domain in (RICH, FREE)])
        hit = laws.gather(-1, batch.targets.expand(2, -1, -1)[..., None])[..., 0].log()
        read = F.pad(hit.cumsum(-1)[..., :-1], (1, 0))
        prior = torch.tensor([self.rich_share, 1 - self.rich_share], dtype=torch.float64, device=read.device).log()
        weight = (read + prior[:, None, None]).softmax(0)[..., None]
        told = laws.gather(0, batch.latents["domain"][None, :, None, None].expand(1, *laws.shape[1:]))[0]
        uniform = torch.full_like(told, 1 / told.shape[-1])
        return {"bayes": follow((weight * laws).sum(0)), "told": follow(told), "uniform": follow(uniform)}

    def _said(self, law: Law, tokens: Int[Tensor, "batch pos"], domain: int) -> Float[Tensor, "batch pos d_vocab"]:
        """Probabilities of the next token in one domain."""
        triggers = law.triggers(self.n_triggers)
        first = law.unigram * ~triggers
        table = F.pad(torch.cat([self._rows(law)[domain], (first / first.sum())[None]]), (0, 1))
        copied = F.one_hot(tokens.roll(1, 1), law.n_tokens + 1).double()
        return torch.where(marked(tokens, triggers)[..., None], copied, table[tokens])

    def domains(self, seed: int, n_prompts: int) -> Mapping[str, TokenBatch]:
        """Prompts of either domain, all positions."""
        ids = {"trigger_rich": RICH, "trigger_free": FREE}
        return {name: self._of_domain(seed, n_prompts, name, domain) for name, domain in ids.items()}

    def _of_domain(self, seed: int, n_prompts: int, name: str, domain: int) -> TokenBatch:
        draws = numbered(seed, f"heads {name}", 0, n_prompts)
        return self._drawn(draws, torch.full((n_prompts,), domain))
