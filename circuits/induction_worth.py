"""What heads that look for earlier copies are worth on repeated tokens, beside heads of the same layers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuits.interventions import silencing
from circuits.record import Mean
from circuits.watching import Hooked, parts, prompt_losses
from workbench.batch import TokenBatch
from workbench.configs import to_data

Head = tuple[int, int]


@dataclass(frozen=True)
class WorthConfig:
    """How many heads are silenced.

    Attributes:
        n_heads: Heads with the highest scores; as many others are their control.
        n_batch: Prompts at a time.
        seed: Of the control.
    """

    n_heads: int = 8
    n_batch: int = 16
    seed: int = 0


def predictable(tokens: Int[Tensor, "batch pos"]) -> Bool[Tensor, "batch pos"]:
    """Positions whose next token has followed the same token before: all that induction could predict."""
    pairs = torch.stack([tokens[:, :-1], tokens[:, 1:]], -1)
    same = (pairs[:, :, None] == pairs[:, None]).all(-1)
    before = same.tril(-1).any(-1)
    return torch.nn.functional.pad(before, (0, 1), value=False)


def control_heads(chosen: Sequence[Head], scores: Float[Tensor, "layer head"], seed: int) -> list[Head]:
    """For each chosen head another of its layer, drawn among those that score below the layer's median or at it.

    A layer with too few of them gives as many as it has.
    """
    generator = torch.Generator().manual_seed(seed)
    found: list[Head] = []
    for layer in sorted({layer for layer, _ in chosen}):
        n_wanted = sum(each == layer for each, _ in chosen)
        low = [
            h for h in range(scores.shape[1]) if (layer, h) not in chosen and scores[layer, h] <= scores[layer].median()
        ]
        order = torch.randperm(len(low), generator=generator).tolist()
        found += [(layer, low[place]) for place in order[:n_wanted]]
    return found


def induction_worth(
    model: Hooked,
    tokens: Int[Tensor, "batch pos"],
    scores: Float[Tensor, "layer head"],
    config: WorthConfig,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Loss on repeated tokens as it is, without each of the heads that score highest, and without all of them at once.

    Losses are over the positions that `predictable` names; heads are zeroed, later patterns live.

    Args:
        model: Any with TransformerLens's hook names that says logits for tokens.
        tokens: Prompts of repeated tokens.
        scores: Prefix matching of every head.
        config: How many heads.
        tell: Told which head is at work.
    """
    seen = predictable(tokens)
    new = torch.ones_like(seen)
    new[:, -1] = False
    new &= ~seen
    following = tokens.roll(-1, 1)
    order = scores.nan_to_num(-1.0).flatten().argsort(descending=True, stable=True).tolist()
    chosen = sorted(divmod(place, scores.shape[1]) for place in order[: config.n_heads])
    control = control_heads(chosen, scores, config.seed)

    def losses(mask: Tensor, heads: Sequence[Head]) -> Float[Tensor, " prompt"]:
        hooks = [silencing("zeroed", *head, torch.zeros(*scores.shape, 1)) for head in heads]
        batch = TokenBatch(tokens, following, mask)
        return torch.cat([prompt_losses(model, part, hooks).cpu() for part in parts(batch, config.n_batch)])

    intact = losses(seen, [])

    def change(heads: Sequence[Head]) -> dict[str, Any]:
        return to_data(Mean.of(losses(seen, heads) - intact))

    changes = []
    for heads, is_control in ((chosen, False), (control, True)):
        for layer, head in heads:
            tell(f"repeated tokens without L{layer}H{head}")
            changes.append({"layer": layer, "head": head, "control": is_control, "zeroed": change([(layer, head)])})
    tell("repeated tokens without all of these heads")
    return {
        "n_prompts": len(tokens),
        "n_positions": tokens.shape[1],
        "loss_new": to_data(Mean.of(losses(new, []))),
        "loss_repeated": to_data(Mean.of(intact)),
        "heads": changes,
        "together": change(chosen),
        "control_together": change(control),
    }
