"""The pages of the app, in the order of their links. A new page is one file and one entry here."""

from dashboards.views.agreement import AGREEMENT_VIEW
from dashboards.views.heads import HEADS_VIEW
from dashboards.views.measures import MEASURES_VIEW
from dashboards.views.over_training import OVER_TRAINING_VIEW
from dashboards.views.probes import PROBES_VIEW
from dashboards.views.record import View
from dashboards.views.runs import RUNS_VIEW
from dashboards.views.spectrum import SPECTRUM_VIEW
from dashboards.views.verdict import VERDICT_VIEW
from dashboards.views.weights import WEIGHTS_VIEW
from workbench.registry import by_name

VIEWS = by_name(
    RUNS_VIEW,
    VERDICT_VIEW,
    AGREEMENT_VIEW,
    MEASURES_VIEW,
    SPECTRUM_VIEW,
    OVER_TRAINING_VIEW,
    WEIGHTS_VIEW,
    HEADS_VIEW,
    PROBES_VIEW,
)

__all__ = ["VIEWS", "View"]
