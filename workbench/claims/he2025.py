"""He et al. 2025: softmax heads of opposite signs take debiased steps, and share several tasks."""

from workbench.claims.seeds import Look
from workbench.claims.theory_looks import arm, beyond, claim, like, near, pattern, row, value

_PAPER = "He et al. 2025, arXiv:2503.12734"
_TWO = arm("he-two", "linear_regression", "he_two_heads")
_FORM = "debiased_steps_of_tasks"


def _superposed(look: Look) -> tuple[float | None, bool]:
    """Share of a head's label weights that goes to one label: below what heads of one label each would have."""
    measured = row(look, _FORM, "head_purity")["measured"]
    return measured, measured is not None and measured < 0.9


HE2025 = (
    claim(
        "he2025/one-head",
        f"{_PAPER}, section 3",
        "One softmax head learns the best kernel smoother of its family",
        "released code: loss .405 on noisy labels (d = 5, L = 40, noise .1)",
        arm("he-one", "linear_regression", "he_one_head"),
        {
            "mu omega, within 3 % of .773": near("one_softmax_head", "product", 0.03),
            "sharpness omega, within 5 % of .516": near("one_softmax_head", "sharpness", 0.05),
            "distance of predictions from the best head's, at most .02": value(
                "one_softmax_head", "nmse", lambda x: x <= 0.02
            ),
        },
    ),
    claim(
        "he2025/two-heads",
        f"{_PAPER}, section 3",
        "Two heads of opposite signs take one step on centred inputs",
        "sum of mu omega .879 (d = 5, L = 40, noise .1), R2 against debiased gradient descent about .999",
        _TWO,
        {
            "excess risk beyond that of theory's predictor (.1429), same prompts, within 5 %": like(
                "debiased_step", 0.05
            ),
            "sum of mu KQ against theory's Gamma, relative error at most .05": value(
                "debiased_step", "weights_gamma_error", lambda x: x <= 0.05
            ),
            "distance of predictions from debiased steps, at most .01": value(
                "debiased_step", "nmse", lambda x: x <= 0.01
            ),
        },
    ),
    claim(
        "he2025/patterns",
        f"{_PAPER}, section 3 and figure 2",
        "KQ is a multiple of I among inputs, OV reads labels alone, and heads cancel",
        "released code: diagonal share .9993, last-entry share .9999 of two heads",
        _TWO,
        {
            "worst head's squared cosine of KQ with I, at least .98": pattern("identity", lambda x: x >= 0.98),
            "worst head's share of values from labels, at least .98": pattern("last_entry", lambda x: x >= 0.98),
            "|sum mu| over sum |mu|, at most .05": pattern("zero_sum", lambda x: x <= 0.05),
            "spread of |tr KQ| over its mean, at most .1": pattern("equal_sizes", lambda x: x <= 0.1),
        },
    ),
    claim(
        "he2025/a-head-per-sign",
        f"{_PAPER}, section 5",
        "With two heads for each of two labels every head serves one label",
        "each active head one task for H >= 2T (T = 2, H = 4)",
        arm("he-sign", "multi_task_regression", "he_head_per_sign"),
        {
            "share of a head's label weights for one label, at least .95": value(
                _FORM, "head_purity", lambda x: x >= 0.95
            ),
            "excess risk of both beyond that of theory's predictor (.206), same prompts, within 5 %": like(_FORM, 0.05),
        },
    ),
    claim(
        "he2025/superposition",
        f"{_PAPER}, section 5",
        "With three heads for two labels heads serve both",
        "superposition for 2 < H < 2T (T = 2, H = 3)",
        arm("he-super", "multi_task_regression", "he_superposition"),
        {
            "share of a head's label weights for one label, below .9": _superposed,
            "excess risk of both beyond that of one shared diagonal (.276), below 0": beyond(
                _FORM, "excess_ratio", lambda x: x < 0
            ),
        },
    ),
)
