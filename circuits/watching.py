"""Running a model while looking on: what fires at a hook is reduced at once and never kept or written to."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.batch import TokenBatch

Look = Callable[[Tensor], None]


@runtime_checkable
class Hooked(Protocol):
    """Any model with TransformerLens's hooks that says logits for tokens."""

    cfg: Any
    blocks: Any

    def run_with_hooks(self, *args: Any, **kwargs: Any) -> Any:
        """Run with temporary hooks."""
        ...


def looking(looks: Mapping[str, Look]) -> list[tuple[str, Callable[..., None]]]:
    """The looks as hooks that leave everything as it is."""

    def hook_of(look: Look) -> Callable[..., None]:
        def hook(value: Tensor, hook: Any) -> None:  # noqa: ARG001  # the signature that hooks have
            look(value.detach())

        return hook

    return [(name, hook_of(look)) for name, look in looks.items()]


def parts(batch: TokenBatch, n_batch: int) -> Iterator[TokenBatch]:
    """The prompts, a few at a time."""
    for start in range(0, batch.n_batch, n_batch):
        yield batch.prompts(start, min(start + n_batch, batch.n_batch))


@torch.no_grad()
def prompt_losses(
    model: Hooked, batch: TokenBatch, hooks: list[tuple[str, Callable[..., Any]]]
) -> Float[Tensor, " prompt"]:
    """Cross-entropy in nats, mean over the masked positions of each prompt; NaN for prompts that have none."""
    logits = model.run_with_hooks(batch.tokens, fwd_hooks=hooks)
    each = torch.nn.functional.cross_entropy(logits.mT.float(), batch.targets, reduction="none").double()
    return torch.where(batch.loss_mask, each, 0.0).sum(1) / batch.loss_mask.sum(1)
