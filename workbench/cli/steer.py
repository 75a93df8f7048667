"""``mesascope steer``: what is predicted when decoded weights are replaced, or erased."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from probes.steering_config import SteeringConfig
from workbench.cli.output import number, print_json, print_table, say, stage_notes
from workbench.cli.parse import default_root, parse, take_run
from workbench.cli.record import Verb


@dataclass(frozen=True)
class Arguments:
    """Which run, which checkpoint, which settings."""

    step: int | None = None
    """Checkpoint; the last one if not given."""
    settings: SteeringConfig = field(default_factory=SteeringConfig)
    """What is replaced and erased, where, and against how many random directions."""
    runs: str = field(default_factory=default_root)
    """The runs folder."""
    json: bool = False
    """Print one JSON document instead of tables."""


def run(arguments: Sequence[str]) -> int:
    """Compute or read the record, and print it."""
    name, rest = take_run(arguments, VERB)
    given = parse(Arguments, rest, f"{VERB.name} RUN", VERB.help)
    from probes.steering_results import steering
    from workbench.opened import open_run

    opened = open_run(name, given.runs)
    record = steering(opened, given.settings, given.step, stage_notes(opened.folder.name))
    if given.json:
        print_json(record)
    else:
        print_steering(record)
    return 0


def print_steering(record: Mapping[str, Any]) -> None:
    """For every target, number of examples and set of tokens a table of steering and one of erasing."""
    config = record["config"]
    say(
        f"{record['run']} at step {record['checkpoint']}: probes fitted on {config['n_fit']} prompts, the stream "
        f"changed on {config['n_prompts']} others, {config['n_draws']} draws of random directions."
    )
    say()
    for (target, n, tokens), rows in groupby(record["rows"], key=lambda row: _heading(row)):
        listed = list(rows)
        title = f"{target}, {n} examples seen, tokens changed: {tokens}"
        _print_steered(title, listed)
        _print_erased(title, listed)
    say("slope: of w'.x in predictions after w was replaced by w'; kept: of the prediction before. 1 and 0 where the")
    say("model predicts with what was put in, 0 and 1 where it does not know of it. Not replaced where R² is below")
    say(f"{config['least_r2']}. length: of the move, over that between two prompts. error and to OLS: squared, over d.")
    say("untrained: the slope of the model before training, moved by probes of its own.")
    say("random: moves of equal length along, and erasure of as many, random directions; 95% of draws.")
    say(
        "excess: above the mean of those, 95% over prompts. Layer 0 is the embedding, layer l the stream after block l."
    )


def _heading(row: Mapping[str, Any]) -> tuple[Any, ...]:
    alone = f"{row['tokens']} ({row['positions'][0]})" if row["tokens"] == "each" else row["tokens"]
    return row["target"], row["n_context"], alone


def _print_steered(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    told = [(row, row["steered"]) for row in rows if row["steered"] is not None]
    if not told:
        say(f"Replacing {title}: nothing to replace, no probe decodes it or it has another size than x")
        say()
        return
    columns = ["layer", "R²", "tokens", "slope", "95%", "random", "95% of draws", "p", "untrained", "kept", "95%"]
    columns += ["length"]
    print_table(f"Replacing {title}", columns, [_steered_cells(*each) for each in told])


def _steered_cells(row: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    cells = [str(row["layer"]), number(row["r2"]), str(found["n_tokens"]), number(found["slope"])]
    cells += [_span(found["slope_ci"]), number(found["random"]), _span(found["random_range"])]
    untrained = None if row["untrained"] is None else row["untrained"]["slope"]
    cells += [number(found["p_value"]), number(untrained), number(found["kept"]), _span(found["kept_ci"])]
    return [*cells, number(found["length"])]


def _print_erased(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = ["layer", "rank", "error before", "error", "random", "excess", "p"]
    columns += ["to OLS before", "to OLS", "random", "excess", "p"]
    print_table(f"Erasing {title}", columns, [_erased_cells(row) for row in rows])


def _erased_cells(row: Mapping[str, Any]) -> list[str]:
    found = row["erased"]
    cells = [str(row["layer"]), str(found["rank"])]
    for name in ("error", "to_ols"):
        loss = found[name]
        cells += [number(found[f"{name}_before"]), number(loss["value"]), number(loss["random"])]
        cells += [_span(loss["excess_ci"]), number(loss["p_value"])]
    return cells


def _span(ends: Sequence[float]) -> str:
    return f"{number(ends[0])} to {number(ends[1])}"


VERB = Verb("steer", "RUN [--step N] [--json]", "what is predicted when decoded weights are replaced or erased", run)
