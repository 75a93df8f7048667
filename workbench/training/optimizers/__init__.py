"""Update rules by name."""

from workbench.registry import by_name
from workbench.training.optimizers.adam import ADAM, ADAMW
from workbench.training.optimizers.hidden import Hidden, hidden_of
from workbench.training.optimizers.muon import MUON
from workbench.training.optimizers.record import Settings, UpdateRule
from workbench.training.optimizers.sgd import SGD

OPTIMIZERS = by_name(ADAM, ADAMW, SGD, MUON)

__all__ = ["OPTIMIZERS", "Hidden", "Settings", "UpdateRule", "hidden_of"]
