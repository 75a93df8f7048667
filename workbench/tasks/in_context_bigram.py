"""Bigram text in which a few trigger tokens have followers of the prompt's own."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor

from workbench.batch import TokenBatch
from workbench.configs import is_count
from workbench.errors import must, refuse_faults
from workbench.tasks.chains import choose, choose_from, follow, in_one_row, law_of, steps_of
from workbench.tasks.draws import Draws
from workbench.tasks.token_task import LogProbabilities, TokenTask

_CPU = torch.device("cpu")
_TRAIN: Mapping[str, Any] = {"optimizer": "adamw", "weight_decay": 0.01, "betas": [0.9, 0.95], "checkpoint_every": 200}
_MODEL: Mapping[str, Any] = {"n_layers": 2, "n_heads": 1, "mlp": "none", "bias": False, "positions": "learned"}


@dataclass(frozen=True)
class InContextBigram(TokenTask):
    """Each prompt gives each trigger one output; elsewhere the bigram law goes on (Bietti et al. 2023, section 2.1).

    An output may itself be a trigger.
    """

    name: ClassVar[str] = "in_context_bigram"
    label: ClassVar[str] = "In-context bigrams"
    source: ClassVar[str] = "Bietti et al. 2023, arXiv:2306.00802"
    drawn_in_order: ClassVar[bool] = True

    counts: str = "asv_1901"
    """Character counts: a name that ships, a path to a .json file of counts, or 'synthetic'."""
    n_triggers: int = 5
    """Triggers of a prompt."""
    triggers: Literal["frequent", "drawn"] = "frequent"
    """The most frequent tokens, the same always; or drawn for every prompt from the unigram law, all different."""
    outputs: Literal["uniform", "bigram"] = "uniform"
    """Law of an output: all tokens alike, or what follows the trigger by the bigram law."""
    n_positions: int = 256
    """Input positions."""
    scored: Literal["all", "repeats"] = "all"
    """Where the loss counts: everywhere, or at triggers from their second time on."""

    presets: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        "demo": {
            "task": {"counts": "synthetic", "n_positions": 64, "scored": "repeats"},
            "model": {**_MODEL, "d_model": 64},
            "train": {**_TRAIN, "n_steps": 1500, "n_batch": 32, "lr": 3e-3},
        },
        "small": {
            "task": {"n_positions": 128, "scored": "repeats"},
            "model": {**_MODEL, "d_model": 64},
            "train": {**_TRAIN, "n_steps": 2000, "n_batch": 32, "lr": 2e-3},
        },
        "paper": {
            "task": {"scored": "repeats"},
            "model": {**_MODEL, "d_model": 256},
            "train": {
                "n_steps": 1000,
                "n_batch": 512,
                "optimizer": "sgd",
                "lr": 0.03,
                "momentum": 0.9,
                "weight_decay": 1e-4,
                "checkpoint_every": 100,
            },
        },
    }

    def __post_init__(self) -> None:
        refuse_faults(
            [
                must("n_triggers", "be a whole number of at least 1", self.n_triggers, is_count(self.n_triggers)),
                must("n_positions", "be a whole number of at least 2", self.n_positions, is_count(self.n_positions, 2)),
            ]
        )
        n = law_of(self.counts, _CPU).n_tokens
        refuse_faults([must("n_triggers", f"be less than the {n} tokens", self.n_triggers, self.n_triggers < n)])

    def model_shape(self) -> Mapping[str, Any]:
        """Tokens in, logits out; no token is special."""
        n = law_of(self.counts, _CPU).n_tokens
        return {"input": "tokens", "output": "logits", "d_vocab": n, "n_ctx": self.n_positions}

    def draw(self, draws: Draws, *, d_active: object = None) -> TokenBatch:  # noqa: ARG002  # there are no coordinates
        """Fresh prompts with latents ``is_trigger`` and ``output`` ``[batch token]``, which triggers alone have."""
        law = law_of(self.counts, draws.device)
        n, steps = law.n_tokens, steps_of(law.bigram)
        order = draws.uniform(n)
        is_trigger = law.triggers(self.n_triggers).expand(draws.n_batch, n)
        if self.triggers == "drawn":  # the largest of log p + Gumbel noise are a draw without replacement
            noisy = law.unigram.log() - (-order.double().clamp(min=1e-12).log()).log()
            is_trigger = noisy.argsort(1, descending=True).argsort(1) < self.n_triggers
        chance = draws.uniform(n)
        output = (chance * n).long().clamp(max=n - 1)
        if self.outputs == "bigram":
            output = (chance[..., None] >= steps).sum(-1)
        uniform = draws.uniform(self.n_positions + 1)
        entries = in_one_row(steps)
        tokens = [choose(steps_of(law.unigram).expand(draws.n_batch, -1), uniform[:, 0])]
        for i in range(1, self.n_positions + 1):
            last = tokens[-1][:, None]
            drawn = choose_from(entries, n, last[:, 0], uniform[:, i].double())
            tokens.append(torch.where(is_trigger.gather(1, last), output.gather(1, last), drawn[:, None])[:, 0])
        every = torch.stack(tokens, 1)
        latents = {"is_trigger": is_trigger, "output": output}
        inputs = every[:, :-1]
        mask = torch.ones_like(inputs, dtype=torch.bool)
        if self.scored == "repeats":
            mask = is_trigger.gather(1, inputs) & seen_before(inputs)
        return TokenBatch(inputs, every[:, 1:], mask, latents)

    def references(self, batch: TokenBatch) -> Mapping[str, LogProbabilities]:
        """``in_context``, which is told which tokens are triggers; ``bigram``, ``unigram`` and ``uniform``.

        With triggers 'frequent', which never change, the first is Bayes; with 'drawn' it is a bound.
        """
        law = law_of(self.counts, batch.tokens.device)
        bigram = law.bigram[batch.tokens]
        is_trigger = batch.latents["is_trigger"].gather(1, batch.tokens)
        output = F.one_hot(batch.latents["output"].gather(1, batch.tokens), law.n_tokens).double()
        unseen = torch.full_like(bigram, 1 / law.n_tokens) if self.outputs == "uniform" else bigram
        known = torch.where(seen_before(batch.tokens)[..., None], output, unseen)
        return {
            "in_context": follow(torch.where(is_trigger[..., None], known, bigram)),
            "bigram": follow(bigram),
            "unigram": follow(law.unigram.expand_as(bigram)),
            "uniform": follow(torch.full_like(bigram, 1 / law.n_tokens)),
        }

    def domains(self, seed: int, n_prompts: int) -> Mapping[str, TokenBatch]:
        """The same prompts by what a position holds: ``trigger`` from its second time on, and ``other``."""
        batch = self._tokens(seed, "heads", n_prompts)
        again = batch.latents["is_trigger"].gather(1, batch.tokens) & seen_before(batch.tokens)
        return {
            "other": replace(batch, loss_mask=~batch.latents["is_trigger"].gather(1, batch.tokens)),
            "trigger": replace(batch, loss_mask=again),
        }


def seen_before(tokens: Int[Tensor, "batch pos"]) -> Bool[Tensor, "batch pos"]:
    """True where the token has stood at an earlier position."""
    alike = tokens[:, :, None] == tokens[:, None, :]
    return alike.tril(-1).any(-1)
