"""``mesascope probe``: what can be decoded where, with controls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from probes.config import ProbeConfig
from workbench.cli.output import number, print_json, print_table, say, stage_notes
from workbench.cli.parse import default_root, parse, take_run
from workbench.cli.record import Verb
from workbench.errors import InputError


@dataclass(frozen=True)
class Arguments:
    """Which run, which checkpoint, which settings."""

    step: int | None = None
    """Checkpoint; the last one if not given."""
    all_checkpoints: bool = False
    """Show how scores came about instead: every checkpoint's study, each kept in the run. What was interrupted goes on
    where it was."""
    checkpoints: tuple[int, ...] = ()
    """The same for these checkpoints alone."""
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

    def __post_init__(self) -> None:
        if self.step is not None and (self.all_checkpoints or self.checkpoints):
            raise InputError("all_checkpoints and checkpoints must stand without step, which is of one. Ask twice.")


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
    from probes.over_training import probes_over_training
    from probes.results import probe
    from workbench.opened import open_run

    opened = open_run(name, given.runs)
    control = None if given.control is None else open_run(given.control, given.runs)
    if given.all_checkpoints or given.checkpoints:
        steps = None if given.all_checkpoints else given.checkpoints
        table = probes_over_training(opened, given.settings, steps, stage_notes(opened.folder.name), control)
        if given.json:
            print_json(table)
        else:
            print_probes_over_training(table)
        return 0
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
    say("V-info and code: bits per prompt saved on held-out prompts and by the online code, over a code that knows the")
    say("mean or the frequencies alone; their controls are in --json. ceiling: the best that any")
    say("function of the prompt reaches. Layer 0 is the embedding, layer l the stream after block l.")


def print_probes_over_training(table: Mapping[str, Any]) -> None:
    """For every target, method and number of examples seen, scores by checkpoint and layer, beside the highest of
    shuffled targets and of the untrained model."""
    say(f"{table['run']}: scores on held-out prompts by checkpoint and layer (0: the embedding).")
    say()
    for _, rows in groupby(sorted(table["rows"], key=lambda row: str(_heading(row))), key=_heading):
        listed = list(rows)
        measure = _measure(listed[0])
        sites = list(dict.fromkeys(_site(row) for row in listed))
        lines = []
        for step in sorted({row["checkpoint"] for row in listed}):
            here = [row for row in listed if row["checkpoint"] == step]
            beside = [_highest(here, f"{measure}_{name}") for name in ("shuffled_max", "untrained", "control")]
            lines.append([str(step), *(number(row[measure]) for row in here), *map(number, beside)])
        title, columns = _title(listed[0]), ["checkpoint", *sites, "shuffled, at most", "untrained, at most"]
        print_table(title, [*columns, "control, at most"], lines)


def _highest(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    return max((row[name] for row in rows if row[name] is not None), default=None)


def _heading(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("target", "method", "component", "n_context", "position"))


def _print_one(rows: Sequence[Mapping[str, Any]]) -> None:
    measure, title = _measure(rows[0]), _title(rows[0])
    columns = ["layer", "R²" if measure == "r2" else "accuracy", "95%", "p", "ceiling", "cosine", "mse", "shuffled"]
    columns += ["selectivity", "untrained", "embedding", "V-info", "code"]
    more = [name for name in ("control", "control_task") if any(row[f"{measure}_{name}"] is not None for row in rows)]
    columns += [name.replace("_", " ") for name in more]
    print_table(title, columns, [_cells(row, measure, more) for row in rows])
    if rows[0]["code_length"] is not None:
        _print_bits(title, rows)


def _print_bits(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """What codes of classes need, and what of that knowing activations saves; controls beside it."""
    names = {"V-info": "v_information", "shuffled": "v_information_shuffled"}
    names |= {
        "control task": "v_information_control_task",
        "online": "code_length",
        "frequencies": "code_length_marginal",
    }
    names |= {"uniform": "code_length_uniform", "saved": "code_length_saved"}
    names |= {"saved, shuffled": "code_length_saved_shuffled", "saved, control task": "code_length_saved_control_task"}
    names = {told: name for told, name in names.items() if any(row[name] is not None for row in rows)}
    lines = []
    for row in rows:
        low, high = row["v_information_ci"]
        first, *rest = (number(row[name]) for name in names.values())
        lines.append([_site(row), first, f"{number(low)} to {number(high)}", *rest])
    first, *rest = names
    print_table(f"{title}, in bits per prompt", ["layer", first, "95%", *rest], lines)


def _measure(row: Mapping[str, Any]) -> str:
    return "accuracy" if row["r2"] is None and row["accuracy"] is not None else "r2"


def _title(row: Mapping[str, Any]) -> str:
    where = "one probe for all places" if row["position"] is None else f"token {row['position']}"
    seen = "" if row["n_context"] is None else f", {row['n_context']} examples seen"
    return f"{row['target']} by {row['method']} from {row['component']} ({row['reading']}, {where}{seen})"


def _site(row: Mapping[str, Any]) -> str:
    return str(row["layer"]) if row["head"] is None else f"{row['layer']} head {row['head']}"


def _cells(row: Mapping[str, Any], measure: str, more: Sequence[str]) -> list[str]:
    low, high = row[f"{measure}_ci"]
    cells = [_site(row), number(row[measure]), f"{number(low)} to {number(high)}", number(row["p_value"])]
    cells += [number(row["ceiling"]), number(row["cosine"]), number(row["mse"]), number(row[f"{measure}_shuffled"])]
    cells += [number(row["selectivity"]), number(row[f"{measure}_untrained"]), number(row[f"{measure}_embedding"])]
    cells += [number(row["v_information"]), number(row["code_length_saved"])]
    return [*cells, *(number(row[f"{measure}_{name}"]) for name in more)]


VERB = Verb(
    "probe",
    "RUN [--step N | --all-checkpoints] [--control RUN] [--json]",
    "what can be decoded where, with controls",
    run,
)
