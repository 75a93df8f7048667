"""Markov chains, a fresh one for every prompt: statistical induction heads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from einops import repeat
from jaxtyping import Float, Int
from torch import Tensor

from workbench.batch import TokenBatch
from workbench.configs import is_count
from workbench.errors import must, refuse_faults
from workbench.tasks.chains import choose, follow, stationary, steps_of
from workbench.tasks.draws import Draws
from workbench.tasks.token_task import LogProbabilities, TokenTask

_MOST_CONTEXTS = 256
_MODEL: Mapping[str, Any] = {"n_layers": 2, "n_heads": 1, "mlp": "none", "positions": "t5"}
_EDELMAN: Mapping[str, Any] = {
    "n_steps": 2000,
    "n_batch": 64,
    "optimizer": "adamw",
    "lr": 5e-4,
    "betas": [0.9, 0.95],
    "weight_decay": 0.1,
    "clip_norm": 1.0,
    "checkpoint_every": 100,
}


@dataclass(frozen=True)
class MarkovChains(TokenTask):
    """Each prompt follows transition rows of its own, drawn from a Dirichlet law (Edelman et al. 2024, section 2)."""

    name: ClassVar[str] = "markov_chains"
    label: ClassVar[str] = "In-context Markov chains"
    source: ClassVar[str] = "Edelman et al. 2024, arXiv:2402.11004"
    drawn_in_order: ClassVar[bool] = True

    n_states: int = 2
    """Different tokens."""
    order: int = 1
    """Tokens that the next one depends on: 1, 2 or 3."""
    n_positions: int = 100
    """Input positions."""
    concentration: int = 1
    """Parameter of the symmetric Dirichlet law of a row."""
    start: Literal["stationary", "uniform"] = "stationary"
    """Law of the first ``order`` tokens: that which the chain keeps, or all alike."""

    presets: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        "demo": {
            "task": {"n_positions": 64},
            "model": {**_MODEL, "d_model": 16},
            "train": {**_EDELMAN, "lr": 5e-3, "n_steps": 1000},
        },
        "small": {"task": {}, "model": {**_MODEL, "d_model": 16}, "train": {**_EDELMAN, "lr": 5e-3}},
        "paper": {"task": {}, "model": {**_MODEL, "d_model": 16}, "train": _EDELMAN},
    }

    def __post_init__(self) -> None:
        k, order = self.n_states, self.order
        refuse_faults(
            [
                must("n_states", "be a whole number of at least 2", k, is_count(k, 2)),
                must("order", "be 1, 2 or 3", order, is_count(order, 1, 3)),
                must("concentration", "be 1 to 100", self.concentration, is_count(self.concentration, 1, 100)),
                must("n_positions", "be a whole number of at least 4", self.n_positions, is_count(self.n_positions, 4)),
            ]
        )
        rule = f"be such that n_states ** order is at most {_MOST_CONTEXTS}"
        refuse_faults([must("n_states", rule, k, k**order <= _MOST_CONTEXTS, "lower it or order")])

    def model_shape(self) -> Mapping[str, Any]:
        """Tokens in, logits out; no token is special."""
        return {"input": "tokens", "output": "logits", "d_vocab": self.n_states, "n_ctx": self.n_positions}

    def draw(self, draws: Draws, *, d_active: object = None) -> TokenBatch:  # noqa: ARG002  # there are no coordinates
        """Fresh prompts with latent ``rows`` ``[batch context token]``; contexts are numbers to base ``n_states``."""
        k, n_contexts = self.n_states, self.n_states**self.order
        # Sums of exponential variables are gamma variables, and those over their sum a Dirichlet row.
        waits = -torch.log1p(-draws.uniform(n_contexts, k, self.concentration)).sum(-1)
        rows = waits.double() / waits.double().sum(-1, keepdim=True).clamp(min=1e-30)
        chance = draws.uniform(self.n_positions + 2)
        context = choose(steps_of(self._first(rows)), chance[:, 0])
        tokens = [context // k ** (self.order - 1 - i) % k for i in range(self.order)]
        steps = steps_of(rows)
        for i in range(self.n_positions + 1 - self.order):
            row = steps.gather(1, repeat(context, "batch -> batch one token", one=1, token=k))[:, 0]
            tokens.append(choose(row, chance[:, i + 1]))
            context = context * k % n_contexts + tokens[-1]
        every = torch.stack(tokens, 1)[:, : self.n_positions + 1]
        mask = torch.ones_like(every[:, 1:], dtype=torch.bool)
        return TokenBatch(every[:, :-1], every[:, 1:], mask, {"rows": rows})

    def _first(self, rows: Float[Tensor, "batch context token"]) -> Float[Tensor, "batch context"]:
        """The law of the first tokens, as one context."""
        n, k = rows.shape[1], self.n_states
        if self.start == "uniform":
            return torch.full_like(rows[..., 0], 1 / n)
        reached = F.one_hot(
            (torch.arange(n, device=rows.device)[:, None] * k % n + torch.arange(k, device=rows.device)), n
        )
        return stationary((rows[..., None] * reached).sum(-2)).clamp(min=0)

    def references(self, batch: TokenBatch) -> Mapping[str, LogProbabilities]:
        """``row``, the true row; then ``order_n`` down to ``order_0``, counts of contexts plus the concentration.

        ``order_n`` of the chain's own order is Bayes where the first tokens say nothing of the rows, as with start
        ``uniform``; with ``stationary`` it lacks what they say. Before a whole context has been seen all tokens are
        alike to both. ``order_0`` counts the tokens from the first on.
        """
        said = {"row": follow(self._true_rows(batch))}
        for n in range(self.order, -1, -1):
            said[f"order_{n}"] = follow(self._counted(batch.tokens, n))
        return said | {"uniform": torch.full_like(said["row"], 1 / self.n_states).log()}

    def _contexts(self, tokens: Int[Tensor, "batch pos"], n: int) -> Int[Tensor, "batch pos"]:
        """The last ``n`` tokens at every position as one number; those before the start count as 0."""
        padded = F.pad(tokens, (n, 0))
        total = torch.zeros_like(tokens)
        for i in range(n):
            total = total + padded[:, n - i : padded.shape[1] - i] * self.n_states**i
        return total

    def _true_rows(self, batch: TokenBatch) -> Float[Tensor, "batch pos token"]:
        contexts = self._contexts(batch.tokens, self.order)
        rows = batch.latents["rows"].gather(1, contexts[..., None].expand(-1, -1, self.n_states)).clone()
        rows[:, : self.order - 1] = 1 / self.n_states
        return rows

    def _counted(self, tokens: Int[Tensor, "batch pos"], n: int) -> Float[Tensor, "batch pos token"]:
        contexts, n_positions = self._contexts(tokens, n), tokens.shape[1]
        place = torch.arange(n_positions, device=tokens.device)
        alike = contexts[:, :, None] == contexts[:, None, :]
        # What stood at position j was followed by j + 1: it counts at i > j, where the context at j is whole.
        counts = alike & (place[None, :] < place[:, None]) & (place[None, :] >= n - 1)
        followers = F.one_hot(tokens.roll(-1, 1), self.n_states).double()
        found = counts.double() @ followers + self.concentration
        found = found / found.sum(-1, keepdim=True)
        found[:, : max(0, n - 1)] = 1 / self.n_states
        return found
