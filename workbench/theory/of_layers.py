"""What theory says of several layers of attention."""

from workbench.theory.gd_plus_plus import best_gd_plus_plus
from workbench.theory.of_linear_attention import ONE_STEP
from workbench.theory.one_step import excess_risk, optimum
from workbench.theory.polynomial import best_steps
from workbench.theory.record import ClosedForm, OneStep, ShrinkingSteps, Steps
from workbench.theory.setting import (
    BARE,
    COPYING,
    FIXED_COVARIANCE,
    GAUSSIAN_INPUTS,
    KNOWN_INPUTS,
    LAST_QUERY,
    LINEAR_ATTENTION,
    MOVES_INPUTS,
    QUERY_APART,
    REGRESSION,
    SEVERAL_LAYERS,
    SYMMETRIC,
    UNTIED,
    WHITENED,
    Setting,
)

_PARAMETERS = {
    "n": "examples before the query",
    "d": "size of x",
    "s2": "noise variance over that of w . x, times d",
    "L": "layers",
}
_LAYERS = (LINEAR_ATTENTION, *BARE, LAST_QUERY, QUERY_APART)
_LAW = (REGRESSION, SYMMETRIC, FIXED_COVARIANCE, WHITENED)


def _best_steps(setting: Setting) -> Steps:
    law, variance = setting.regression, setting.whitened_variance
    best = best_steps(setting.model.n_layers, law.n_examples, law.d_input, law.noise_variance / variance)
    return Steps(best.step_sizes, variance * best.excess)


def _shrinking(setting: Setting) -> ShrinkingSteps:
    law, variance, model = setting.regression, setting.whitened_variance, setting.model
    noise = law.noise_variance / variance
    sizes = (model.n_layers, law.n_examples, law.d_input, law.inputs, noise)
    best = best_gd_plus_plus(*sizes, tied=model.tied_layers)
    return ShrinkingSteps(best.step_sizes, best.gammas, variance * best.excess)


def _copied(setting: Setting) -> OneStep:
    law = setting.regression
    gamma = optimum(law)
    return OneStep(gamma, excess_risk(gamma, law))


BEST_STEPS = ClosedForm(
    name="best_steps",
    label="Best L steps of gradient descent",
    statement="layer by layer w <- w - a_l Sig^-1 X^T(Xw - y)/n with the a_l of the best polynomial, in any order",
    source="Ahn et al. 2023, arXiv:2306.00297, theorem 3 and figure 2; layers that also move the inputs may do better",
    assumptions=(*_LAYERS, UNTIED, *_LAW, GAUSSIAN_INPUTS),
    parameters=_PARAMETERS,
    function=_best_steps,
)
SHRINKING = ClosedForm(
    name="best_gd_plus_plus",
    label="Best L steps of GD++",
    statement="layers step and shrink inputs, X <- X(I - g_l Sig^-1 X^T X/n); the best sizes are found numerically",
    source="von Oswald et al. 2023, arXiv:2212.07677, appendix A.10; Ahn et al. 2023, arXiv:2306.00297, theorem 4",
    assumptions=(*_LAYERS, SEVERAL_LAYERS, MOVES_INPUTS, *_LAW, KNOWN_INPUTS),
    parameters=_PARAMETERS,
    function=_shrinking,
)
COPIED_STEP = ClosedForm(
    name="step_behind_copying",
    label="Best single step behind a copying layer",
    statement="a first layer brings labels to their inputs, the second takes one step, q . Gamma g",
    source="von Oswald et al. 2023, arXiv:2212.07677, proposition 3 and section 5",
    assumptions=(*COPYING, LAST_QUERY, REGRESSION, SYMMETRIC, FIXED_COVARIANCE),
    parameters=ONE_STEP.parameters,
    function=_copied,
)
