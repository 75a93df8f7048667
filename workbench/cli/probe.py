"""``mesascope probe``: what can be decoded where, with controls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from probes.config import ProbeConfig
from workbench.cli.output import number, print_json, print_table, say, stage_notes
from workbench.cli.parse import default_root, parse, take_run
from workbench.cli.record import Verb


@dataclass(frozen=True)
class Arguments:
    """Which run, which checkpoint, which settings."""

    step: int | None = None
    """Checkpoint; the last one if not given."""
    settings: ProbeConfig = field(default_factory=ProbeConfig)
    """What is looked for, where, and how."""
    control: str | None = None
    """A run of the same architecture trained on something else, such as --task.weights pool --task.n-pool 1: it is
    probed beside, on the prompts of RUN."""
    list: bool = False
    """List the targets and methods there are, and stop."""
    runs: str = field(default_factory=default_root)
    """The runs folder."""
    json: bool = False
    """Print one JSON document instead of tables."""


def run(arguments: Sequence[str]) -> int:
    """Compute or read the record, and print it."""
    if "--list" in arguments and arguments[0].startswith("-"):
        print_targets()
        return 0
    name, rest = take_run(arguments, VERB)
    given = parse(Arguments, rest, f"{VERB.name} RUN", VERB.help)
    if given.list:
        print_targets()
        return 0
    from probes.results import probe
    from workbench.opened import open_run

    opened = open_run(name, given.runs)
    control = None if given.control is None else open_run(given.control, given.runs)
    record = probe(opened, given.settings, given.step, stage_notes(opened.folder.name), control)
    if given.json:
        print_json(record)
    else:
        print_probes(record)
    return 0


def print_targets() -> None:
    """The registries, for people."""
    from probes.methods import PROBES
    from probes.targets import TARGETS

    rows = [
        [
            target.name + (f":{target.argument.name.upper()}" if target.argument else ""),
            target.label,
            "the prompt" if target.from_prompt else "the generator",
            target.source,
        ]
        for target in TARGETS.values()
    ]
    print_table("What can be looked for", ["target", "what", "known to", "source"], rows)
    methods = [[probe.name, probe.label, probe.says, probe.source] for probe in PROBES.values()]
    print_table("How", ["method", "what", "says", "source"], methods)


def print_probes(record: Mapping[str, Any]) -> None:
    """A table for every target, method and number of examples seen."""
    config = record["config"]
    say(
        f"{record['run']} at step {record['checkpoint']}: probes fitted on {config['n_fit']} prompts, scored on "
        f"{config['n_prompts']} others."
    )
    say()
    for _, rows in groupby(record["rows"], key=_heading):
        listed = list(rows)
        _print_one(listed)
    say("shuffled: fitted to targets of other prompts. selectivity: score less that of such targets at equal strength.")
    say("control task: every type of prompt, such as which w of a pool, has the target of a random type.")
    say("V-info and code: bits per prompt saved on held-out prompts and by the online code. ceiling: the best that any")
    say("function of the prompt reaches. Layer 0 is the embedding, layer l the stream after block l.")


def _heading(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("target", "method", "component", "n_context", "position"))


def _print_one(rows: Sequence[Mapping[str, Any]]) -> None:
    first = rows[0]
    measure = "accuracy" if first["r2"] is None and first["accuracy"] is not None else "r2"
    where = "one probe for all places" if first["position"] is None else f"token {first['position']}"
    seen = "" if first["n_context"] is None else f", {first['n_context']} examples seen"
    title = f"{first['target']} by {first['method']} from {first['component']} ({first['reading']}, {where}{seen})"
    columns = ["layer", "R²" if measure == "r2" else "accuracy", "95%", "p", "ceiling", "cosine", "mse", "shuffled"]
    columns += ["selectivity", "untrained", "embedding", "V-info", "code"]
    more = [name for name in ("control", "control_task") if any(row[f"{measure}_{name}"] is not None for row in rows)]
    columns += [name.replace("_", " ") for name in more]
    print_table(title, columns, [_cells(row, measure, more) for row in rows])


def _cells(row: Mapping[str, Any], measure: str, more: Sequence[str]) -> list[str]:
    low, high = row[f"{measure}_ci"]
    name = str(row["layer"]) if row["head"] is None else f"{row['layer']} head {row['head']}"
    cells = [name, number(row[measure]), f"{number(low)} to {number(high)}", number(row["p_value"])]
    cells += [number(row["ceiling"]), number(row["cosine"]), number(row["mse"]), number(row[f"{measure}_shuffled"])]
    cells += [number(row["selectivity"]), number(row[f"{measure}_untrained"]), number(row[f"{measure}_embedding"])]
    cells += [number(row["v_information"]), number(row["code_length_saved"])]
    return [*cells, *(number(row[f"{measure}_{name}"]) for name in more)]


VERB = Verb("probe", "RUN [--step N] [--control RUN] [--json]", "what can be decoded where, with controls", run)
