"""Published claims, by id."""

from workbench.claims.fu2024 import GD_GEOMETRIC, NEWTON_LINEAR
from workbench.claims.record import Claim, Measurement
from workbench.registry import by_name

CLAIMS = by_name(NEWTON_LINEAR, GD_GEOMETRIC)

__all__ = ["CLAIMS", "Claim", "Measurement"]
