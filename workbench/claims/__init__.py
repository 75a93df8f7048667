"""Published claims, by id."""

from workbench.claims.akyurek2023 import BAYES_RIDGE
from workbench.claims.edelman2024 import PLATEAU
from workbench.claims.fu2024 import GD_GEOMETRIC, ILL_CONDITIONED, NEWTON_LINEAR
from workbench.claims.gu2024 import BY_INPUT
from workbench.claims.guo2024 import GUO2024
from workbench.claims.olsson2022 import OLSSON2022
from workbench.claims.record import Claim, Measurement
from workbench.claims.reddy2023 import REDDY2023
from workbench.registry import by_name

CLAIMS = by_name(
    NEWTON_LINEAR, GD_GEOMETRIC, *ILL_CONDITIONED, BAYES_RIDGE, *GUO2024, *REDDY2023, *OLSSON2022, PLATEAU, BY_INPUT
)

__all__ = ["CLAIMS", "Claim", "Measurement"]
