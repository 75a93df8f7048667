"""What theory says of a layer behind an MLP: a step on the MLP's features."""

import torch

from workbench.theory.features import best_feature_step
from workbench.theory.record import ClosedForm, OnFeatures
from workbench.theory.setting import (
    FUNCTIONS,
    LAST_QUERY,
    LINEAR_ATTENTION,
    MLP_FIRST,
    ONE_LAYER,
    QUERY_APART,
    TOKENS_ALONE,
    Setting,
)


def _on_features(setting: Setting) -> OnFeatures:
    law = setting.functions
    assert law is not None, "the assumption was checked"
    every = torch.eye(len(law.nodes), dtype=torch.float64)
    return OnFeatures(law, best_feature_step(every, law).excess)


FEATURE_STEP = ClosedForm(
    name="feature_step",
    label="Best single step on the MLP's features",
    statement="the prediction is phi(q) . Gamma mean_i y_i phi(x_i) with the Gamma that errs least for these features",
    source="von Oswald et al. 2023, arXiv:2212.07677, section 4, on nonlinear regression; the optimum derived here",
    assumptions=(FUNCTIONS, ONE_LAYER, LINEAR_ATTENTION, *TOKENS_ALONE, MLP_FIRST, LAST_QUERY, QUERY_APART),
    parameters={"n": "examples before the query", "phi": "features", "K": "E[f(x) f(x')]", "s2": "noise variance"},
    function=_on_features,
)
