"""Published claims, by id."""

from workbench.claims.ahn2023 import AHN2023
from workbench.claims.akyurek2023 import BAYES_RIDGE
from workbench.claims.bietti2023 import MEMORIES
from workbench.claims.edelman2024 import PLATEAU
from workbench.claims.fu2024 import GD_GEOMETRIC, ILL_CONDITIONED, NEWTON_LINEAR
from workbench.claims.gu2024 import BY_INPUT
from workbench.claims.guo2024 import GUO2024
from workbench.claims.he2025 import HE2025
from workbench.claims.mahankali2023 import MAHANKALI2023
from workbench.claims.olsson2022 import OLSSON2022
from workbench.claims.record import Claim, Measurement
from workbench.claims.reddy2023 import REDDY2023
from workbench.claims.vonoswald2022 import VONOSWALD2022
from workbench.claims.zhang2023 import ZHANG2023
from workbench.claims.zheng2024 import ZHENG2024
from workbench.registry import by_name

THEORY_CLAIMS = (*VONOSWALD2022, *MAHANKALI2023, *ZHANG2023, *AHN2023, *HE2025, *ZHENG2024)
CLAIMS = by_name(
    *THEORY_CLAIMS,
    NEWTON_LINEAR,
    GD_GEOMETRIC,
    *ILL_CONDITIONED,
    BAYES_RIDGE,
    *GUO2024,
    *REDDY2023,
    *OLSSON2022,
    PLATEAU,
    MEMORIES,
    BY_INPUT,
)

__all__ = ["CLAIMS", "THEORY_CLAIMS", "Claim", "Measurement"]
