"""The data that flows through everything: one batch of prompts and what the generator knew."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class RegressionBatch:
    """Prompts of (x, y) examples.

    Attributes:
        xs: Inputs.
        ys: Labels, noise included: numbers, or vectors with an axis of their own.
        latents: What the generator knew, each with a leading batch axis: ``w``, ``noise``, ``covariance``, ...
    """

    xs: Float[Tensor, "batch context d_input"]
    ys: Float[Tensor, "batch context *d_output"]
    latents: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def n_batch(self) -> int:
        """Number of prompts."""
        return self.xs.shape[0]

    @property
    def n_context(self) -> int:
        """Examples per prompt."""
        return self.xs.shape[1]

    def prompts(self, start: int, stop: int) -> "RegressionBatch":
        """The prompts ``start`` to ``stop - 1``."""
        rows = slice(start, stop)
        kept = {name: value[rows] for name, value in self.latents.items()}
        return RegressionBatch(self.xs[rows], self.ys[rows], kept)

    def prefix(self, n_context: int) -> "RegressionBatch":
        """The same prompts cut to their first ``n_context`` examples."""
        return replace(self, xs=self.xs[:, :n_context], ys=self.ys[:, :n_context])

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "RegressionBatch":
        """The same batch elsewhere; ``dtype`` touches floating-point tensors only."""
        moved = {name: _move(value, device, dtype) for name, value in self.latents.items()}
        return RegressionBatch(_move(self.xs, device, dtype), _move(self.ys, device, dtype), moved)


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """Prompts of tokens, each position with the token to predict there.

    Attributes:
        tokens: Input token ids, or vectors that stand for them.
        targets: Token id to be predicted at each position.
        loss_mask: True where the prediction is scored.
        latents: What the generator knew, each with a leading batch axis.
    """

    tokens: Int[Tensor, "batch pos"] | Float[Tensor, "batch pos d_token"]
    targets: Int[Tensor, "batch pos"]
    loss_mask: Bool[Tensor, "batch pos"]
    latents: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def n_batch(self) -> int:
        """Number of prompts."""
        return self.tokens.shape[0]

    def prompts(self, start: int, stop: int) -> "TokenBatch":
        """The prompts ``start`` to ``stop - 1``."""
        rows = slice(start, stop)
        kept = {name: value[rows] for name, value in self.latents.items()}
        return TokenBatch(self.tokens[rows], self.targets[rows], self.loss_mask[rows], kept)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "TokenBatch":
        """The same batch elsewhere; ``dtype`` touches floating-point tensors only."""
        moved = {name: _move(value, device, dtype) for name, value in self.latents.items()}
        tokens, targets = _move(self.tokens, device, dtype), self.targets.to(device)
        return TokenBatch(tokens, targets, self.loss_mask.to(device), moved)


Batch = RegressionBatch | TokenBatch


def join(batches: list[RegressionBatch] | list[TokenBatch]) -> RegressionBatch | TokenBatch:
    """One batch holding the prompts of all, in order; all must have the same latents."""
    first = batches[0]
    latents = {name: torch.cat([b.latents[name] for b in batches]) for name in first.latents}
    if isinstance(first, RegressionBatch):
        xs, ys = (torch.cat([getattr(b, name) for b in batches]) for name in ("xs", "ys"))
        return RegressionBatch(xs, ys, latents)
    tokens, targets, mask = (
        torch.cat([getattr(b, name) for b in batches]) for name in ("tokens", "targets", "loss_mask")
    )
    return TokenBatch(tokens, targets, mask, latents)


def _move(value: Tensor, device: torch.device | str | None, dtype: torch.dtype | None) -> Tensor:
    return value.to(device=device, dtype=dtype if value.is_floating_point() else None)
