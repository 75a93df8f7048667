"""What theory says of layers on sequences."""

from workbench.theory.autoregressive import autoregressive_step
from workbench.theory.record import ClosedForm, SequenceStep
from workbench.theory.setting import (
    AUTOREGRESSION,
    LINEAR_ATTENTION,
    ONE_LAYER,
    SEQUENCE_LAYOUT,
    UNITARY_SEQUENCE,
    Assumption,
    Setting,
)

_LAYER = (LINEAR_ATTENTION, ONE_LAYER, SEQUENCE_LAYOUT)


def _moments_vanish(setting: Setting) -> str:
    law = setting.autoregression
    if law.moments is not None and law.sign_symmetric:
        return ""
    return f"odd mixed moments of the start must vanish; those of {law.start!r} do not"


def _step(setting: Setting) -> SequenceStep:
    law = setting.autoregression
    assert law.moments is not None, "the assumption was checked"
    step = autoregressive_step(law.moments, law.n_states)
    return SequenceStep(step, None if law.start_square is None else step * law.start_square, is_plain=True)


def _any_step(_setting: Setting) -> SequenceStep:
    return SequenceStep(None, None, is_plain=False)


AUTOREGRESSIVE = ClosedForm(
    name="autoregressive_step",
    label="Step of an autoregressive layer",
    statement="f_t = (ab/(t-1)) sum_i x_{i+1} x_i^* x_t with ab = kappa1 / (kappa2 + kappa3 mean_t 1/(t-1))",
    source="Zheng et al. 2024, arXiv:2405.16845; the form for finite T derived here",
    assumptions=(
        *(UNITARY_SEQUENCE, AUTOREGRESSION, *_LAYER),
        Assumption("odd mixed moments of the start vanish", _moments_vanish),
    ),
    parameters={"kappa": "moments of the start", "T": "states in a sequence"},
    function=_step,
)


def _no_step(setting: Setting) -> str:
    return "" if AUTOREGRESSIVE.fault(setting) else "autoregressive_step applies, which says more"


SEQUENCE_SHARE = ClosedForm(
    name="sequence_step_share",
    label="How much of a layer on sequences is one plain step",
    statement="outside of the conditions of autoregressive_step theory promises no plain step",
    source="Zheng et al. 2024, arXiv:2405.16845, on starts outside of its condition",
    assumptions=(UNITARY_SEQUENCE, *_LAYER, Assumption("autoregressive_step does not apply", _no_step)),
    parameters={},
    function=_any_step,
)
