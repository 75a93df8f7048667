"""Akyurek et al. 2023: with label noise, the ridge that a model is nearest to is the Bayes predictor."""

from collections.abc import Mapping
from typing import Any

from workbench.claims.record import Claim, Measurement

_STEP = 1.6
"""Strengths lie a factor 10^(1/5) apart: the nearest of them to the Bayes strength may be so far from it."""


def bayes_ridge(record: Mapping[str, Any]) -> Measurement:
    """The ridge strength that the model's output is nearest to, against the Bayes strength."""
    found = record["nearest_ridge"]
    strength, ci, bayes = found["strength"], tuple(found["ci"]), found["bayes"]
    met = bool(bayes) and ci[0] / _STEP <= bayes <= ci[1] * _STEP
    least = found["difference"][found["strengths"].index(strength)]
    evidence = (
        f"squared difference over d between the model's output and ridge of strength {strength:.3g}: {least:.2e}",
        f"Bayes strength (noise variance over that of a coordinate of w): {_number(bayes)}; one trained model",
    )
    told = f"strength {strength:.3g} [{ci[0]:.3g}, {ci[1]:.3g}], Bayes {_number(bayes)}"
    return Measurement(told, strength, ci, met, evidence)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


BAYES_RIDGE = Claim(
    name="akyurek2023/bayes-ridge",
    paper="akyurek2023",
    citation="Akyurek et al. 2023, arXiv:2211.15661, section 3.2 and figure 2",
    statement="With label noise, the ridge that predicts most like the model is the one of Bayes strength",
    published="the least difference of every noise level is at its Bayes strength (d = 8, noise over prior 0 to 4/9)",
    recipes={"noisy": "linear_regression"},
    check=bayes_ridge,
)
