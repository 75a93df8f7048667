"""What a model says on fresh prompts, beside the truth."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.batch import RegressionBatch
from workbench.errors import InputError
from workbench.metrics import Interval, bootstrap_weights, interval
from workbench.models.transformer import Transformer
from workbench.tasks import Task

N_BLOCKS = 40
"""Blocks of prompts that are resampled as wholes."""
_PIECE = 4000
"""Prompts that run at once, at most."""
_SCORES = 2**24
"""Scores of a layer's heads that are held at once, at most: 128 MiB of them in float64."""

Prompts = Float[Tensor, " batch"]


@dataclass(frozen=True, eq=False)
class Observed:
    """Prompts and what was said at their last query.

    Attributes:
        batch: The prompts, in float64.
        said: Predictions of the last label.
        truth: The last label without its noise.
    """

    batch: RegressionBatch
    said: Prompts
    truth: Prompts

    @property
    def query(self) -> Float[Tensor, "batch d_input"]:
        """Inputs of the last query."""
        return self.batch.xs[:, -1]

    def gradient(self, *, centred: bool = False) -> Float[Tensor, "batch d_input"]:
        """g, the mean of y_i x_i over the examples, inputs less their mean if centred."""
        xs, ys = self.batch.xs[:, :-1], self.batch.ys[:, :-1]
        xs = xs - xs.mean(1, keepdim=True) if centred else xs
        return (ys[..., None] * xs).mean(1)


def drawn(
    task: Task, n: int, seed: int, stream: str = "theory", *, n_examples: int | None = None, scale: float | int = 1.0
) -> RegressionBatch:
    """Fresh prompts in float64, of another length or with all inputs scaled where asked.

    Raises:
        InputError: If the task is no regression on numbers, or has no length to change.
    """
    if n_examples is not None:
        if not hasattr(task, "n_context"):
            raise InputError(f"task {task.name!r} must have n_context for another length; it has none.")
        task = replace(task, n_context=n_examples + 1)  # type: ignore[type-var]
    batch = task.prompts(seed, stream, 0, n)
    if not isinstance(batch, RegressionBatch) or batch.ys.ndim != 2:
        raise InputError(f"task {task.name!r} must ask for numbers to be held against theory; it does not.")
    batch = batch.to(dtype=torch.float64)
    if scale == 1.0:
        return batch
    noise = _noise(batch)
    return replace(batch, xs=scale * batch.xs, ys=scale * (batch.ys - noise) + noise)  # for targets linear in x


def _noise(batch: RegressionBatch) -> Float[Tensor, "batch context"]:
    return batch.latents.get("noise", torch.zeros_like(batch.ys))


def clean(batch: RegressionBatch) -> Float[Tensor, "batch context"]:
    """The labels without their noise."""
    return batch.ys - _noise(batch)


def pieces(model: Transformer, batch: RegressionBatch) -> int:
    """Prompts that run at once: fewer of long ones, whose scores grow with the square of their length."""
    n_positions = model.encode(batch.prompts(0, 1)).shape[1]
    return max(1, min(_PIECE, _SCORES // (model.config.n_heads * n_positions**2)))


@torch.no_grad()
def observe(model: Transformer, batch: RegressionBatch) -> Observed:
    """What a model says at the last query of prompts, in its own precision."""
    batch = batch.to(dtype=model.unembed.weight.dtype)
    piece = pieces(model, batch)
    said = [
        model.read_out(model(model.encode(batch.prompts(first, first + piece))))[:, -1]
        for first in range(0, batch.n_batch, piece)
    ]
    return Observed(batch.to(dtype=torch.float64), torch.cat(said).double(), clean(batch)[:, -1].double())


def lengthened(model: Transformer, n_examples: int) -> Transformer:
    """The same weights in a model with room for so many examples.

    Raises:
        InputError: If weights belong to positions.
    """
    if (model.config.n_context or 0) > n_examples:
        return model
    if model.config.positions != "none":
        raise InputError(
            f"model.positions must be 'none' for prompts longer than trained; got {model.config.positions!r}."
        )
    longer = Transformer(replace(model.config, n_context=n_examples + 1, n_ctx=None)).to(model.unembed.weight.dtype)
    longer.load_state_dict(model.state_dict())
    return longer.eval()


def resampled(
    statistic: Callable[[Float[Tensor, " block"]], Tensor], n_resamples: int, seed: int
) -> tuple[Tensor, list[Interval]]:
    """A statistic of weights of the blocks, and the 95% interval of each of its numbers.

    Args:
        statistic: From the blocks' shares, which sum to 1, to one number or a vector of them.
        n_resamples: Bootstrap resamples.
        seed: Seeds them.
    """
    found = statistic(torch.full((N_BLOCKS,), 1 / N_BLOCKS, dtype=torch.float64)).reshape(-1)
    weights = bootstrap_weights(N_BLOCKS, n_resamples, torch.Generator().manual_seed(seed))
    drawn_values = torch.stack([statistic(one).reshape(-1) for one in weights], 1)
    return found, [interval(values) for values in drawn_values]


def blocks(values: Float[Tensor, "batch *rest"]) -> Float[Tensor, "block *rest"]:
    """Means over consecutive blocks of prompts; what is left over is dropped."""
    size = len(values) // N_BLOCKS
    return values[: N_BLOCKS * size].reshape(N_BLOCKS, size, *values.shape[1:]).mean(1)
