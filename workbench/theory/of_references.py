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
    Assumption,
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


def _form(
    name: str,
    label: str,
    statement: str,
    source: str,
    excess: Callable[[int, int, float], float],
    *more: Assumption,
) -> ClosedForm:
    """A curve over the number of examples, of prompts with inputs that can be whitened, and ``more`` assumptions."""
    statement = f"{statement} by number of examples"
    return ClosedForm(name, label, statement, source, (*_WHITE_LAW, *more), _ANY, _reference(excess))


LEAST_SQUARES = _form(
    "least_squares_curve",
    "Least squares",
    "excess risk of minimum-norm least squares",
    "Exact Wishart means, as in Hastie et al. 2022, arXiv:1903.08560",
    least_squares_excess,
)
AVERAGING = _form(
    "averaging_curve",
    "Averaging",
    "excess risk of w = mean of y_i x_i",
    "Garg et al. 2022, arXiv:2208.01066, for the predictor",
    averaging_excess,
)
ONE_STEP_BOUND = _form(
    "one_step_curve",
    "Best step for each length",
    "least excess risk of a single step whose size is tuned to each length,",
    "Mahankali et al. 2023, arXiv:2307.03576, theorem 1",
    one_step_excess,
    SYMMETRIC,
)
RIDGE_LIMIT = _form(
    "bayes_limit_curve",
    "Bayes ridge, many dimensions",
    "excess risk of the Bayes ridge in the limit of many dimensions at this ratio d/n,",
    "Dobriban and Wager 2018, arXiv:1507.03003",
    ridge_limit_excess,
    GAUSSIAN_WEIGHTS,
    NOISY,
    ONE_NOISE_LEVEL,
)
