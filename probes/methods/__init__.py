"""How to probe, by name."""

from probes.methods.classes import LOGISTIC, NEAREST_MEAN
from probes.methods.mlp import MLP
from probes.methods.pooled import POOLED_LINEAR, POOLED_MLP
from probes.methods.ridge import RIDGE
from workbench.registry import by_name

PROBES = by_name(RIDGE, MLP, POOLED_LINEAR, POOLED_MLP, LOGISTIC, NEAREST_MEAN)

__all__ = ["PROBES"]
