"""What the loss does when one head is silenced: zeroed, set to its mean, or made to rest on the first token.

Later layers see the change: patterns are live, not frozen.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.watching import Hooked, parts, prompt_losses
from workbench.batch import TokenBatch

KINDS = ("zeroed", "mean_ablated", "to_first")
"""Output before W_O set to zero; to its mean over prompts and positions of all domains; pattern moved to position 0."""

Hook = tuple[str, Callable[..., Tensor]]


def silencing(kind: str, layer: int, head: int, mean_z: Float[Tensor, "layer head d_head"]) -> Hook:
    """The hook of an intervention on one head; it hands back a changed copy."""
    if kind == "to_first":
        return f"blocks.{layer}.attn.hook_pattern", partial(_rest, head=head)
    value = torch.zeros_like(mean_z[layer, head]) if kind == "zeroed" else mean_z[layer, head]
    return f"blocks.{layer}.attn.hook_z", partial(_replace, head=head, value=value)


def _replace(z: Tensor, hook: Any, head: int, value: Tensor) -> Tensor:  # noqa: ARG001  # the signature that hooks have
    changed = z.clone()
    changed[:, :, head] = value.to(z)
    return changed


def _rest(pattern: Tensor, hook: Any, head: int) -> Tensor:  # noqa: ARG001  # the signature that hooks have
    changed = pattern.clone()
    changed[:, head] = 0.0
    changed[:, head, :, 0] = 1.0
    return changed


def loss_changes(
    model: Hooked,
    domains: Mapping[str, TokenBatch],
    losses: Mapping[str, Float[Tensor, " prompt"]],
    mean_z: Float[Tensor, "layer head d_head"],
    n_batch: int,
    tell: Callable[[str], None],
    chosen: Sequence[tuple[int, int]] | None = None,
    kinds: Sequence[str] = KINDS,
) -> dict[str, dict[str, Float[Tensor, "layer head prompt"]]]:
    """Loss with a head silenced minus loss as it is, in nats, of every prompt: by kind, then by domain.

    NaN for heads that are not silenced.

    Args:
        model: Any with TransformerLens's hook names.
        domains: Prompts by domain.
        losses: Of the same prompts as the model is.
        mean_z: What ``mean_ablated`` puts in.
        n_batch: Prompts at a time.
        tell: Told which head is at work.
        chosen: Layer and head of those that are silenced; all if None.
        kinds: In which ways.
    """
    n_layers, n_heads = mean_z.shape[:2]
    found = {
        kind: {
            name: torch.full((n_layers, n_heads, batch.n_batch), torch.nan).double() for name, batch in domains.items()
        }
        for kind in kinds
    }
    if chosen is None:
        chosen = [(layer, head) for layer in range(n_layers) for head in range(n_heads)]
    for number, (layer, head) in enumerate(chosen, start=1):
        tell(f"silencing L{layer}H{head}, {number} of {len(chosen)} heads")
        for kind in kinds:
            hook = silencing(kind, layer, head, mean_z)
            for name, batch in domains.items():
                changed = [prompt_losses(model, part, [hook]).cpu() for part in parts(batch, n_batch)]
                found[kind][name][layer, head] = torch.cat(changed) - losses[name]
    return found
