"""Zhang, Frei and Bartlett 2023: where one layer of linear attention ends, and what shifts it survives."""

from collections.abc import Mapping
from typing import Any

from workbench.claims.seeds import Judged, Look
from workbench.claims.theory_looks import apart, arm, claim, judged, place, value

_PAPER = "Zhang et al. 2023, arXiv:2306.09927"
_ZHANG = arm("zhang", "linear_regression", "zhang")
_UNEVEN = arm(
    "uneven",
    "anisotropic_regression",
    "ahn",
    {
        "task.prior": "isotropic",
        "model.n_layers": 1,
        "model.products": "merged",
        "train.lr": 0.1,
        "train.n_steps": 12_000,
        "train.clip_norm": None,
    },
)


def _longest(look: Look) -> Judged:
    """The share by which the risk is above that of theory's predictor at the longest prompts, the same for both."""
    found = place(look, "one_step", "length", 10.0)
    return judged(found["over"] - 1, (found["over_low"] - 1, found["over_high"] - 1), lambda x: abs(x) <= 0.05)


def _stays(look: Look) -> Judged:
    """Risk over that of predicting 0 at the longest prompts."""
    return _over_zero(place(look, "one_step", "length", 10.0), 0.04)


def _over_zero(found: Mapping[str, Any], above: float) -> Judged:
    """Excess risk over that of predicting 0 on the same prompts, above a value."""
    zero = found["zero"]
    return judged(found["excess"] / zero, (found["low"] / zero, found["high"] / zero), lambda x: x > above)


def _brittle(look: Look) -> Judged:
    """At inputs three times as large."""
    return _over_zero(place(look, "one_step", "inputs", 3.0), 1.0)


def _third(look: Look) -> Judged:
    """At variances nine times those of training."""
    return _over_zero(place(look, "random_covariance", "inputs", 3.0), 1.0)


ZHANG2023 = (
    claim(
        "zhang2023/limit",
        f"{_PAPER}, theorem 4.1",
        "Training ends at Gamma = [(1 + 1/N) Lam + tr(Lam)/N I]^-1",
        "told for gradient flow from a small balanced start; .7692 I for d = 5, N = 20",
        _ZHANG,
        {
            "Gamma, relative error at most .03": value("one_step", "gamma_error", lambda x: x <= 0.03),
            "labels are the values: largest leak at most .05": value("one_step", "value_leakage", lambda x: x <= 0.05),
        },
        ("Adam from Gaussian weights, so that the product is told and not how it splits into KQ and OV",),
    ),
    claim(
        "zhang2023/limit-uneven",
        f"{_PAPER}, theorem 4.1",
        "With a covariance of unequal eigenvalues too, where Gamma is no multiple of Lam^-1",
        "the same formula, eigenvalues 1, 1, 1, 1/4, 1/16",
        _UNEVEN,
        {
            "Gamma, relative error at most .03": value("one_step", "gamma_error", lambda x: x <= 0.03),
            "cosine with it, at least .999": value("one_step", "gamma_cosine", lambda x: x >= 0.999),
        },
    ),
    claim(
        "zhang2023/length",
        f"{_PAPER}, theorem 4.2",
        "At longer prompts than trained the risk falls, but not to 0",
        "excess risk of O(1/M + 1/N^2): (1 - .7692)^2 = .053 of predicting 0 as M grows, for N = 20, d = 5",
        _ZHANG,
        {
            "excess risk at 10 N examples beyond that of theory's predictor, same prompts, within 5 %": _longest,
            "the same over predicting 0, more than .04": _stays,
        },
    ),
    claim(
        "zhang2023/covariate-shift",
        f"{_PAPER}, section 4.3",
        "Scaled inputs break the trained layer, as they break no least squares",
        "inputs scaled by c make predictions c^2 times the right ones",
        _ZHANG,
        {
            "excess risk over predicting 0 at inputs three times as large, above 1": _brittle,
            "predictions there and at a scaled query follow theory's, apart at most .05": apart(
                "one_step", ("inputs", "query"), 0.05
            ),
        },
    ),
    claim(
        "zhang2023/random-covariance",
        f"{_PAPER}, section 5",
        "Training on random covariances too leaves one fixed step, and does not make it robust",
        "Gamma = .286 I for d = 5, N = 20 and Exponential(1) variances; a third of the truth as N grows",
        arm("random", "random_covariance_regression", "zhang"),
        {
            "Gamma, relative error at most .05": value("random_covariance", "gamma_error", lambda x: x <= 0.05),
            "excess risk over predicting 0 at inputs three times as large, above 1": _third,
        },
    ),
    claim(
        "zhang2023/random-covariance-of-four",
        f"{_PAPER}, section 5",
        "In four dimensions and with shorter prompts too",
        "Gamma = .256 I for d = 4, N = 10 and Exponential(1) variances",
        arm(
            "random-four",
            "random_covariance_regression",
            "zhang",
            {"task.d_input": 4, "task.n_context": 11, "model.d_model": 5},
        ),
        {
            "Gamma, relative error at most .05": value("random_covariance", "gamma_error", lambda x: x <= 0.05),
            "excess risk over predicting 0 at inputs three times as large, above 1": _third,
        },
    ),
)
