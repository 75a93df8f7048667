"""Random tokens, repeated: what induction heads are made for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F

from workbench.batch import TokenBatch
from workbench.configs import is_count
from workbench.errors import must, refuse_faults
from workbench.tasks.chains import follow
from workbench.tasks.draws import Draws
from workbench.tasks.token_task import LogProbabilities, TokenTask

_TRAIN: Mapping[str, Any] = {"optimizer": "adamw", "weight_decay": 0.01, "betas": [0.9, 0.98], "checkpoint_every": 500}


@dataclass(frozen=True)
class RepeatedTokens(TokenTask):
    """A start token, then a block of distinct random tokens over and over (Olsson et al. 2022, "induction stimulus").

    The length of the block is drawn for each prompt, so that no fixed distance tells where the last copy was. Small
    models with learned positions or T5's biases lose as little without an induction head; rotary ones make one.
    """

    name: ClassVar[str] = "repeated_tokens"
    label: ClassVar[str] = "Repeated random tokens"
    source: ClassVar[str] = "Olsson et al. 2022, arXiv:2209.11895"

    n_tokens: int = 64
    """Different tokens; the start token comes on top."""
    n_positions: int = 64
    """Input positions, the start token included."""
    min_block: int = 12
    """Tokens of the shortest block."""
    max_block: int = 28
    """Tokens of the longest block; lengths are equally frequent."""
    scored: Literal["all", "repeats"] = "all"
    """Where the loss counts: everywhere, or from the second copy on, where the next token is certain."""

    presets: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        "demo": {
            "task": {"n_tokens": 32, "n_positions": 48, "min_block": 8, "max_block": 20, "scored": "repeats"},
            "model": {"n_layers": 2, "d_model": 64, "n_heads": 4, "mlp": "none", "positions": "rotary"},
            "train": {**_TRAIN, "n_steps": 1500, "lr": 3e-3, "n_batch": 32, "warmup_steps": 50},
        },
        "small": {
            "task": {"scored": "repeats"},
            "model": {"n_layers": 2, "d_model": 64, "n_heads": 4, "mlp": "none", "positions": "rotary"},
            "train": {**_TRAIN, "n_steps": 3000, "lr": 3e-3, "n_batch": 32, "warmup_steps": 100},
        },
        "paper": {
            "task": {"n_tokens": 1024, "n_positions": 101, "min_block": 20, "max_block": 30},
            "model": {"n_layers": 2, "d_model": 256, "n_heads": 8, "mlp": "none", "positions": "rotary"},
            "train": {**_TRAIN, "n_steps": 20_000, "lr": 1e-3, "n_batch": 128, "warmup_steps": 500},
        },
    }

    def __post_init__(self) -> None:
        counts = ("n_tokens", "min_block", "max_block")
        faults = [
            must(name, "be a whole number of at least 2", getattr(self, name), is_count(getattr(self, name), 2))
            for name in counts
        ]
        faults.append(
            must("n_positions", "be a whole number of at least 2", self.n_positions, is_count(self.n_positions, 2))
        )
        refuse_faults(faults)
        low, high = self.min_block, self.max_block
        refuse_faults(
            [
                must("min_block", f"be at most max_block {high}", low, low <= high),
                must("max_block", f"be at most n_tokens {self.n_tokens}", high, high <= self.n_tokens),
                must(
                    "n_positions",
                    f"be more than max_block {self.max_block}, so that every block comes twice",
                    self.n_positions,
                    self.n_positions > self.max_block + 1,
                ),
            ]
        )

    def model_shape(self) -> Mapping[str, Any]:
        """Tokens in, logits out; the last id starts every prompt."""
        return {"input": "tokens", "output": "logits", "d_vocab": self.n_tokens + 1, "n_ctx": self.n_positions}

    def ordinary_tokens(self) -> range:
        """All but the start token."""
        return range(self.n_tokens)

    def first_token(self) -> int:
        """The start token."""
        return self.n_tokens

    def draw(self, draws: Draws, *, d_active: object = None) -> TokenBatch:  # noqa: ARG002  # there are no coordinates
        """Fresh prompts with latent ``block_length``."""
        block = draws.uniform(self.n_tokens).argsort(1)[:, : self.max_block]
        length = self.min_block + draws.integers(self.max_block - self.min_block + 1)
        place = torch.arange(self.n_positions, device=draws.device)
        body = block.gather(1, place % length[:, None])
        start = torch.full_like(body[:, :1], self.n_tokens)
        tokens = torch.cat([start, body[:, :-1]], 1)
        certain = place >= length[:, None]
        mask = certain if self.scored == "repeats" else torch.ones_like(certain)
        return TokenBatch(tokens, body, mask, {"block_length": length})

    def references(self, batch: TokenBatch) -> Mapping[str, LogProbabilities]:
        """``bayes``, which knows the law alone; ``repeat``, which is told the length; ``uniform``.

        After i distinct tokens the block ends with probability 1 / (max_block - i + 1) from i = min_block on: then
        its first token comes again. Once one has come again the rest is certain.
        """
        body, length = batch.targets, batch.latents["block_length"]
        n_positions = body.shape[1]
        one_hot = F.one_hot(body, self.n_tokens + 1).double()
        place = torch.arange(n_positions, device=body.device)
        seen = (one_hot.cumsum(1) - one_hot).clamp(max=1.0)
        fresh = (1 - seen) * (torch.arange(self.n_tokens + 1, device=body.device) < self.n_tokens)
        fresh = fresh / fresh.sum(-1, keepdim=True).clamp(min=1)
        again = one_hot.gather(1, (place - length[:, None]).clamp(min=0)[..., None].expand_as(one_hot))
        certain = (place >= length[:, None])[..., None]
        ends = torch.where(place >= self.min_block, 1.0 / (self.max_block - place + 1).clamp(min=1), 0.0).double()
        ends = ends[:, None]
        unknown = ends * one_hot[:, :1] + (1 - ends) * fresh
        surprised = (place > length[:, None])[..., None]
        uniform = torch.full_like(one_hot, 1 / self.n_tokens)
        uniform[..., self.n_tokens] = 0.0
        return {
            "bayes": follow(torch.where(surprised, again, unknown)),
            "repeat": follow(torch.where(certain, again, fresh)),
            "uniform": follow(uniform),
        }
