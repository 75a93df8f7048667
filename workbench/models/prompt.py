"""From a batch to the model's input: positions, who sees whom, and where predictions are read."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.models.config import TransformerConfig
from workbench.models.kinds.layouts import LAYOUTS, Layout
from workbench.models.places import Arrangement


@dataclass(frozen=True)
class PromptPlan:
    """Everything about a sequence that does not depend on its data.

    A causal prompt holds question and answer of every example and is read at every question. One without the
    causal mask holds the earlier examples and one question, the last, and is read there alone. A sequence, whose
    labels are the next inputs, is read everywhere.
    """

    layout: Layout
    causal: bool
    query_in_keys: bool

    def encode(
        self, xs: Float[Tensor, "batch context d_input"], ys: Float[Tensor, "batch context *d_output"]
    ) -> Float[Tensor, "batch pos d_token"]:
        """The sequence of vectors for these examples; the last y never enters a sequence without causal mask."""
        tokens = self.layout.encode(xs, ys if ys.ndim == 3 else ys[..., None])
        if self.causal:  # a sequence always is
            return tokens
        if self.layout.paired:
            return torch.cat([tokens[:, 1:-1:2], tokens[:, -2:-1]], 1)
        return tokens[:, :-1]

    def n_positions(self, n_context: int) -> int:
        """Length of the sequence for ``n_context`` examples."""
        if self.layout.sequence:
            return n_context
        if self.causal:
            return 2 * n_context
        return n_context if self.layout.paired else 2 * n_context - 1

    def positions(self, n_positions: int) -> Int[Tensor, " pos"]:
        """Position ids: a paired query shares the id of the example that it asks for."""
        order = torch.arange(n_positions)
        return order // 2 if self.layout.paired and self.causal else order

    def visible(self, n_positions: int) -> Bool[Tensor, "query key"]:
        """True where the query may attend to the key."""
        order = torch.arange(n_positions)
        query, key = order[:, None], order[None, :]
        is_query_token = self._is_query(order)
        if not self.causal:
            seen = torch.ones(n_positions, n_positions, dtype=torch.bool)
        else:
            seen = key <= query
            if self.layout.paired:
                seen = seen & (~is_query_token[None, :] | (key == query))
        if self.layout.first_hidden:
            seen = seen & (key > 0)
        if not self.query_in_keys:
            seen = seen & ~is_query_token[None, :]
        return seen

    def visible_of_first(self, visible: Bool[Tensor, "longer longer"], n_positions: int) -> Bool[Tensor, "pos pos"]:
        """Who sees whom among ``n_positions``, cut out of the matrix of a longer sequence.

        Without the causal mask the one query stands last, so that the lower right corner is the shorter sequence's.
        """
        kept = slice(None, n_positions) if self.causal else slice(len(visible) - n_positions, None)
        return visible[kept, kept]

    def read(self, output: Float[Tensor, "batch pos d_out"]) -> Float[Tensor, "batch scored d_out"]:
        """What is said where predictions are read, one for each of the last ``scored`` examples."""
        if self.layout.sequence:
            return output
        return output[:, ::2] if self.causal else output[:, -1:]

    def read_positions(self, n_positions: int) -> Int[Tensor, " scored"]:
        """Where predictions are read, one for each of the last ``scored`` examples."""
        if not self.causal:
            return torch.tensor([n_positions - 1])
        return torch.arange(0, n_positions, 1 if self.layout.sequence else 2)

    def questions(
        self, queries: Float[Tensor, "batch asked d_input"], ys: Float[Tensor, "batch context *d_output"]
    ) -> Float[Tensor, "batch asked d_token"]:
        """The tokens that ask for the labels of these inputs; of ``ys`` the shape alone counts.

        Raises:
            InputError: If the layout is a sequence, where a state cannot be changed alone.
        """
        if self.layout.sequence:
            raise InputError(
                f"layout must have questions of their own to ask others; got {self.layout.name!r}. Use 'pairs' or "
                "'interleaved'."
            )
        labels = queries.new_zeros(*queries.shape[:2], *ys.shape[2:] or (1,))
        return self.layout.encode(queries, labels)[:, ::2]

    def asked_beside(self, visible: Bool[Tensor, "plain plain"], n_context: int, n_asked: int) -> Arrangement:
        """A causal sequence of ``n_context`` examples, then ``n_asked`` further questions in place of each of its own.

        Such a question sees what the one in whose place it stands sees before itself, and itself; nobody sees it.
        """
        plain = torch.arange(2 * n_context, device=visible.device)
        asked = plain[::2].repeat_interleave(n_asked)
        order = torch.cat([plain, asked])
        seen = visible[order][:, order]
        is_self = torch.eye(len(order), dtype=torch.bool, device=visible.device)
        is_other = order[:, None] == order[None, :]
        seen = seen & (is_self | ~is_other)
        seen[:, len(plain) :] &= is_self[:, len(plain) :]
        return Arrangement(order, seen)

    def _is_query(self, order: Tensor) -> Bool[Tensor, " pos"]:
        if not self.layout.paired:
            return torch.zeros_like(order, dtype=torch.bool)
        return order % 2 == 0 if self.causal else order == len(order) - 1


def plan_of(config: TransformerConfig) -> PromptPlan:
    """The plan that a model config asks for."""
    return PromptPlan(LAYOUTS[config.layout], config.causal, config.query_in_keys)
