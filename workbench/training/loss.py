"""What training minimises, for both kinds of batch, and the least-squares yardstick beside it."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from workbench import baselines
from workbench.batch import Batch, RegressionBatch, TokenBatch
from workbench.models.transformer import Transformer
from workbench.tasks import Task


def mean_loss(model: Transformer, batch: Batch, n_active: int | None = None) -> Float[Tensor, ""]:
    """Mean squared error over prompts and the first ``n_active`` scored examples, or mean cross-entropy.

    Args:
        model: Any transformer that takes such a batch.
        batch: Prompts.
        n_active: Examples in use under a length curriculum, as a mask: shapes never change. None means all.
    """
    output = model(model.encode(batch))
    if isinstance(batch, TokenBatch):
        each = F.cross_entropy(output.transpose(1, 2), batch.targets, reduction="none")
        return (each * batch.loss_mask).sum() / batch.loss_mask.sum()
    predictions = model.read_out(output)
    errors = (predictions - batch.ys[:, -predictions.shape[1] :]) ** 2
    return _mean_of_first(errors, n_active)


def _mean_of_first(errors: Float[Tensor, "batch scored"], n_active: int | None) -> Float[Tensor, ""]:
    if n_active is None or n_active >= errors.shape[1]:
        return errors.mean()
    mask = torch.arange(errors.shape[1], device=errors.device) < n_active
    return (errors * mask).mean(0).sum() / mask.sum()


@torch.no_grad()
def least_squares_loss(task: Task, batch: Batch, model: Transformer, n_active: int | None) -> float | None:
    """The loss of (Bayes-ridged) least squares on the same prompts and examples; None where it is no yardstick."""
    ridge = task.least_squares_ridge()
    if ridge is None or not isinstance(batch, RegressionBatch):
        return None
    predictions = baselines.predict("ridge", batch.xs.cpu(), batch.ys.cpu(), ridge=ridge)
    errors = (predictions - batch.ys.cpu()) ** 2
    scored = errors if model.plan.causal else errors[:, -1:]
    return _mean_of_first(scored, n_active).item()
