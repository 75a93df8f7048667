"""How much a layer agrees with a learning algorithm: pure functions on predictions, and the study that uses them."""

from typing import TYPE_CHECKING

from workbench.lazy import lazily

if TYPE_CHECKING:
    from workbench.agreement.config import AgreementConfig
    from workbench.agreement.forgetting_curves import measure_forgetting
    from workbench.agreement.layerwise import Study, study
    from workbench.agreement.measured import Algorithm, LayerMeasures, MeasureConfig
    from workbench.agreement.measures import MEASURES
    from workbench.agreement.measuring import measure_layers
    from workbench.agreement.similarity import sim_e, sim_e_by_prompt
    from workbench.agreement.trend import Trend, fit_trend

__all__ = [
    "AgreementConfig",
    "Algorithm",
    "LayerMeasures",
    "MEASURES",
    "MeasureConfig",
    "Study",
    "Trend",
    "fit_trend",
    "measure_forgetting",
    "measure_layers",
    "sim_e",
    "sim_e_by_prompt",
    "study",
]
__getattr__, __dir__ = lazily(
    __name__,
    {
        "AgreementConfig": "workbench.agreement.config",
        "Algorithm": "workbench.agreement.measured",
        "LayerMeasures": "workbench.agreement.measured",
        "MEASURES": "workbench.agreement.measures",
        "MeasureConfig": "workbench.agreement.measured",
        "measure_forgetting": "workbench.agreement.forgetting_curves",
        "measure_layers": "workbench.agreement.measuring",
        "Study": "workbench.agreement.layerwise",
        "study": "workbench.agreement.layerwise",
        "sim_e": "workbench.agreement.similarity",
        "sim_e_by_prompt": "workbench.agreement.similarity",
        "Trend": "workbench.agreement.trend",
        "fit_trend": "workbench.agreement.trend",
    },
)
