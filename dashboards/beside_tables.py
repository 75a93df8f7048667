"""Tables of what is measured beside agreement, and of how it came about, in the words that app and report share."""

from collections.abc import Mapping, Sequence
from typing import Any

from dashboards.figures.measures import tell_pair
from dashboards.figures.over_training import part_of_row
from dashboards.tables import Table
from dashboards.theme import Number, layer_label, number, number_interval, region_label, short_label
from workbench.agreement.beside import OUTPUT, pairs

_GROUPS = (
    ("Predictions", (("sim_e", "SimE"), ("spd", "SPD"), ("skill", "skill"))),
    ("Induced weights", (("sim_w", "SimW"), ("ilwd", "ILWD"))),
    ("Gradient by query", (("sensitivity_cosine", "cosine"), ("sensitivity_distance", "distance"))),
    ("Gradient by labels", (("influence_cosine", "cosine"), ("influence_distance", "distance"))),
    ("Response to w", (("response_cosine", "cosine"), ("response_distance", "distance"))),
)

MEASURE_NOTE = (
    "Each cell: mean over prompts and positions [95 % bootstrap interval over prompts], then the median over prompts. "
    "Gradient descent, Newton and others stand at the layer's own best step; the output at that of the last layer. "
    "SPD over t < d is MSPD. Skill is 1 − SPD / SPD of the zero predictor."
)


def measure_table(found: Mapping[str, Any], region: str) -> Table:
    """Every measure of every layer in one region, against anchors and its own best steps.

    Args:
        found: A record of measures.
        region: Name of the region.
    """
    tables = {table["measure"]: table for table in found["tables"] if table["region"] == region}
    shown = [(group, name, title) for group, names in _GROUPS for name, title in names if name in tables]
    columns = [("", "Layer"), ("", "Against"), *((group, title) for group, _, title in shown)]
    rows = [
        (
            _row_label(pair.row),
            tell_pair(pair),
            *(_cell(tables[name], pair.row_place, pair.place) for _, name, _ in shown),
        )
        for pair in pairs(found)
    ]
    return Table(tuple(columns), tuple(rows))


def _row_label(row: str) -> str:
    return "out" if row == OUTPUT else layer_label(int(row))


def _cell(table: Mapping[str, Any], row: int, place: int) -> str:
    mean, low, high, median = (table[key][row][place] for key in ("mean", "low", "high", "median"))
    return "–" if mean is None else f"{_short(mean)} [{_short(low)}, {_short(high)}] · {_short(median)}"


def _short(value: Number) -> str:
    if value is None:
        return "–"
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.3g}"


def linearity_table(found: Mapping[str, Any]) -> Table:
    """R² of the linear fit behind induced weights, by region.

    Args:
        found: A record of measures.
    """
    labels = {region["name"]: region_label(region) for region in found["regions"]}
    by_region = found["linearity"]
    columns = [("", "Layer"), *(("Linearity in the query, R²", labels[each["region"]]) for each in by_region)]
    rows = [
        (
            _row_label(row),
            *(f"{number(e['mean'][i])} {number_interval((e['low'][i], e['high'][i]))}" for e in by_region),
        )
        for i, row in enumerate(found["rows"])
    ]
    return Table(tuple(columns), tuple(rows))


OVER_TRAINING_NOTE = (
    "Best steps from the embedding to the last layer; * sits on an anchor and takes no part in trends. Rates: + steps "
    "more a layer, × times as many a layer, with 95 % bootstrap intervals over prompts; R² of the straight line "
    "through steps | through their logarithms."
)


def over_training_table(table: Mapping[str, Any], *, final_norm: bool = False) -> Table:
    """A row per checkpoint: errors of the output, best steps and trends of every algorithm, verdict.

    Args:
        table: A table over training.
        final_norm: Whether layers are read through the final norm.
    """
    families = list(part_of_row(table["rows"][0], final_norm=final_norm)["trend"])
    last = table["scored_positions"][1]
    columns = [("", "Step"), ("", "Verdict"), ("Error / d", "mean"), ("Error / d", f"at t = {last}")]
    columns += [(short_label(name), title) for name in families for title in ("best steps", "rate", "R²")]
    rows = (_over_training_row(table, row, families, final_norm=final_norm) for row in table["rows"])
    return Table(tuple(columns), tuple(rows))


def _over_training_row(
    table: Mapping[str, Any], row: Mapping[str, Any], families: Sequence[str], *, final_norm: bool
) -> tuple[str, ...]:
    first, last = table["scored_positions"]
    part = part_of_row(row, final_norm=final_norm)
    known = [error for error in row["model_error"][first : last + 1] if error is not None]
    cells = [str(row["checkpoint"]), tell_verdict(part["verdict"])]
    cells.append(number(sum(known) / len(known) if known else None, 4))
    cells.append(number(row["model_error"][last], 4))
    for name in families:
        trend = part["trend"][name]
        cells += [
            _best_steps(part["layers"], name),
            _rate(trend),
            f"{_r2(trend, 'linear')} | {_r2(trend, 'geometric')}",
        ]
    return tuple(cells)


def _best_steps(layers: Sequence[Mapping[str, Any]], name: str) -> str:
    return " ".join(f"{layer['families'][name]['best_step']}{'*' if layer['at_anchor'] else ''}" for layer in layers)


def _rate(trend: Mapping[str, Any]) -> str:
    rate: Number = trend["rate"]
    if rate is None:
        return "–"
    return f"{'+' if trend['shape'] == 'linear' else '×'}{number(rate, 2)} {number_interval(trend['rate_ci'], 2)}"


def _r2(trend: Mapping[str, Any], shape: str) -> str:
    return number(trend[f"r2_{shape}"])


def tell_verdict(verdict: Mapping[str, Any] | None) -> str:
    """A verdict in a word or two; what is nearest, where it abstains."""
    if verdict is None:
        return "by older rules"
    if verdict["abstained"]:
        return f"abstains; nearest {short_label(verdict['nearest'])}" if verdict.get("nearest") else "abstains"
    return short_label(verdict["algorithm"])
