"""What theory says of one layer of linear attention."""

from dataclasses import replace

import torch

from workbench.theory.one_step import balanced_split, excess_risk, optimum
from workbench.theory.other_attention import linear_fit_step, relu_step
from workbench.theory.random_covariance import diagonal_optimum, rotated_excess, rotated_optimum
from workbench.theory.record import ClosedForm, Curve, OneStep, Scalar
from workbench.theory.setting import (
    BARE,
    EVERY_QUERY,
    FIXED_COVARIANCE,
    GAUSSIAN_INPUTS,
    ISOTROPIC,
    LAST_QUERY,
    LINEAR_ATTENTION,
    NOISELESS,
    NONLINEAR,
    ONE_LAYER,
    REGRESSION,
    RELU_ATTENTION,
    ROTATED_COVARIANCE,
    SAME_PRIOR,
    SYMMETRIC,
    WHITENED,
    Setting,
)
from workbench.theory.shared import excess_by_length, shared_optimum

_LAYER = (LINEAR_ATTENTION, ONE_LAYER, *BARE)
_LAW = {"n": "examples before the query", "Sig": "covariance of x", "Psi": "second moment of w", "s2": "noise variance"}
_WHITE = {"n": "examples before the query", "d": "size of x", "s2": "noise variance over that of w . x, times d"}
_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0)
_LENGTHS = (0.5, 1.0, 2.0, 4.0, 10.0)
"""Prompt lengths over that of training."""


def _one_step(setting: Setting) -> OneStep:
    law = setting.regression
    gamma = optimum(law)
    return OneStep(gamma, excess_risk(gamma, law))


def _rotated(setting: Setting) -> OneStep:
    law = setting.regression
    variance = float(law.prior[0, 0])
    if law.variance_moments is None:
        spread = {"w_variance": variance, "noise_variance": law.noise_variance}
        step = rotated_optimum(law.spectrum, law.n_examples, **spread)
        excess = rotated_excess(step, law.spectrum, law.n_examples, **spread)
    else:
        mean, square, _ = law.variance_moments
        noise = law.noise_variance / variance
        step = diagonal_optimum(law.variance_moments, law.n_examples, law.d_input, noise_variance=noise)
        excess = variance * law.d_input * (mean - step * square)  # at the optimum half of the linear term is left
    return OneStep(step * torch.eye(law.d_input, dtype=law.prior.dtype), excess)


def _causal(setting: Setting) -> OneStep:
    """Gamma of the mean over examples at the last query, whose keys may include itself."""
    law = setting.regression
    lengths = list(range(1, law.n_examples + 1))
    gamma = setting.factor(law.n_examples) * shared_optimum(law, lengths, [setting.factor(k) for k in lengths])
    return OneStep(gamma, excess_risk(gamma, law))


def _causal_curve(setting: Setting) -> Curve:
    law = setting.regression
    lengths = list(range(1, law.n_examples + 1))
    factors = [setting.factor(k) for k in lengths]
    excess = excess_by_length(shared_optimum(law, lengths, factors), law, lengths, factors)
    return Curve("n_examples", tuple(map(float, lengths)), tuple(excess), is_model=True)


def _length_curve(setting: Setting) -> Curve:
    law = setting.regression
    lengths = sorted({max(1, round(share * law.n_examples)) for share in _LENGTHS})
    factors = [setting.factor(k) / setting.factor(law.n_examples) for k in lengths]
    excess = excess_by_length(optimum(law), law, lengths, factors)
    return Curve("n_examples", tuple(map(float, lengths)), tuple(excess), is_model=True)


def _scale_curve(setting: Setting) -> Curve:
    law = setting.regression
    gamma = optimum(law)
    excess = [excess_risk(gamma, replace(law, spectrum=c * c * law.spectrum)) for c in _SCALES]
    return Curve("input_scale", _SCALES, tuple(excess), is_model=True)


def _sum_step(setting: Setting) -> Scalar:
    law = setting.regression
    return Scalar("sum_step", 1 / (law.n_examples + law.d_input + 1 + law.noise_variance / setting.whitened_variance))


def _split(setting: Setting) -> Scalar:
    value, key_query = balanced_split(optimum(setting.regression))
    return Scalar("split", value / float(key_query.norm()))


def _nonlinear(setting: Setting) -> OneStep:
    law, (facts,) = setting.regression, setting.facts
    fit_square = float((facts.input_covariance * facts.fit_covariance).sum())
    step = law.n_examples * linear_fit_step(fit_square, facts.label_times_square, law.n_examples)
    clean = facts.label_variance - law.noise_variance
    return OneStep(step * torch.eye(law.d_input, dtype=law.prior.dtype), clean - step * fit_square)


def _nonlinear_sum_step(setting: Setting) -> Scalar:
    return Scalar("sum_step", float(_nonlinear(setting).gamma[0, 0]) / setting.regression.n_examples)


def _relu_step(setting: Setting) -> Scalar:
    law, variance = setting.regression, setting.whitened_variance
    c = relu_step(law.n_examples, law.d_input, law.noise_variance / variance)
    return Scalar("relu_step", c / float(law.spectrum[0]))


