"""How much a layer agrees with a learning algorithm: pure functions on predictions, and the study that uses them."""

from typing import TYPE_CHECKING

from workbench.lazy import lazily

if TYPE_CHECKING:
    from workbench.agreement.config import AgreementConfig
    from workbench.agreement.layerwise import Study, study
    from workbench.agreement.similarity import sim_e, sim_e_by_prompt
    from workbench.agreement.trend import Trend, fit_trend

__all__ = ["AgreementConfig", "Study", "Trend", "fit_trend", "sim_e", "sim_e_by_prompt", "study"]
__getattr__, __dir__ = lazily(
    __name__,
    {
        "AgreementConfig": "workbench.agreement.config",
        "Study": "workbench.agreement.layerwise",
        "study": "workbench.agreement.layerwise",
        "sim_e": "workbench.agreement.similarity",
        "sim_e_by_prompt": "workbench.agreement.similarity",
        "Trend": "workbench.agreement.trend",
        "fit_trend": "workbench.agreement.trend",
    },
)
