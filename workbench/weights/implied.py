"""The weights that every layer holds, and the preconditioned step that leads from one layer's to the next's."""

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.batch import RegressionBatch
from workbench.models.transformer import Transformer

ByLayer = Float[Tensor, "layer batch d_input"]


@dataclass(frozen=True, eq=False)
class Update:
    """One layer as p <- p - A X^T(Xp - y)/n.

    Attributes:
        matrix: A, by least squares over half of the prompts.
        r2: Share of the square of the change of p on the other half that it explains, about 0; at most 1.
        null: The same for the residual gradients of other prompts.
    """

    matrix: Float[Tensor, "d_input d_input"]
    r2: float
    null: float


def layer_weights(model: Transformer, batch: RegressionBatch) -> ByLayer:
    """Gradients at the last query of what each layer says there, embedding first: [n_layers + 1 batch d_input].

    A layer says what the model's own read-out makes of its stream. Where the model is linear in its query, as linear
    attention that does not see it among the keys is at any depth, these are the weights that the layer predicts with.
    """
    dtype = model.unembed.weight.dtype
    xs = batch.xs.detach().to(dtype).requires_grad_()
    told = RegressionBatch(xs, batch.ys.to(dtype))
    with torch.enable_grad():
        stream = embedded = model(model.encode(told), stop_at_layer=0)
        streams = [stream]
        for layer in range(model.config.n_layers):
            before = embedded if model.config.input_injection and layer else None
            stream = model(stream, start_at_layer=layer, stop_at_layer=layer + 1, embedded=before)
            streams.append(stream)
        gradients = []
        for stream in streams:
            said = model.read_out(model.unembed(model.ln_final(stream)))[:, -1]
            (gradient,) = torch.autograd.grad(said.sum(), xs, retain_graph=True, allow_unused=True)
            gradients.append(torch.zeros_like(xs) if gradient is None else gradient)
    return torch.stack([gradient[:, -1].double() for gradient in gradients])


def implied_updates(weights: ByLayer, batch: RegressionBatch) -> list[Update]:
    """The step of every block, from the weights that layers hold and the examples before the last query.

    Args:
        weights: Of `layer_weights`.
        batch: The same prompts, at least four.
    """
    xs, ys = batch.xs[:, :-1].double(), batch.ys[:, :-1].double()
    return [_update(before, after, xs, ys) for before, after in itertools.pairwise(weights)]


def _update(
    before: Float[Tensor, "batch d_input"],
    after: Float[Tensor, "batch d_input"],
    xs: Float[Tensor, "batch example d_input"],
    ys: Float[Tensor, "batch example"],
) -> Update:
    left = (xs @ before[..., None]).squeeze(-1) - ys
    gradient = (left[..., None] * xs).mean(1)
    change, half = after - before, len(xs) // 2
    fitted = torch.linalg.lstsq(gradient[:half], -change[:half]).solution  # gelsy: full column rank
    r2 = _r2(change[half:], -gradient[half:] @ fitted)
    others = gradient.roll(1, 0)
    unrelated = torch.linalg.lstsq(others[:half], -change[:half]).solution
    return Update(fitted.mT, r2, _r2(change[half:], -others[half:] @ unrelated))


def _r2(truth: Tensor, told: Tensor) -> float:
    square = truth.square().sum()
    return float(1 - (truth - told).square().sum() / square) if square > 0 else float("nan")
