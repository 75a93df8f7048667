"""Zheng et al. 2024: what one causal layer learns on x_{t+1} = W x_t, by the law of the first state."""

from collections.abc import Callable

from workbench.claims.seeds import Look
from workbench.claims.theory_looks import Condition, arm, claim, near, row, value

_PAPER = "Zheng et al. 2024, arXiv:2405.16845"
_INSIDE, _OUTSIDE = "autoregressive_step", "sequence_step_share"
_PHASES = "initial weights are random, so that the step is taken in phases of coordinates that no risk can tell"


def _rest(name: str, holds: Callable[[float], bool]) -> Condition:
    """Norm of what is no plain step in the weights, over that of the step."""

    def condition(look: Look) -> tuple[float | None, bool]:
        share = row(look, name, "weights_share")["measured"]
        found = (1 / share - 1) ** 0.5 if share else None
        return found, found is not None and holds(found)

    return condition


def _learned(look: Look) -> tuple[float | None, bool]:
    """A model that has learned nothing is no plain step either."""
    found = row(look, _OUTSIDE, "loss")
    share = found["measured"] / found["controls"]["zero predictor"]
    return share, share <= 0.5


ZHENG2024 = (
    claim(
        "zheng2024/gaussian-start",
        f"{_PAPER}, theorem 4.1",
        "From Gaussian starts the layer learns one step, which recovers a fifth of the truth at any length",
        "ab = .1919 at T = 100, d = 5; ratio of prediction to truth .2",
        arm("zheng", "linear_dynamics", "zheng"),
        {
            "ab from predictions, within 5 % of .1919": near(_INSIDE, "product", 0.05),
            "share of predictions that is one plain step, at least .99": value(
                _INSIDE, "one_step_share", lambda x: x >= 0.99
            ),
            "ab from weights, within 5 %": near(_INSIDE, "weights_product", 0.05),
            "share of the weights that is the plain step, at least .9": value(
                _INSIDE, "weights_share", lambda x: x >= 0.9
            ),
            "share of the last state's coordinates recovered, at most .25": value(
                _INSIDE, "recovered", lambda x: x <= 0.25
            ),
        },
        (_PHASES,),
    ),
    claim(
        "zheng2024/sparse-start",
        f"{_PAPER}, theorem 4.2",
        "From sparse starts it recovers the truth",
        "ab = 1 and test error 0",
        arm("zheng-sparse", "linear_dynamics", "zheng_sparse"),
        {
            "ab from predictions, within 5 % of 1": near(_INSIDE, "product", 0.05),
            "share of the last state recovered, at least .95": value(_INSIDE, "recovered", lambda x: x >= 0.95),
            "squared error, at most .05 of predicting 0, which errs by 1": value(_INSIDE, "loss", lambda x: x <= 0.05),
        },
    ),
    claim(
        "zheng2024/sign-start",
        f"{_PAPER}, theorems 4.1 and 4.2",
        "From random signs, as large as all ones, it learns the plain step, which recovers the truth as sequences grow",
        "ab = .8258 at T = 100, d = 5, which tends to 1",
        arm("zheng-signs", "linear_dynamics", "zheng_signs"),
        {
            "norm of the other blocks of the weights over the step's, at most .1": _rest(_INSIDE, lambda x: x <= 0.1),
            "ab from predictions, within 5 % of .8258": near(_INSIDE, "product", 0.05),
            "share of predictions that is one plain step, at least .99": value(
                _INSIDE, "one_step_share", lambda x: x >= 0.99
            ),
            "share of the last state's coordinates recovered, within 5 % of .8258": near(_INSIDE, "recovered", 0.05),
        },
        (_PHASES,),
    ),
    claim(
        "zheng2024/sphere-start",
        f"{_PAPER}, theorems 4.1 and 4.2",
        "From the unit sphere, whose coordinates differ in size, it learns the plain step and recovers a part",
        "ab = 1.727 at T = 100, d = 5; ratio of prediction to truth .345 on average",
        arm("zheng-sphere", "linear_dynamics", "zheng_sphere"),
        {
            "norm of the other blocks of the weights over the step's, at most .1": _rest(_INSIDE, lambda x: x <= 0.1),
            "ab from predictions, within 5 % of 1.727": near(_INSIDE, "product", 0.05),
            "share of predictions that is one plain step, at least .99": value(
                _INSIDE, "one_step_share", lambda x: x >= 0.99
            ),
            "share of the last state's coordinates recovered, within 5 % of .345": near(_INSIDE, "recovered", 0.05),
        },
        (_PHASES,),
    ),
    claim(
        "zheng2024/constant-start",
        f"{_PAPER}, section 4.3",
        "From a start of all ones, whose odd moments stay, it learns no plain step",
        "other blocks of the weights grow: a preconditioned step is learned",
        arm("zheng-ones", "linear_dynamics", "zheng_ones"),
        {
            "norm of the other blocks of the weights over the step's, above .1": _rest(_OUTSIDE, lambda x: x > 0.1),
            "squared error over that of predicting 0, at most .5": _learned,
            "share of predictions that is one plain step, below .98": value(
                _OUTSIDE, "one_step_share", lambda x: x < 0.98
            ),
        },
    ),
)
