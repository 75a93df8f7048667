"""Zhang, Frei and Bartlett 2023: where one layer of linear attention ends, and what shifts it survives."""

from workbench.claims.seeds import Look
from workbench.claims.theory_looks import apart, arm, claim, form, row, shift, value

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
        "train.lr": 0.003,
        "train.n_steps": 6000,
        "train.clip_norm": None,
    },
)


def _longest(look: Look) -> tuple[float, bool]:
    """Risk over theory's at the longest prompt, and whether it stays above the limit of no bias."""
    curve = form(look, "length_curve")["curve"]
    ratio = curve["measured"][-1] / curve["theory"][-1]
    return ratio, abs(ratio - 1) <= 0.05


def _stays(look: Look) -> tuple[float, bool]:
    curve = form(look, "length_curve")["curve"]
    zero = row(look, "one_step", "excess")["controls"]["zero predictor"]
    share = curve["measured"][-1] / zero
    return share, share > 0.04


def _brittle(look: Look) -> tuple[float, bool]:
    """Excess risk of inputs three times as large, over that of predicting 0, which grows with their square."""
    found = shift(look, "one_step", "inputs")
    zero = row(look, "one_step", "excess")["controls"]["zero predictor"]
    share = found["excess"][found["at"].index(3.0)] / (9 * zero)
    return share, share > 1


def _third(look: Look) -> tuple[float, bool]:
    """How much larger the risk is at variances nine times those of training, over that of predicting 0."""
    found = shift(look, "random_covariance", "inputs")
    zero = row(look, "random_covariance", "excess")["controls"]["zero predictor"]
    share = found["excess"][found["at"].index(3.0)] / (9 * zero)
    return share, share > 1


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
            "excess risk at 10 N examples over the closed form's, within 5 %": _longest,
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
)
