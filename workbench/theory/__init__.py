"""Closed forms: what a trained small transformer should equal, with what each assumes."""

from workbench.registry import by_name
from workbench.theory.of_linear_attention import (
    BEST_STEPS,
    CAUSAL,
    CAUSAL_CURVE,
    LENGTHS,
    MAHANKALI,
    ONE_STEP,
    RELU,
    ROTATED,
    SCALES,
    ZHANG,
)
from workbench.theory.of_other_models import (
    AUTOREGRESSIVE,
    AVERAGING,
    DEBIASED,
    LEAST_SQUARES,
    ONE_STEP_BOUND,
    RIDGE_LIMIT,
)
from workbench.theory.record import ClosedForm, Curve, OneStep, Scalar, Steps
from workbench.theory.setting import Setting

CLOSED_FORMS = by_name(
    ONE_STEP,
    MAHANKALI,
    ZHANG,
    LENGTHS,
    SCALES,
    ROTATED,
    CAUSAL,
    CAUSAL_CURVE,
    BEST_STEPS,
    DEBIASED,
    RELU,
    AUTOREGRESSIVE,
    LEAST_SQUARES,
    AVERAGING,
    ONE_STEP_BOUND,
    RIDGE_LIMIT,
)

__all__ = ["CLOSED_FORMS", "ClosedForm", "Curve", "OneStep", "Scalar", "Setting", "Steps"]
