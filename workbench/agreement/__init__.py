"""How much a layer agrees with a learning algorithm: pure functions on predictions, and the study that uses them."""

from workbench.agreement.config import AgreementConfig
from workbench.agreement.similarity import sim_e, sim_e_by_prompt
from workbench.agreement.layerwise import Study, study
from workbench.agreement.trend import Trend, fit_trend

__all__ = ["AgreementConfig", "Study", "Trend", "fit_trend", "sim_e", "sim_e_by_prompt", "study"]