ONE_STEP = ClosedForm(
    name="one_step",
    label="Best single step",
    statement="the prediction is q . Gamma g with Gamma = Psi Sig E[g g^T]^-1",
    source="Ahn et al. 2023, arXiv:2306.00297, theorem 1, and Mahankali et al. 2023, arXiv:2307.03576, generalised",
    assumptions=(*_LAYER, LAST_QUERY, REGRESSION, SYMMETRIC, FIXED_COVARIANCE),
    parameters=_LAW,
    function=_one_step,
)
MAHANKALI = ClosedForm(
    name="mahankali_step",
    label="Mahankali's step size",
    statement="the step on the sum loss is 1/(n + d + 1 + s2), preconditioned by Sig^-1",
    source="Mahankali et al. 2023, arXiv:2307.03576, theorems 1 and 2",
    assumptions=(*_LAYER, LAST_QUERY, REGRESSION, SYMMETRIC, FIXED_COVARIANCE, WHITENED, GAUSSIAN_INPUTS),
    parameters=_WHITE,
    function=_sum_step,
)
ZHANG = ClosedForm(
    name="zhang_split",
    label="Zhang's balanced scales",
    statement="from a small balanced start the value weight equals the norm of the key-query matrix",
    source="Zhang et al. 2023, arXiv:2306.09927, the limit of gradient flow; from elsewhere only the product is told",
    assumptions=(*_LAYER, LAST_QUERY, REGRESSION, NOISELESS, FIXED_COVARIANCE, SAME_PRIOR, GAUSSIAN_INPUTS),
    parameters=_LAW,
    function=_split,
)
ROTATED = ClosedForm(
    name="random_covariance",
    label="Best single step, covariance per prompt",
    statement="Gamma = a I with a from the first three moments of the spectrum",
    source="The argument of Zhang et al. 2023, arXiv:2306.09927, on random covariances, for rotated ones",
    assumptions=(*_LAYER, LAST_QUERY, REGRESSION, SYMMETRIC, ROTATED_COVARIANCE, SAME_PRIOR, GAUSSIAN_INPUTS),
    parameters=_LAW,
    function=_rotated,
)
CAUSAL = ClosedForm(
    name="causal_one_step",
    label="Best single step at every position",
    statement="one Gamma serves all prefixes: Psi Sig (sum f_k) (sum f_k^2 E[g_k g_k^T])^-1",
    source="Derived from the moments of the one-step predictor; not the last position's optimum",
    assumptions=(*_LAYER, EVERY_QUERY, REGRESSION, SYMMETRIC, FIXED_COVARIANCE),
    parameters=_LAW,
    function=_causal,
)
CAUSAL_CURVE = ClosedForm(
    name="causal_curve",
    label="Risk at every position",
    statement="the excess risk of that Gamma by number of examples",
    source=CAUSAL.source,
    assumptions=CAUSAL.assumptions,
    parameters=_LAW,
    function=_causal_curve,
)
LENGTHS = ClosedForm(
    name="length_curve",
    label="Risk at other prompt lengths",
    statement="the excess risk of the trained length's Gamma at M examples; it does not vanish as M grows",
    source="Zhang et al. 2023, arXiv:2306.09927, on test lengths unlike that of training, in exact form",
    assumptions=ONE_STEP.assumptions,
    parameters={**_LAW, "M": "examples before the query at the test"},
    function=_length_curve,
)
SCALES = ClosedForm(
    name="scale_curve",
    label="Risk under scaled inputs",
    statement="inputs scaled by c make the prediction c^2 times the right one",
    source="Zhang et al. 2023, arXiv:2306.09927, on covariate shift, in exact form",
    assumptions=ONE_STEP.assumptions,
    parameters={**_LAW, "c": "factor on all inputs at the test"},
    function=_scale_curve,
)
NONLINEAR_STEP = ClosedForm(
    name="nonlinear_step",
    label="Best single step on nonlinear targets",
    statement="the prediction is still q . Gamma g, with Gamma a multiple of I",
    source="Mahankali et al. 2023, arXiv:2307.03576, theorem 3",
    assumptions=(*_LAYER, LAST_QUERY, NONLINEAR),
    parameters={"n": "examples before the query", "u": "best linear fit of a prompt's target", "y": "label"},
    function=_nonlinear,
)
NONLINEAR_SIZE = ClosedForm(
    name="nonlinear_step_size",
    label="Step size on nonlinear targets",
    statement="the step on the sum loss is E|u|^2 / (E[y^2 |x|^2] + (n-1) E|u|^2)",
    source="Mahankali et al. 2023, arXiv:2307.03576, theorem 3; the ratio derived here",
    assumptions=NONLINEAR_STEP.assumptions,
    parameters=NONLINEAR_STEP.parameters,
    function=_nonlinear_sum_step,
)
RELU = ClosedForm(
    name="relu_step",
    label="Best step of ReLU attention",
    statement="the prediction is (c/n) sum_i relu(x_i . q) y_i with c = 2n/(n + 2d + 3 + 2 s2)",
    source="The setting of Ahn et al. 2023, arXiv:2306.00297, theorem 5",
    assumptions=(
        RELU_ATTENTION,
        ONE_LAYER,
        *BARE,
        LAST_QUERY,
        REGRESSION,
        SYMMETRIC,
        FIXED_COVARIANCE,
        ISOTROPIC,
        GAUSSIAN_INPUTS,
    ),
    parameters=_WHITE,
    function=_relu_step,
)
