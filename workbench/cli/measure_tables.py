"""Tables of what is measured beside an agreement record: every measure by region, and forgetting."""

from collections.abc import Mapping
from typing import Any

from workbench.agreement.beside import apart, pairs
from workbench.cli.agreement_tables import spread
from workbench.cli.output import print_table

_HEADS = {
    "sim_e": "SimE",
    "spd": "SPD",
    "skill": "skill",
    "sim_w": "SimW",
    "ilwd": "ILWD",
    "sensitivity_cosine": "sensitivity cos",
    "sensitivity_distance": "distance",
    "influence_cosine": "influence cos",
    "influence_distance": "distance",
    "response_cosine": "response cos",
    "response_distance": "distance",
}
_GROUPS = (
    ("predictions and induced weights", ("sim_e", "spd", "skill", "sim_w", "ilwd")),
    (
        "gradients with respect to query (sensitivity) and labels (influence), response to w",
        tuple(name for name in _HEADS if name.startswith(("sensitivity", "influence", "response"))),
    ),
)
_WITH_MEDIAN = ("spd",)
_GAPS = 6


def print_measures(found: Mapping[str, Any]) -> None:
    """Two tables per region of context positions: each layer beside anchors and beside its own best steps.

    Args:
        found: What `workbench.analyses.measures` returned.
    """
    tables = {(table["region"], table["measure"]): table for table in found["tables"]}
    counts = found["n_prompts"]
    for region in apart(found["regions"]):
        for title, names in _GROUPS:
            shown = [(tables[region["name"], n], n) for n in names if (region["name"], n) in tables]
            heads = [head for _, n in shown for head in _heads(n)]
            rows = [
                [
                    _row_name(pair.row),
                    tell_algorithm(pair.name, pair.step, pair.options),
                    *(cell for table, n in shown for cell in _cells(table, n, pair.row_place, pair.place)),
                ]
                for pair in pairs(found)
            ]
            print_table(
                f"{region['label']}, positions {region['first']} to {region['last']}: {title}\n"
                f"mean ± half its 95% interval over prompts ({counts['predictions']} for predictions, "
                f"{counts.get('weights', 0)} for the rest)",
                ["layer", "against", *heads],
                rows,
            )
    _print_linearity(found)


def _row_name(row: str) -> str:
    return "0 emb" if row == "0" else row


def tell_algorithm(name: str, step: int | None, options: Mapping[str, Any]) -> str:
    """An algorithm in a table cell, with its steps or its strength."""
    if step is not None:
        return f"{name} {step}"
    strength = options.get("ridge")
    return name if strength is None else f"{name} {strength:.3g} (Bayes)"


def _heads(name: str) -> list[str]:
    return [_HEADS[name], f"{_HEADS[name]} median"] if name in _WITH_MEDIAN else [_HEADS[name]]


def _cells(table: Mapping[str, Any], name: str, row: int, column: int) -> list[str]:
    kinds = [("mean", "low", "high")]
    if name in _WITH_MEDIAN:
        kinds.append(("median", "median_low", "median_high"))
    return [_interval(*(table[key][row][column] for key in kind)) for kind in kinds]


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "–"
    told = f"{value:.3g}" if abs(value) >= 5e-4 or value == 0 else f"{value:.0e}"
    return told if low is None or high is None else f"{told} ±{(high - low) / 2:.1g}"


def _print_linearity(found: Mapping[str, Any]) -> None:
    shown = [region["name"] for region in apart(found["regions"])]
    labels = {region["name"]: region["label"] for region in found["regions"]}
    by_region = {each["region"]: each for each in found["linearity"]}
    if not by_region:
        return
    rows = [
        [
            _row_name(row),
            *(_interval(*(by_region[name][key][i] for key in ("mean", "low", "high"))) for name in shown),
        ]
        for i, row in enumerate(found["rows"])
    ]
    print_table(
        f"Linearity: R² of what is said of {found['n_query']} fresh queries, as a linear function of the query",
        ["layer", *(labels[name] for name in shown)],
        rows,
    )


def print_forgetting(found: Mapping[str, Any]) -> None:
    """Squared error at each example's x, asked again, by how long ago the example was given."""
    curves = [(_row_name(row), curve) for row, curve in found["rows"].items()]
    curves += [
        (tell_algorithm(each["name"], each["step"], each["options"]), curve)
        for each, curve in zip(found["algorithms"], found["of_algorithms"], strict=True)
    ]
    gaps = spread(found["n"], _GAPS)
    rows = [
        [
            name,
            *(_interval(curve["error"][gap], curve["low"][gap], curve["high"][gap]) for gap in gaps),
            _interval(curve["fresh"], None, None),
        ]
        for name, curve in curves
    ]
    print_table(
        f"Forgetting: squared error / d when the x of an example is asked again, after {found['n']} examples, "
        f"± half the 95% interval over {found['n_prompts']} prompts.\nGap 0 is the newest example",
        ["layer or algorithm", *(f"gap {gap}" for gap in gaps), "new x"],
        rows,
    )
