"""Tables of a theory record."""

from collections.abc import Mapping
from typing import Any

from dashboards.tables import Table
from dashboards.theme import number, number_interval

THEORY_NOTE = (
    "Intervals are 95 % bootstrap over blocks of prompts; what weights alone say has none. Controls are the same "
    "quantity of what theory does not describe: the model before training, the best multiple of I or of the inverse "
    "covariance, another prompt."
)


def theory_table(record: Mapping[str, Any]) -> Table:
    """Every quantity by theory and as measured.

    Args:
        record: A theory record.
    """
    columns = [("", title) for title in ("Closed form", "Quantity", "Theory", "Measured", "95 % interval", "Controls")]
    rows = [
        (form["label"], row["label"], number(row["theory"], 4), number(row["measured"], 4), _ends(row), _beside(row))
        for form in record["closed_forms"]
        for row in form["rows"]
    ]
    return Table(tuple(columns), tuple(rows))


def _ends(row: Mapping[str, Any]) -> str:
    return number_interval(row["ci"], 4)


def _beside(row: Mapping[str, Any]) -> str:
    controls = [f"{name} {number(value)}" for name, value in row["controls"].items()]
    return "; ".join([*controls, *([row["note"]] if row["note"] else [])])


BETWEEN_NOTE = (
    "Excess risk, in units of y², of models whose KQ and OV lie so far on the way from trained (0) to theory's "
    "(1), after the scales that one may pass to the other are made the same."
)
_SHARES = (0.0, 0.2, 0.5, 0.8, 1.0)


def between_table(record: Mapping[str, Any]) -> Table:
    """The risk between trained and constructed weights, one row for each closed form that builds a model.

    Args:
        record: A theory record.
    """
    columns = [("", "Closed form"), *(("", f"{share:g}") for share in _SHARES)]
    ways = [(form["label"], form["between"]) for form in record["closed_forms"] if form.get("between")]
    rows = [
        (label, *(number(way["excess"][way["shares"].index(share)], 4) for share in _SHARES))
        for label, way in ways
        if not way["note"]
    ]
    return Table(tuple(columns), tuple(rows))


COPYING_NOTE = (
    "Share of a head's attention that goes to the other token of the same example, of the size of scores where they "
    "have signs, a sink's among it. Chance is attention spread evenly over all tokens that are seen. Gradients are "
    "those of the sum of a token's coordinates behind the first layer with respect to tokens of the prompt it sees, "
    "averaged over prompts first."
)
_WAYS = {"label": "an input looks at its label", "input": "a label looks at its input"}
_PLACES = {
    "own": "gradient: itself",
    "label": "gradient: of an input, its label",
    "input": "gradient: of a label, its input",
    "others": "gradient: any other token",
}
_MOST = 12


def copying_table(record: Mapping[str, Any]) -> Table:
    """Attention between inputs and labels by layer and head, those farthest from chance first, and what layer 1 mixes.

    Args:
        record: A theory record.
    """
    found = record.get("copying")
    columns = [("", title) for title in ("Where", "What", "Measured", "95 % interval", "Chance", "Untrained")]
    if not found:
        return Table(tuple(columns), ())
    ranked = sorted(found["partners"], key=lambda each: -abs(each["share"] - each["chance"]))[:_MOST]
    rows = [
        (
            f"Layer {each['layer']}, head {each['head']}",
            _WAYS[each["way"]],
            *(number(each["share"]), _ends(each), number(each["chance"]), number(each["untrained"])),
        )
        for each in ranked
    ]
    mixed = [
        ("Behind layer 1", _PLACES[each["place"]], number(each["size"]), _ends(each), "–", number(each["untrained"]))
        for each in found["mixed"]
    ]
    return Table(tuple(columns), (*rows, *mixed))


def fault_table(record: Mapping[str, Any]) -> Table:
    """Closed forms that do not describe the run, and the assumption that fails.

    Args:
        record: A theory record.
    """
    columns = (("", "Closed form"), ("", "Does not describe this run, for"))
    rows = [(form["label"], form["fault"]) for form in record["closed_forms"] if not form["applies"]]
    return Table(columns, tuple(rows))
