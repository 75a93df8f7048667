"""What an update rule is: tensor arithmetic on flat vectors of weights, one row per replica."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from workbench.training.optimizers.hidden import Hidden, Rows

PerReplica = Float[Tensor, "replica 1"]


@dataclass(frozen=True)
class Settings:
    """Numbers of an update, one per replica, and where they are not for all weights alike.

    Attributes:
        lr: Learning rate of this update.
        beta_1: Decay rate of the first moment.
        beta_2: Decay rate of the second moment.
        weight_decay: As the rule takes it.
        momentum: Decay rate of the sum of gradients.
        hidden: Where the hidden matrices lie in the rows; None where there are none.
    """

    lr: PerReplica
    beta_1: PerReplica
    beta_2: PerReplica
    weight_decay: PerReplica
    momentum: PerReplica
    hidden: Hidden | None = None


@dataclass(frozen=True)
class UpdateRule:
    """One optimizer.

    Attributes:
        name: Registry name.
        label: Name for people.
        source: Where it is defined.
        keeps: Names of the vectors that it keeps between updates, zero at the start.
        apply: Changes weights and kept vectors in place, given the gradient and the number of this update,
            1-based. Checked against ``torch.optim`` in float64.
    """

    name: str
    label: str
    source: str
    keeps: tuple[str, ...]
    apply: Callable[[Rows, Rows, Mapping[str, Rows], Settings, Int[Tensor, ""]], None]
