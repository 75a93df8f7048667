"""What the reference predictors of a token task lose: the floors that a model's loss is held against."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.batch import TokenBatch
from workbench.tasks.token_task import LogProbabilities, TokenTask


@dataclass(frozen=True)
class Floor:
    """A mean loss.

    Attributes:
        loss: Nats per scored token.
        standard_error: Of that mean over prompts.
    """

    loss: float
    standard_error: float


def token_losses(said: LogProbabilities, batch: TokenBatch) -> Float[Tensor, "batch pos"]:
    """-log probability of the right token at every position, in nats; infinite where it was held impossible."""
    return -said.gather(-1, batch.targets[..., None])[..., 0]


def prompt_means(losses: Float[Tensor, "batch pos"], batch: TokenBatch) -> Float[Tensor, " batch"]:
    """The mean over the scored positions of each prompt that has any."""
    scored = batch.loss_mask.any(1)
    kept, mask = losses[scored], batch.loss_mask[scored]
    return torch.where(mask, kept, 0.0).sum(1) / mask.sum(1)


def loss_floors(task: TokenTask, n_prompts: int = 256, seed: int = 0) -> Mapping[str, Floor]:
    """The loss of every reference predictor on fresh prompts.

    Args:
        task: The law.
        n_prompts: Prompts, at least 2.
        seed: Of their stream.
    """
    batch = task.prompts(seed, "floors", 0, n_prompts)
    assert isinstance(batch, TokenBatch), "a token task draws tokens"
    found = {}
    for name, said in task.references(batch).items():
        means = prompt_means(token_losses(said, batch), batch)
        found[name] = Floor(means.mean().item(), (means.std() / len(means) ** 0.5).item())
    return found
