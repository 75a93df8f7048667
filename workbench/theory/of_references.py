"""Risk curves that the error of any model is read by."""

from collections.abc import Callable

from workbench.theory.curves import averaging_excess, least_squares_excess, one_step_excess, ridge_limit_excess
from workbench.theory.record import ClosedForm, Curve
from workbench.theory.setting import (
    FIXED_COVARIANCE,
    GAUSSIAN_INPUTS,
    GAUSSIAN_WEIGHTS,
    NOISY,
    ONE_NOISE_LEVEL,
    REGRESSION,
    SYMMETRIC,
    WHITENED,
    Setting,
)

_ANY = {"n": "examples before the query", "d": "size of x", "s2": "noise variance over that of w . x, times d"}


def _reference(excess: Callable[[int, int, float], float]) -> Callable[[Setting], Curve]:
    def curve(setting: Setting) -> Curve:
        law, variance = setting.regression, setting.whitened_variance
        lengths = range(1, law.n_examples + 1)
        values = [variance * excess(k, law.d_input, law.noise_variance / variance) for k in lengths]
        return Curve("n_examples", tuple(map(float, lengths)), tuple(values), is_model=False)

    return curve


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
    assumptions=(*_WHITE_LAW, GAUSSIAN_WEIGHTS, NOISY, ONE_NOISE_LEVEL),
    parameters=_ANY,
    function=_reference(ridge_limit_excess),
)
