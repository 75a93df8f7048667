"""What training minimises, for both kinds of batch, and the least-squares yardstick beside it."""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.batch import Batch, RegressionBatch, TokenBatch
from workbench.models.transformer import Transformer
from workbench.tasks import Task

Weights = Float[Tensor, "batch scored"]


def mean_loss(model: Transformer, batch: Batch, n_active: int | Tensor | None = None) -> Float[Tensor, ""]:
    """Mean loss over prompts and the first ``n_active`` scored examples, or over the scored tokens.

    Args:
        model: Any transformer that takes such a batch.
        batch: Prompts.
        n_active: Examples in use under a length curriculum, as a mask: shapes never change. None means all.
    """
    each = model.losses(model(model.encode(batch)), batch)
    return (each * loss_weights(batch, each.shape[1], n_active).to(each.dtype)).sum()


def loss_weights(batch: Batch, n_scored: int, n_active: int | Tensor | None = None) -> Weights:
    """What each loss counts in the mean; sums to 1."""
    if isinstance(batch, TokenBatch):
        counted = batch.loss_mask.double()
        return counted / counted.sum().clamp(min=1)
    active = torch.arange(n_scored, device=batch.xs.device) < (n_scored if n_active is None else n_active)
    counted = active.to(batch.xs.dtype)
    return (counted / (batch.n_batch * counted.sum())).expand(batch.n_batch, n_scored)


def parts_of(batch: Batch) -> tuple[Tensor, ...]:
    """What a model and its loss need of a batch, as plain tensors with a leading batch axis."""
    if isinstance(batch, TokenBatch):
        return batch.tokens, batch.targets, batch.loss_mask
    return batch.xs, batch.ys


def batch_of(parts: tuple[Tensor, ...]) -> Batch:
    """The batch of such parts."""
    if len(parts) == 2:
        xs, ys = parts
        return RegressionBatch(xs, ys)
    tokens, targets, loss_mask = parts
    return TokenBatch(tokens, targets, loss_mask)


@torch.no_grad()
def least_squares_loss(task: Task, batch: Batch, weights: Weights) -> Float[Tensor, ""] | None:
    """The loss of (Bayes-ridged) least squares on the same prompts; None where it is no yardstick.

    Args:
        task: Gives the ridge.
        batch: Prompts.
        weights: What each of the last scored examples counts: see ``loss_weights``.
    """
    ridge = task.least_squares_ridge()
    if ridge is None or not isinstance(batch, RegressionBatch):
        return None
    errors = _least_squares_errors(batch.xs.double(), batch.ys.double(), ridge)
    return (errors[:, -weights.shape[1] :] * weights).sum()


def _least_squares_errors(
    xs: Float[Tensor, "batch context d_input"], ys: Float[Tensor, "batch context *d_output"], ridge: float | Tensor
) -> Float[Tensor, "batch context"]:
    """Squared errors of ridge regression on all earlier examples, by recursive least squares.

    ``spread`` is ridge times the posterior covariance, so that ridge 0 works: it then projects onto what earlier
    inputs do not span, an input inside their span changes nothing, and labels must be noiseless.
    """
    n_batch, n_context, d_input = xs.shape
    labels = ys.flatten(2) if ys.ndim == 3 else ys[..., None]
    w = xs.new_zeros(n_batch, d_input, labels.shape[-1])
    spread = torch.eye(d_input, dtype=xs.dtype, device=xs.device).expand(n_batch, -1, -1)
    errors = []
    for i in range(n_context):
        x, y = xs[:, i], labels[:, i]
        residual = y - (x[:, :, None] * w).sum(1)
        errors.append(residual.square().sum(-1))
        seen = (spread * x[:, None]).sum(-1)
        gain = ridge + (seen * x).sum(-1, keepdim=True)
        new = gain > 1e-12 * x.square().sum(-1, keepdim=True)
        step = torch.where(new, seen / torch.where(new, gain, 1.0), 0.0)
        w = w + step[:, :, None] * residual[:, None]
        spread = spread - step[:, :, None] * seen[:, None]
    return torch.stack(errors, 1)
