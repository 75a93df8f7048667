"""von Oswald et al. 2022: linear attention learns gradient descent, deeper ones GD++, and a copying layer before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from workbench.claims.seeds import Judged, Look
from workbench.claims.theory_looks import (
    apart,
    arm,
    claim,
    flat,
    form,
    like,
    near,
    pattern,
    risk,
    seen_over_training,
    value,
)

_PAPER = "von Oswald et al. 2023, arXiv:2212.07677"
_ONE = arm("vo-one", "linear_regression", "von_oswald")
_TIED = arm("vo-tied", "linear_regression", "von_oswald_tied")
_DEEP = arm("vo-deep", "linear_regression", "von_oswald_deep")
_HEAD = arm("vo-softmax", "linear_regression", "von_oswald_softmax")
_HEADS = arm("vo-softmax-heads", "linear_regression", "von_oswald_softmax_heads")
_PLAIN = 0.4125
"""Excess risk of one plain step, in closed form, for d = N = 10 and inputs uniform on [-1/2, 1/2]."""
_BEHIND, _FEATURES = "step_behind_copying", "feature_step"
_SINE = arm("vo-sine", "sine_regression", "von_oswald")
_COPYING = arm(
    "vo-copying",
    "linear_regression",
    "von_oswald_copying",
    {"train.checkpoints_per_decade": 40},
    small="von_oswald_copying_small",
)


def _rolled_out(look: Look) -> tuple[float | None, bool]:
    """Largest difference of the risks over all applications, over that of predicting 0."""
    rolled = form(look, "one_step")["rolled_out"]
    if rolled is None:
        return None, False
    pairs = zip(rolled["excess"], rolled["theory"], strict=True)
    found = max(abs(one - other) for one, other in pairs) / rolled["theory"][0]
    return found, found <= 0.02


def _copies(look: Look) -> tuple[float | None, bool]:
    """Largest share over training; what becomes of it once the step is learned is no part of the claim."""
    found = max((line["partner"] for line in look["over_training"] if line["partner"] is not None), default=None)
    return found, found is not None and found >= 0.5


@dataclass(frozen=True)
class _Turn:
    """Where a quantity passes a half.

    Attributes:
        before: Updates at the last checkpoint below it.
        at: Updates at the first one that is not.
        step: Between both, by a straight line.
    """

    before: int
    at: int
    step: float


def _turn(lines: Sequence[Any], shares: Sequence[float | None]) -> _Turn | None:
    """The first passing of one half, or None; a share that starts there has none."""
    known = [(line["step"], share) for line, share in zip(lines, shares, strict=True) if share is not None]
    for (before, low), (at, high) in pairwise(known):
        if low < 0.5 <= high:
            return _Turn(before, at, before + (at - before) * (0.5 - low) / (high - low))
    return None


def _gained(line: Any) -> float | None:
    """The share of the way from predicting 0 to one step that the risk has come, all on the same prompts."""
    zero, told = line["zero"], line["theory"]
    return None if told is None else (zero - line["excess"]) / (zero - told)


def _copies_first(look: Look) -> Judged:
    """Updates at which half of the attention is on partners, over those at which half of a step is gained.

    Both are interpolated between checkpoints. The order is told only by a checkpoint that has one and not the other.
    """
    lines = look["over_training"]
    copied = _turn(lines, [line["partner"] for line in lines])
    learned = _turn(lines, [_gained(line) for line in lines])
    if copied is None or learned is None:
        return Judged(None, False)
    tie = f"both between {learned.before} and {learned.at} updates, where no checkpoint tells the order"
    return Judged(copied.step / learned.step, copied.at < learned.at, None, tie if copied.at == learned.at else "")


VONOSWALD2022 = (
    claim(
        "vonoswald2022/one-layer",
        f"{_PAPER}, section 3 and figure 2",
        "One trained layer is one step of gradient descent",
        "loss .2047 for half the squared error (d = N = 10), cosine of gradients near 1",
        _ONE,
        {
            "cosine of gradients with the step's, at least .995": value(
                "one_step", "gradient_cosine", lambda x: x >= 0.995
            ),
            "excess risk over the step's, at most .004": value("one_step", "excess_gap", lambda x: x <= 0.004),
            "distance of predictions, at most .01": value("one_step", "nmse", lambda x: x <= 0.01),
        },
    ),
    claim(
        "vonoswald2022/one-layer-interpolation",
        f"{_PAPER}, section 3 and figure 2",
        "Weights between the trained ones and the construction err no more",
        "the loss of the average equals both",
        _ONE,
        {"largest excess risk on the way over the larger end's, at most 1.02": flat("one_step", 1.02)},
    ),
    claim(
        "vonoswald2022/one-layer-shifts",
        f"{_PAPER}, section 3 and appendix",
        "It stays one step on inputs, weights and laws that training never showed",
        "curves of loss over scales coincide",
        _ONE,
        {
            "distance of predictions, largest over inputs .5 to 3, w .5 to 5 and other laws, at most .05": apart(
                "one_step", ("inputs", "weights", "law"), 0.05
            )
        },
    ),
    claim(
        "vonoswald2022/roll-out",
        f"{_PAPER}, appendix, figure 10",
        "Applied 50 times with damping it goes on as gradient descent does",
        "curves coincide, damping 3/4",
        _ONE,
        {"largest difference of risks over 50 applications, over predicting 0, at most .02": _rolled_out},
    ),
    claim(
        "vonoswald2022/two-tied",
        f"{_PAPER}, section 4 and figure 3",
        "Two tied layers are two steps of GD++, better than two plain steps",
        "loss .110 for half the squared error against .155 of plain steps; cosine near 1",
        _TIED,
        {
            "excess risk beyond that of theory's predictor (.2207), same prompts, within 5 %": like(
                "best_gd_plus_plus", 0.05
            ),
            "cosine of gradients with GD++'s, at least .98": value(
                "best_gd_plus_plus", "gradient_cosine", lambda x: x >= 0.98
            ),
            "eta, within 10 %": near("best_gd_plus_plus", "layer_1_eta", 0.1),
            "gamma, within 10 %": near("best_gd_plus_plus", "layer_1_gamma", 0.1),
        },
    ),
    claim(
        "vonoswald2022/two-tied-interpolation",
        f"{_PAPER}, section 4 and figure 3",
        "Weights between the two tied layers' and GD++'s err no more",
        "the loss of the average equals both",
        _TIED,
        {"largest excess risk on the way over the larger end's, at most 1.05": flat("best_gd_plus_plus", 1.05)},
    ),
    claim(
        "vonoswald2022/five-layers",
        f"{_PAPER}, section 4 and figure 3",
        "Five layers of their own come near to 0",
        "half the squared error at most .023 for GD++, .079 for plain steps",
        _DEEP,
        {"excess risk, at most .046": risk("best_gd_plus_plus", lambda x: x <= 0.046)},
    ),
    claim(
        "vonoswald2022/one-softmax-head",
        f"{_PAPER}, appendix, figure 11",
        "One softmax head does not reach a step of gradient descent",
        "one head cannot match the step; in theory the best head errs by .581, a step by .4125",
        _HEAD,
        {
            "excess risk, at least 1.2 times a plain step's .4125": risk(
                "one_softmax_head", lambda x: x >= 1.2 * _PLAIN
            ),
            "excess risk, within 2 % of the best head's": like("one_softmax_head", 0.02),
        },
    ),
    claim(
        "vonoswald2022/two-softmax-heads",
        f"{_PAPER}, appendix, figures 11 and 12",
        "Two softmax heads of opposite signs nearly take the step",
        "two heads nearly match it by KQ of opposite sign; the best centred step errs by .437 in theory",
        _HEADS,
        {
            "excess risk, at most 1.1 times a plain step's .4125": risk("debiased_step", lambda x: x <= 1.1 * _PLAIN),
            "excess risk, within 2 % of the best centred step's": like("debiased_step", 0.02),
            "cosine of gradients with that step's, at least .98": value(
                "debiased_step", "gradient_cosine", lambda x: x >= 0.98
            ),
            "|sum mu| over sum |mu|, at most .1": pattern("zero_sum", lambda x: x <= 0.1),
        },
    ),
    claim(
        "vonoswald2022/copying",
        f"{_PAPER}, section 5 and figure 5",
        "On separate tokens a first layer learns to bring inputs and labels together, and then the risk falls",
        "attention to the next token rises just before the loss falls; both about 10 times slower than one layer",
        _COPYING,
        {
            "attention of layer 1 to the other token of an example, largest over training, at least .5": _copies,
            "updates to half of that attention over updates to half of a step, below 1": _copies_first,
        },
        look=seen_over_training,
    ),
    claim(
        "vonoswald2022/copying-one-step",
        f"{_PAPER}, section 5",
        "Behind it the model reaches one step, and not two",
        "loss .2047 for half the squared error at d = N = 10",
        _COPYING,
        {
            "excess risk beyond that of one step, same prompts, within 10 %": like(_BEHIND, 0.1),
            "cosine of gradients with the step's, at least .98": value(_BEHIND, "gradient_cosine", lambda x: x >= 0.98),
        },
        look=seen_over_training,
    ),
    claim(
        "vonoswald2022/sine",
        f"{_PAPER}, section 4 and figure 4",
        "Behind an MLP a layer learns sine waves by a step of gradient descent on the MLP's features",
        "figures coincide with those of a constructed step behind a trained MLP; no number is stated",
        _SINE,
        {
            "excess risk over that of the best step on the untrained MLP's features, same prompts, at most .5": value(
                _FEATURES, "excess_over_untrained_features", lambda x: x <= 0.5
            ),
            "excess risk beyond that of the best step on its own features, same prompts, within 10 %": like(
                _FEATURES, 0.1
            ),
            "cosine of gradients with that step's, at least .95": value(
                _FEATURES, "gradient_cosine", lambda x: x >= 0.95
            ),
        },
        ("predicting 0 errs by 4.25, the mean of all waves by 3.01, no step on any features of x by less than .386",),
    ),
)
