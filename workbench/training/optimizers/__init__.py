"""Update rules by name."""

from workbench.registry import by_name
from workbench.training.optimizers.adam import ADAM, ADAMW
from workbench.training.optimizers.record import Settings, UpdateRule
from workbench.training.optimizers.sgd import SGD

OPTIMIZERS = by_name(ADAM, ADAMW, SGD)

__all__ = ["OPTIMIZERS", "Settings", "UpdateRule"]
