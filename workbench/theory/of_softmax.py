"""What theory says of softmax heads."""

from workbench.theory.debiased import debiased_excess, debiased_optimum
from workbench.theory.record import ClosedForm, OneStep, SoftmaxHead, TaskSteps
from workbench.theory.setting import (
    BARE,
    FIXED_COVARIANCE,
    ISOTROPIC,
    KNOWN_INPUTS,
    LAST_QUERY,
    ONE_HEAD,
    ONE_LAYER,
    QUERY_APART,
    REGRESSION,
    SEVERAL_LABELS,
    SOFTMAX_ATTENTION,
    SYMMETRIC,
    TWO_HEADS,
    Setting,
)
from workbench.theory.softmax_heads import best_head, excesses, own_steps, shared_steps

_HEADS = (SOFTMAX_ATTENTION, ONE_LAYER, *BARE, QUERY_APART, LAST_QUERY)
_LAW = {"n": "examples", "Sig": "covariance of x", "Psi": "second moment of w", "s2": "noise variance"}


def _debiased(setting: Setting) -> OneStep:
    law = setting.regression
    gamma = debiased_optimum(law)
    return OneStep(gamma, debiased_excess(gamma, law), centred=True)


def _head(setting: Setting) -> SoftmaxHead:
    law = setting.regression
    input_variance, w_variance = float(law.spectrum[0]), float(law.prior[0, 0])
    noise = law.noise_variance / (input_variance * w_variance)
    sharpness, value, excess = best_head(law.n_examples, law.d_input, noise, law.inputs)
    return SoftmaxHead(sharpness / input_variance, value, input_variance * w_variance * excess)


def _tasks(setting: Setting) -> TaskSteps:
    laws = setting.laws
    is_shared = setting.model.n_heads < 2 * len(laws)
    own = own_steps(laws)
    gammas = shared_steps(laws) if is_shared else own
    return TaskSteps(gammas, excesses(gammas, laws), is_shared, own)


DEBIASED = ClosedForm(
    name="debiased_step",
    label="Best debiased step",
    statement="heads of opposite signs take one step on centred inputs, Gamma = [Sig + (tr(Sig Psi)+s2)/n Psi^-1]^-1",
    source="He et al. 2025, arXiv:2503.12734, for isotropic inputs; generalised",
    assumptions=(*_HEADS, TWO_HEADS, REGRESSION, SYMMETRIC, FIXED_COVARIANCE),
    parameters=_LAW,
    function=_debiased,
)
HEAD = ClosedForm(
    name="one_softmax_head",
    label="Best single softmax head",
    statement="the prediction is mu sum_i softmax_i(omega x_i . q) y_i with the best omega and mu, found numerically",
    source="He et al. 2025, arXiv:2503.12734, for the family; a sample of prompts here instead of their surrogate",
    assumptions=(*_HEADS, ONE_HEAD, REGRESSION, SYMMETRIC, FIXED_COVARIANCE, ISOTROPIC, KNOWN_INPUTS),
    parameters={"n": "examples", "d": "size of x", "s2": "noise variance over that of w . x, times d"},
    function=_head,
)
TASKS_STEPS = ClosedForm(
    name="debiased_steps_of_tasks",
    label="Best debiased step for each of several labels",
    statement="two heads a label take a step for each label, and so can one more than labels; fewer share one diagonal",
    source="He et al. 2025, arXiv:2503.12734, on multi-task heads; optima derived here",
    assumptions=(*_HEADS, TWO_HEADS, SEVERAL_LABELS),
    parameters={**_LAW, "T": "labels", "H": "heads"},
    function=_tasks,
)
