"""Zheng et al. 2024: what one causal layer learns on x_{t+1} = W x_t, by the law of the first state."""

from workbench.claims.seeds import Look
from workbench.claims.theory_looks import arm, claim, near, row, value

_PAPER = "Zheng et al. 2024, arXiv:2405.16845"
_OUTSIDE = "sequence_step_share"
_PHASES = "initial weights are random, so that the step is taken in phases of coordinates that no risk can tell"


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
            "ab from predictions, within 5 % of .1919": near("autoregressive_step", "product", 0.05),
            "share of predictions that is one plain step, at least .99": value(
                "autoregressive_step", "one_step_share", lambda x: x >= 0.99
            ),
            "ab from weights, within 5 %": near("autoregressive_step", "weights_product", 0.05),
            "share of the weights that is the plain step, at least .9": value(
                "autoregressive_step", "weights_share", lambda x: x >= 0.9
            ),
            "share of the last state's coordinates recovered, at most .25": value(
                "autoregressive_step", "recovered", lambda x: x <= 0.25
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
            "ab from predictions, within 5 % of 1": near("autoregressive_step", "product", 0.05),
            "share of the last state recovered, at least .95": value(
                "autoregressive_step", "recovered", lambda x: x >= 0.95
            ),
            "squared error, at most .05 of predicting 0, which errs by 1": value(
                "autoregressive_step", "loss", lambda x: x <= 0.05
            ),
        },
    ),
    claim(
        "zheng2024/constant-start",
        f"{_PAPER}, section 4.3",
        "From a start of all ones, whose odd moments stay, it learns no plain step",
        "other blocks of the weights grow: a preconditioned step is learned",
        arm("zheng-ones", "linear_dynamics", "zheng_ones"),
        {
            "share of the weights that is the plain step, below .9": value(
                _OUTSIDE, "weights_share", lambda x: x < 0.9
            ),
            "squared error over that of predicting 0, at most .5": _learned,
            "share of predictions that is one plain step, below .98": value(
                _OUTSIDE, "one_step_share", lambda x: x < 0.98
            ),
        },
    ),
)
