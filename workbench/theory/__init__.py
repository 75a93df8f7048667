"""Closed forms: what a trained small transformer should equal, with what each assumes."""

from workbench.registry import by_name
from workbench.theory.of_features import FEATURE_STEP
from workbench.theory.of_layers import BEST_STEPS, COPIED_STEP, SHRINKING
from workbench.theory.of_linear_attention import (
    CAUSAL,
    CAUSAL_CURVE,
    LENGTHS,
    MAHANKALI,
    NONLINEAR_SIZE,
    NONLINEAR_STEP,
    ONE_STEP,
    RELU,
    ROTATED,
    SCALES,
    ZHANG,
)
from workbench.theory.of_references import AVERAGING, LEAST_SQUARES, ONE_STEP_BOUND, RIDGE_LIMIT
from workbench.theory.of_sequences import AUTOREGRESSIVE, SEQUENCE_SHARE
from workbench.theory.of_softmax import DEBIASED, HEAD, TASKS_STEPS
from workbench.theory.record import (
    ClosedForm,
    Curve,
    OneStep,
    OnFeatures,
    Scalar,
    SequenceStep,
    ShrinkingSteps,
    SoftmaxHead,
    Steps,
    TaskSteps,
)
from workbench.theory.setting import Setting

CLOSED_FORMS = by_name(
    ONE_STEP,
    MAHANKALI,
    ZHANG,
    LENGTHS,
    SCALES,
    ROTATED,
    NONLINEAR_STEP,
    NONLINEAR_SIZE,
    FEATURE_STEP,
    CAUSAL,
    CAUSAL_CURVE,
    BEST_STEPS,
    SHRINKING,
    COPIED_STEP,
    DEBIASED,
    HEAD,
    TASKS_STEPS,
    RELU,
    AUTOREGRESSIVE,
    SEQUENCE_SHARE,
    LEAST_SQUARES,
    AVERAGING,
    ONE_STEP_BOUND,
    RIDGE_LIMIT,
)

__all__ = [
    "CLOSED_FORMS",
    "ClosedForm",
    "Curve",
    "OnFeatures",
    "OneStep",
    "Scalar",
    "SequenceStep",
    "Setting",
    "ShrinkingSteps",
    "SoftmaxHead",
    "Steps",
    "TaskSteps",
]
