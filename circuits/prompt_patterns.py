"""Attention patterns on a few prompts, for looking at: the numbers over all prompts stand in the head record."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuits.heads import HeadsConfig
from circuits.stimuli import repeated
from circuits.watching import Hooked
from workbench.batch import TokenBatch

_N_TEXT = 3
"""Prompts of the task's text that are looked at; one of repeated tokens comes beside them."""
N_POSITIONS = 64
"""Positions of a prompt that are looked at: the first ones."""


@dataclass(frozen=True, eq=False)
class PromptPatterns:
    """One prompt, and what every head attends to on it.

    Attributes:
        name: Which prompt, in words.
        tokens: Token ids.
        domains: Positions that belong to each domain that the prompt is of.
        pattern: Attention; without heads until it has been run.
        texts: The tokens' texts where a tokenizer knows them.
    """

    name: str
    tokens: Int[Tensor, " pos"]
    domains: Mapping[str, Bool[Tensor, " pos"]]
    pattern: Float[Tensor, "layer head query key"]
    texts: tuple[str, ...] | None = None


def chosen_prompts(
    domains: Mapping[str, TokenBatch], ids: range, first: int | None, config: HeadsConfig, prompt: int = 0
) -> list[PromptPatterns]:
    """At most three prompts of text and one of repeated random tokens, all among those that scores are taken on.

    Domains may be kinds of positions of the same prompts: such a prompt comes once, with the positions of each.

    Args:
        domains: Prompts by kind of text, as many in each.
        ids: Tokens that random prompts are made of.
        first: The token that stands first in every prompt, or None.
        config: Of the head record.
        prompt: Number of the first prompt, from 0.
    """
    n_prompts = min(batch.n_batch for batch in domains.values())
    found: dict[tuple[int, ...], PromptPatterns] = {}
    for offset in range(n_prompts):
        at = (prompt + offset) % n_prompts
        for name, batch in domains.items():
            tokens, mask = batch.tokens[at, :N_POSITIONS].cpu(), batch.loss_mask[at, :N_POSITIONS].cpu()
            key = tuple(tokens.tolist())
            if key in found:
                known = found[key]
                found[key] = replace(known, domains={**known.domains, name: mask})
            elif len(found) < _N_TEXT:
                told = f"prompt {at + 1}" if len(domains) == 1 else f"{name}, prompt {at + 1}"
                found[key] = PromptPatterns(told, tokens, {name: mask}, _nothing(tokens))
        if len(found) == _N_TEXT:
            break
    n_positions = max(batch.tokens.shape[1] for batch in domains.values())
    random = repeated(
        ids, first=first, n_positions=n_positions, n_block=config.n_block, n_prompts=n_prompts, seed=config.seed
    )
    texts = [_renamed(each) for each in found.values()]
    if random.shape[1] == 0:
        return texts
    tokens = random[prompt, :N_POSITIONS]
    return [*texts, PromptPatterns(f"repeated tokens, prompt {prompt + 1}", tokens, {}, _nothing(tokens))]


def _renamed(found: PromptPatterns) -> PromptPatterns:
    """A prompt of several domains is named after none."""
    return found if len(found.domains) < 2 else replace(found, name=found.name.rsplit(", ", 1)[-1])


def _nothing(tokens: Tensor) -> Tensor:
    return torch.zeros(0, 0, len(tokens), len(tokens))


@torch.no_grad()
def with_patterns(model: Hooked, prompt: PromptPatterns) -> PromptPatterns:
    """The prompt with what every head of the model attends to on it."""
    layers: list[Tensor] = []

    def look(pattern: Tensor, hook: object) -> None:  # noqa: ARG001  # the signature that hooks have
        layers.append(pattern[0].detach().float().cpu())

    hooks = [(f"blocks.{layer}.attn.hook_pattern", look) for layer in range(model.cfg.n_layers)]
    device = next(iter(model.blocks.parameters())).device
    model.run_with_hooks(prompt.tokens[None].to(device), fwd_hooks=hooks)
    return replace(prompt, pattern=torch.stack(layers))
