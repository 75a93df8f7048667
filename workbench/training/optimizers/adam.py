"""Adam, with weight decay in the gradient or apart from it."""

from collections.abc import Mapping

from jaxtyping import Int
from torch import Tensor

from workbench.training.optimizers.record import PerReplica, Rows, Settings, UpdateRule

_EPSILON = 1e-8


def adam(weights: Rows, grad: Rows, kept: Mapping[str, Rows], settings: Settings, number: Int[Tensor, ""]) -> None:
    """Adam; weight decay is added to the gradient."""
    weights.sub_(adam_step(grad + settings.weight_decay * weights, kept, settings, number, settings.lr))


def adamw(weights: Rows, grad: Rows, kept: Mapping[str, Rows], settings: Settings, number: Int[Tensor, ""]) -> None:
    """Adam with decoupled weight decay."""
    weights.mul_(1 - settings.lr * settings.weight_decay)
    weights.sub_(adam_step(grad, kept, settings, number, settings.lr))


def adam_step(
    grad: Rows, kept: Mapping[str, Rows], settings: Settings, number: Int[Tensor, ""], lr: PerReplica
) -> Rows:
    """What to subtract from the weights under this learning rate; takes the gradient into the moments."""
    first, second = kept["exp_avg"], kept["exp_avg_sq"]
    first.lerp_(grad, 1 - settings.beta_1)
    second.lerp_(grad * grad, 1 - settings.beta_2)
    rate = lr / (1 - settings.beta_1**number)
    spread = (second / (1 - settings.beta_2**number)).sqrt() + _EPSILON
    return rate * first / spread


KEEPS = ("exp_avg", "exp_avg_sq")
ADAM = UpdateRule("adam", "Adam", "Kingma and Ba 2015, arXiv:1412.6980, algorithm 1", KEEPS, adam)
ADAMW = UpdateRule("adamw", "AdamW", "Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2", KEEPS, adamw)
