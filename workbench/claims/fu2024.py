"""Fu, Chen, Jia, Sharan 2024: the step of Newton that a layer matches rises linearly, that of gradient descent
geometrically."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from workbench.claims.record import Claim, Measurement

_CITATION = "Fu et al. 2024, arXiv:2310.17086, section 4.2 and figure 3"


def newton_linear(record: Mapping[str, Any]) -> Measurement:
    """Linear trend of Newton's best-matching step."""
    return _measurement(record, "newton", "steps a layer", record["trend"]["newton"]["shape"] == "linear")


def gd_geometric(record: Mapping[str, Any]) -> Measurement:
    """Geometric trend of gradient descent's best-matching step."""
    return _measurement(record, "gd", "times a layer", record["trend"]["gd"]["shape"] == "geometric")


def _measurement(record: Mapping[str, Any], family: str, unit: str, holds: bool) -> Measurement:
    trend = record["trend"][family]
    steps = [(la["layer"], la["families"][family]) for la in record["layers"] if la["at_anchor"] is None]
    listed = ", ".join(f"{layer}: {f['best_step']} (SimE {_number(f['best_sim_e'])})" for layer, f in steps) or "none"
    evidence = (
        f"best steps by layer, where the layer sits on no anchor: {listed}",
        f"R² linear {_number(trend['r2_linear'])}, geometric {_number(trend['r2_geometric'])}; one trained model, "
        f"d = {record['d_input']}, {record['n_context']} examples; the interval is over prompts, not over seeds",
    )
    if trend["rate"] is None:
        return Measurement(trend["shape"], None, None, False, evidence)
    ci = tuple(trend["rate_ci"]) if trend["rate_ci"] else None
    told = f"{trend['shape']}, {trend['rate']:.2f} {unit}"
    return Measurement(f"{told} [{ci[0]:.2f}, {ci[1]:.2f}]" if ci else told, trend["rate"], ci, holds, evidence)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


NEWTON_LINEAR = Claim(
    name="fu2024/newton-linear",
    paper="fu2024",
    citation=_CITATION,
    statement="The Newton step that a layer matches best rises linearly with the layer",
    published="about 3 steps a layer over layers 3 to 9 (12 layers, d = 20)",
    recipes={"demo": "linear_regression", "paper": "linear_regression"},
    check=newton_linear,
)

GD_GEOMETRIC = Claim(
    name="fu2024/gd-geometric",
    paper="fu2024",
    citation=_CITATION,
    statement="The gradient-descent step that a layer matches best grows geometrically with the layer",
    published="4, 8, 32, 64, 256, 512, 1024 at layers 3 to 9: about 2.6 times a layer (12 layers, d = 20)",
    recipes={"demo": "linear_regression", "paper": "linear_regression"},
    check=gd_geometric,
)

ILL_CONDITIONED = (
    replace(
        NEWTON_LINEAR,
        name="fu2024/newton-linear-ill-conditioned",
        citation="Fu et al. 2024, arXiv:2310.17086, figure 4",
        statement="On ill-conditioned inputs too, the Newton step that a layer matches best rises linearly",
        published="2, 5, 9, 13, 18, 20 at layers 3 to 8: about 3.8 steps a layer (kappa = 100, 12 layers, d = 20)",
        recipes={"ill_conditioned": "linear_regression"},
    ),
    replace(
        GD_GEOMETRIC,
        name="fu2024/gd-geometric-ill-conditioned",
        citation="Fu et al. 2024, arXiv:2310.17086, figure 4",
        statement="On ill-conditioned inputs too, the gradient-descent step matched best grows geometrically",
        published="100, 200, 600, 2300, over 3000 at layers 4 to 8, eta not given (kappa = 100, 12 layers, d = 20)",
        recipes={"ill_conditioned": "linear_regression"},
    ),
)
