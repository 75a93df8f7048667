"""What theory says of softmax heads, of sequences, and of any model's error."""

from collections.abc import Callable

from workbench.theory.autoregressive import autoregressive_step
from workbench.theory.curves import averaging_excess, least_squares_excess, one_step_excess, ridge_limit_excess
from workbench.theory.debiased import debiased_excess, debiased_optimum
from workbench.theory.of_linear_attention import whitened_variance
from workbench.theory.record import ClosedForm, Curve, OneStep, Scalar
from workbench.theory.setting import (
    AUTOREGRESSION,
    BARE,
    FIXED_COVARIANCE,
    GAUSSIAN_INPUTS,
    GAUSSIAN_WEIGHTS,
    LAST_QUERY,
    LINEAR_ATTENTION,
    NOISY,
    ONE_LAYER,
    QUERY_APART,
    REGRESSION,
    SOFTMAX_ATTENTION,
    SYMMETRIC,
    TWO_HEADS,
    WHITENED,
    Assumption,
    Setting,
)

_ANY = {"n": "examples before the query", "d": "size of x", "s2": "noise variance over that of w . x, times d"}


def _debiased(setting: Setting) -> OneStep:
    law = setting.regression
    gamma = debiased_optimum(law)
    return OneStep(gamma, debiased_excess(gamma, law), centred=True)


def _moments_vanish(setting: Setting) -> str:
    law = setting.autoregression
    if law.moments is not None and law.sign_symmetric:
        return ""
    return f"odd mixed moments of the start must vanish; those of {law.start!r} do not"


def _step_of_sequence(setting: Setting) -> Scalar:
    law = setting.autoregression
    assert law.moments is not None, "the assumption was checked"
    return Scalar("product", autoregressive_step(law.moments, law.n_states))


def _reference(excess: Callable[[int, int, float], float]) -> Callable[[Setting], Curve]:
    def curve(setting: Setting) -> Curve:
        law, variance = setting.regression, whitened_variance(setting)
        lengths = range(1, law.n_examples + 1)
        values = [variance * excess(k, law.d_input, law.noise_variance / variance) for k in lengths]
        return Curve("n_examples", tuple(map(float, lengths)), tuple(values), is_model=False)

    return curve


DEBIASED = ClosedForm(
    name="debiased_step",
    label="Best debiased step",
    statement="heads of opposite signs take one step on centred inputs, Gamma = [Sig + (tr(Sig Psi)+s2)/n Psi^-1]^-1",
    source="He et al. 2025, arXiv:2503.12734, for isotropic inputs; generalised",
    assumptions=(
        *(SOFTMAX_ATTENTION, ONE_LAYER, TWO_HEADS, *BARE, QUERY_APART, LAST_QUERY),
        *(REGRESSION, SYMMETRIC, FIXED_COVARIANCE, GAUSSIAN_INPUTS),
    ),
    parameters={"n": "examples", "Sig": "covariance of x", "Psi": "second moment of w", "s2": "noise variance"},
    function=_debiased,
)
AUTOREGRESSIVE = ClosedForm(
    name="autoregressive_step",
    label="Step of an autoregressive layer",
    statement="ab = kappa1 / (kappa2 + kappa3 mean_t 1/(t-1))",
    source="Zheng et al. 2024, arXiv:2405.16845",
    assumptions=(
        *(AUTOREGRESSION, LINEAR_ATTENTION, ONE_LAYER),
        Assumption("odd mixed moments of the start vanish", _moments_vanish),
    ),
    parameters={"kappa": "moments of the start", "T": "states in a sequence"},
    function=_step_of_sequence,
)
_WHITE_LAW = (REGRESSION, FIXED_COVARIANCE, WHITENED, GAUSSIAN_INPUTS)
LEAST_SQUARES = ClosedForm(
    name="least_squares_curve",
    label="Least squares",
    statement="excess risk of minimum-norm least squares by number of examples",
    source="Exact Wishart means, as in Hastie et al. 2022, arXiv:1903.08560",
    assumptions=_WHITE_LAW,
    parameters=_ANY,
    function=_reference(least_squares_excess),
)
AVERAGING = ClosedForm(
    name="averaging_curve",
    label="Averaging",
    statement="excess risk of w = mean of y_i x_i by number of examples",
    source="Garg et al. 2022, arXiv:2208.01066, for the predictor",
    assumptions=_WHITE_LAW,
    parameters=_ANY,
    function=_reference(averaging_excess),
)
ONE_STEP_BOUND = ClosedForm(
    name="one_step_curve",
    label="Best step for each length",
    statement="least excess risk of a single step whose size is tuned to each number of examples",
    source="Mahankali et al. 2023, arXiv:2307.03576, theorem 1",
    assumptions=(*_WHITE_LAW, SYMMETRIC),
    parameters=_ANY,
    function=_reference(one_step_excess),
)
RIDGE_LIMIT = ClosedForm(
    name="bayes_limit_curve",
    label="Bayes ridge, many dimensions",
    statement="excess risk of the Bayes ridge in the limit of many dimensions at this ratio d/n",
    source="Dobriban and Wager 2018, arXiv:1507.03003",
    assumptions=(*_WHITE_LAW, GAUSSIAN_WEIGHTS, NOISY),
    parameters=_ANY,
    function=_reference(ridge_limit_excess),
)
