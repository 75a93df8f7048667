"""Published claims, by id."""

from workbench.claims.akyurek2023 import BAYES_RIDGE
from workbench.claims.fu2024 import GD_GEOMETRIC, ILL_CONDITIONED, NEWTON_LINEAR
from workbench.claims.record import Claim, Measurement
from workbench.registry import by_name

CLAIMS = by_name(NEWTON_LINEAR, GD_GEOMETRIC, *ILL_CONDITIONED, BAYES_RIDGE)

__all__ = ["CLAIMS", "Claim", "Measurement"]
