"""How to probe, by name."""

from probes.methods.ridge import RIDGE
from workbench.registry import by_name

PROBES = by_name(RIDGE)

__all__ = ["PROBES"]
