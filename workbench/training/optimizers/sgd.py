"""Stochastic gradient descent with momentum."""

from collections.abc import Mapping

from jaxtyping import Int
from torch import Tensor

from workbench.training.optimizers.record import Rows, Settings, UpdateRule


def sgd(
    weights: Rows,
    grad: Rows,
    kept: Mapping[str, Rows],
    settings: Settings,
    number: Int[Tensor, ""],  # noqa: ARG001  # every rule takes it
) -> None:
    """Heavy-ball momentum without dampening; weight decay is added to the gradient."""
    total = kept["momentum_buffer"]
    total.mul_(settings.momentum).add_(grad + settings.weight_decay * weights)
    weights.sub_(settings.lr * total)


SGD = UpdateRule("sgd", "SGD", "Sutskever et al. 2013, as in torch.optim.SGD", ("momentum_buffer",), sgd)
