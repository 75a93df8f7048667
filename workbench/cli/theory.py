"""``mesascope theory``: closed forms against trained models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workbench.against_theory.config import TheoryConfig
from workbench.cli.agreement_tables import spread, wrapped
from workbench.cli.output import number, print_json, print_table, say, stage_notes
from workbench.cli.parse import default_root, parse, take_run
from workbench.cli.record import Verb
from workbench.configs import to_data
from workbench.errors import InputError

if TYPE_CHECKING:
    from workbench.against_theory.seeds import CurveOverRuns, OverRuns, PatternOverRuns

_PLACES = 8
"""Places of a curve that a table shows."""
_CHECKPOINTS = 16
"""Checkpoints that a table shows."""
_HEADS = 12
"""Heads, each way, that a table shows."""
_OVER_TRAINING = {
    "excess": "excess risk",
    "gamma_error": "Gamma, relative error",
    "nmse": "predictions, distance over theory's square",
    "partner": "attention of layer 1 to the other token",
    "mixed_label": "gradient: input's label",
    "mixed_input": "label's input",
    "mixed_others": "other tokens",
}
"""Columns of checkpoints, those that were measured."""
_PLACES_TOLD = {
    "own": "itself",
    "label": "of an input, its label",
    "input": "of a label, its input",
    "others": "any other, mean",
}
_SHIFTED = ("at", "theory", "excess", "low", "high", "over", "over_low", "over_high", "apart")
_COLUMNS = ["quantity", "theory", "measured", "95% interval", "controls"]


@dataclass(frozen=True)
class Arguments:
    """Which checkpoint, which settings."""

    step: int | None = None
    """Checkpoint; the last one if not given."""
    settings: TheoryConfig = field(default_factory=TheoryConfig)
    """How the model is measured."""
    runs: str = field(default_factory=default_root)
    """The runs folder."""
    json: bool = False
    """Print one JSON document instead of tables."""


def run(arguments: Sequence[str]) -> int:
    """Compute or read the records of one run, or of all with such a name, and print them."""
    name, rest = take_run(arguments, VERB)
    given = parse(Arguments, rest, f"{VERB.name} RUN", VERB.help)
    from workbench.analyses import theory
    from workbench.opened import open_run
    from workbench.run_names import is_pattern, run_paths

    several = is_pattern(name)
    opened = (
        [open_run(path, given.runs) for path in run_paths(name, given.runs)]
        if several
        else [open_run(name, given.runs)]
    )
    if several:
        _check_alike([each.config for each in opened])
    records = [theory(each, given.settings, given.step, stage_notes(each.folder.name)) for each in opened]
    if several:
        _print_several(records, as_json=given.json)
    elif given.json:
        print_json(records[0])
    else:
        print_theory(records[0])
    return 0


def _check_alike(configs: Sequence[Any]) -> None:
    """Refuse runs whose theory is not the same.

    Raises:
        InputError: If tasks or models differ.
    """
    for part in ("task", "model"):
        if len({str(to_data(getattr(config, part))) for config in configs}) > 1:
            raise InputError(f"runs told of together must have one {part}; these differ. Name them one by one.")


def _print_several(records: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    from workbench.against_theory.seeds import curves_over_runs, over_runs, patterns_over_runs

    found, curves, patterns = over_runs(records), curves_over_runs(records), patterns_over_runs(records)
    if as_json:
        over = {"over_runs": found, "curves_over_runs": curves, "patterns_over_runs": patterns}
        told = {name: [to_data(one) for one in each] for name, each in over.items()}
        print_json({"schema": "mesascope/theory-runs/1", "runs": list(records), **told})
        return
    say(f"{len(records)} runs: {', '.join(record['run'] for record in records)}")
    for form in records[0]["closed_forms"]:
        rows = [row for row in found if row.closed_form == form["name"]]
        if rows:
            print_table(
                f"{form['label']}: {form['statement']}",
                ["quantity", "theory", "mean over runs", "95% interval over runs (t)", "each run"],
                [_over_row(row) for row in rows],
            )
        for curve in curves:
            if curve.closed_form == form["name"]:
                print_curve_over_runs(curve)
    if patterns:
        print_table(
            "Patterns of the weights over runs, mean over layers and heads, beside random weights of equal norm",
            ["pattern", "perfect", "mean over runs", "95% interval over runs (t)", "random [95%]", "each run"],
            [_pattern_row(pattern) for pattern in patterns],
        )
    print_faults(records[0])


def print_curve_over_runs(curve: "CurveOverRuns") -> None:
    """Theory's risk and the models' along a curve."""
    rows = [
        [f"{curve.at[i]:g}", number(curve.theory[i], 4), number(curve.mean[i], 4), _ends(_pair(curve, i))]
        for i in spread(len(curve.at), _PLACES)
    ]
    columns = [curve.label, "theory, same prompts", "mean over runs", "95% interval over runs (t)"]
    print_table(f"Excess risk by {curve.axis.replace('_', ' ')}", columns, rows)


def _pair(curve: "CurveOverRuns", place: int) -> list[float] | None:
    low, high = curve.low[place], curve.high[place]
    return None if low is None or high is None else [low, high]


def _pattern_row(found: "PatternOverRuns") -> list[str]:
    mean, low, high = map(number, found.null)
    each = "  ".join(number(value) for value in found.values)
    return [found.label, number(found.perfect, 0), number(found.mean), _ends(found.ci), f"{mean} [{low}, {high}]", each]


def _over_row(row: "OverRuns") -> list[str]:
    each = "  ".join(number(value, 4) for value in row.values)
    return [row.label, number(row.theory, 4), number(row.mean, 4), _ends(row.ci), each]


def print_theory(record: Mapping[str, Any]) -> None:
    """Theory beside measurement, then which closed forms do not describe the run, and why."""
    say(f"{record['run']} at step {record['checkpoint']}, {record['n_prompts']} prompts")
    forms = [form for form in record["closed_forms"] if form["applies"]]
    for form in forms:
        if form["rows"]:
            print_table(f"{form['label']}: {form['statement']}", _COLUMNS, [_row(row) for row in form["rows"]])
            for row in form["rows"]:
                if row["note"]:
                    say(wrapped(f"Mind: {row['label']}: {row['note']}."))
        if form["between"]:
            _print_between(form["between"])
        for shifted in form["shifted"]:
            _print_shifted(shifted)
        if form["rolled_out"]:
            _print_rolled_out(form["rolled_out"])
    for form in forms:
        if form["curve"] and form["curve"]["is_model"]:
            _print_curve(form)
    _print_references(forms)
    print_over_training(record)
    if record.get("copying"):
        print_copying(record["copying"])
    _print_implied(record)
    _print_patterns(record)
    print_faults(record)


def _print_implied(record: Mapping[str, Any]) -> None:
    """The steps that layers take, by the eigenvalues of A, and the spectra of KQ."""
    rows = [
        [f"layer {i}", number(layer["r2"]), number(layer["null"]), _several(layer["eigenvalues"])]
        for i, layer in enumerate(record.get("implied") or (), 1)
    ]
    if rows:
        columns = ["where", "share explained", "by another prompt's gradient", "eigenvalues of A, largest first"]
        print_table("Steps that layers take, p <- p - A X^T(Xp - y)/n", columns, rows)
    spectra = record["weights"].get("spectra") if record["weights"] else None
    if spectra:
        rows = [
            [where, *(_several(each) for each in (values, low, high))]
            for (where, values), (_, low), (_, high) in zip(
                *(_by_head(spectra[name]) for name in ("values", "null_low", "null_high")), strict=True
            )
        ]
        columns = ["where", "singular values over norm", "random, from", "to [95%]"]
        print_table("Spectra of KQ among the inputs, beside random weights of equal norm", columns, rows)


def _several(values: Sequence[float | None]) -> str:
    told = [number(values[i]) for i in spread(len(values), _PLACES)]
    return "  ".join(told)


def _by_head(layers: Sequence[Sequence[Any]]) -> list[tuple[str, Any]]:
    return [(f"layer {i + 1} head {j}", one) for i, heads in enumerate(layers) for j, one in enumerate(heads)]


def print_over_training(record: Mapping[str, Any]) -> None:
    """Checkpoint by checkpoint, how far the model is from theory, and where its attention between tokens stands."""
    lines = record["over_training"]
    columns = {
        name: title for name, title in _OVER_TRAINING.items() if any(line.get(name) is not None for line in lines)
    }
    if lines:
        shown = [lines[i] for i in spread(len(lines), _CHECKPOINTS)]
        rows = [[str(line["step"]), *(number(line.get(name), 4) for name in columns)] for line in shown]
        print_table("Over training", ["step", *columns.values()], rows)


def print_copying(found: Mapping[str, Any]) -> None:
    """Attention between the tokens of an example by layer and head, and what the first layer mixes into a token."""
    from workbench.against_theory.copying import WAYS

    ranked = sorted(found["partners"], key=lambda each: -abs(each["share"] - each["chance"]))
    rows = [
        [
            f"layer {each['layer']} head {each['head']}",
            WAYS[each["way"]],
            *(number(each["share"]), _ends(each["ci"]), number(each["chance"]), number(each["untrained"])),
            number(each["whole"]),
        ]
        for each in ranked[:_HEADS]
    ]
    more = "" if len(ranked) <= _HEADS else f"; the {_HEADS} farthest from chance of {len(ranked)}"
    columns = ["where", "from", "share", "95% interval", "chance", "untrained", "of"]
    print_table(f"Attention to the other token of an example, of all attention{more}", columns, rows)
    strongest = number(found["untrained"])
    say(f"The strongest of layer 1 before training: {strongest}. Last column: the size of all attention of a token.")
    rows = [
        [_PLACES_TOLD[m["place"]], number(m["size"]), _ends(m["ci"]), number(m["untrained"])] for m in found["mixed"]
    ]
    columns = ["token of the prompt", "size", "95% interval", "untrained"]
    print_table("Gradient of a token behind the first layer with respect to tokens of the prompt", columns, rows)


def _row(row: Mapping[str, Any]) -> list[str]:
    controls = ", ".join(f"{name} {number(value)}" for name, value in row["controls"].items())
    return [row["label"], number(row["theory"], 4), number(row["measured"], 4), _ends(row["ci"]), controls]


def _ends(ci: Sequence[float] | None) -> str:
    return "–" if ci is None else f"[{number(ci[0], 4)}, {number(ci[1], 4)}]"


def _print_between(way: Mapping[str, Any]) -> None:
    if way["note"]:
        say(wrapped(f"No way from here to what theory builds: {way['note']}"))
        return
    shown = spread(len(way["shares"]), 6)
    print_table(
        "Excess risk between the trained weights (0) and theory's (1), scales aligned",
        ["share", *(number(way["shares"][i], 1) for i in shown)],
        [["excess", *(number(way["excess"][i], 4) for i in shown)]],
    )


def _print_shifted(shifted: Mapping[str, Any]) -> None:
    rows = [
        [
            f"{at:g}",
            *(number(theory, 4), number(excess, 4), _ends((low, high))),
            *(number(over, 4), _ends((over_low, over_high)), number(apart, 4)),
        ]
        for at, theory, excess, low, high, over, over_low, over_high, apart in zip(
            *(shifted[name] for name in _SHIFTED), strict=True
        )
    ]
    columns = [shifted["label"], "theory, same prompts", "measured", "95% interval", "ratio", "95% interval"]
    columns.append("apart, over theory's square")
    print_table(f"Excess risk on other prompts: {shifted['axis']}", columns, rows)


def _print_rolled_out(rolled: Mapping[str, Any]) -> None:
    shown = spread(len(rolled["excess"]), _PLACES)
    rows = [[str(i), number(rolled["theory"][i], 4), number(rolled["excess"][i], 4)] for i in shown]
    title = f"Excess risk when the layer is applied again and again, damped by {rolled['damping']:g}"
    print_table(title, ["times applied", "theory's step", "the layer"], rows)


def _print_curve(form: Mapping[str, Any]) -> None:
    curve = form["curve"]
    shown = spread(len(curve["at"]), _PLACES)
    axis = {"n_examples": "examples", "input_scale": "factor on inputs"}[curve["axis"]]
    rows = [
        [
            f"{curve['at'][i]:g}",
            number(curve["theory"][i], 4),
            number(curve["measured"][i], 4),
            "–" if curve["low"][i] is None else _ends((curve["low"][i], curve["high"][i])),
        ]
        for i in shown
    ]
    print_table(f"{form['label']}: {form['statement']}", [axis, "theory", "measured", "95% interval"], rows)
    if curve["note"]:
        say(wrapped(f"Mind: {curve['note']}"))


def _print_references(forms: Sequence[Mapping[str, Any]]) -> None:
    curves = {form["label"]: form["curve"] for form in forms if form["curve"] and not form["curve"]["is_model"]}
    if not curves:
        return
    first = next(iter(curves.values()))
    shown = spread(len(first["at"]), _PLACES)
    told = [first["measured"], *(curve["theory"] for curve in curves.values())]
    rows = [[f"{first['at'][i]:g}", *(number(values[i], 4) for values in told)] for i in shown]
    print_table("Excess risk by number of examples, beside references", ["examples", "the model", *curves], rows)


def _print_patterns(record: Mapping[str, Any]) -> None:
    if record["weights"] is None:
        say(wrapped(f"Weights are not told in the coordinates of the data: {record['unfolded']}."))
        return
    rows = []
    for pattern in record["weights"]["patterns"]:
        places = zip(*(_flat(pattern[name]) for name in ("scores", "null_mean", "null_low", "null_high")), strict=True)
        for (where, score), (_, mean), (_, low), (_, high) in places:
            null = f"{number(mean)} [{number(low)}, {number(high)}]"
            rows.append([pattern["label"], where, number(score), number(pattern["perfect"], 0), null])
    print_table(
        "Patterns of the weights, beside random weights of equal norm",
        ["pattern", "where", "score", "perfect", "random [95%]"],
        rows,
    )


def _flat(scores: Sequence[Any]) -> list[tuple[str, float | None]]:
    """Scores by layer, or by layer and head, with their places."""
    if scores and isinstance(scores[0], list):
        return [(f"layer {i + 1} head {j}", value) for i, row in enumerate(scores) for j, value in enumerate(row)]
    return [(f"layer {i + 1}", value) for i, value in enumerate(scores)]


def print_faults(record: Mapping[str, Any]) -> None:
    """The closed forms that do not describe the run, each with the assumption that fails."""
    rows = [[form["name"], form["fault"]] for form in record["closed_forms"] if not form["applies"]]
    if rows:
        print_table("Closed forms that do not describe this run", ["closed form", "because"], rows)


VERB = Verb(
    "theory",
    "RUN | 'PATTERN*' [--step N] [--json]",
    "hold a trained model against closed forms; a pattern sums runs of several seeds up",
    run,
)
