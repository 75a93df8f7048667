"""``mesascope sinks``: train the arms of the sink study and print each phenomenon over training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from workbench.cli.output import number, print_json, print_table, say, training_progress
from workbench.cli.parse import default_root, parse
from workbench.cli.record import Verb

_COLUMNS = {
    "Sink: attention of non-triggers on the start token, of the head that attends most to it": ("sink", "logit"),
    "Value drain: norm of the start token's value over that of others, same head": ("drain", "value_cosine"),
    "Residual peak: norm of the start token's stream over that of others, largest over layers": ("peak", "peak_norm"),
    "Learnt: back-copy and bigram risk over the law's, nats": ("backcopy", "bigram"),
}
"""Titles of the tables, and their two quantities."""


@dataclass(frozen=True)
class Arguments:
    """Which arms, how large."""

    arms: tuple[str, ...] = ()
    """Arms, by name without the leading bb3-; all if not given."""
    scale: Literal["small", "paper"] = "small"
    """Sizes: small for a CPU, paper as published."""
    seeds: int | None = None
    """Seeds of each arm; its own number if not given."""
    change: tuple[str, ...] = ()
    """Settings that win over those of all arms: train.n-batch=64, train.device=cuda."""
    prefix: str = ""
    """Begins the names of all runs."""
    runs: str = field(default_factory=default_root)
    """The runs folder; runs that are there are not trained again."""
    out: str | None = None
    """File that the record is written to as well."""
    json: bool = False
    """Print one JSON document instead of tables."""


_SHOWN = 8
"""Checkpoints in a table, about evenly spaced in log time and in linear time."""


def run(arguments: Sequence[str]) -> int:
    """Train what is not trained yet, read it, print it."""
    given = parse(Arguments, arguments, VERB.name, VERB.help)
    from circuits.sink_study import ARMS, study
    from workbench.arms import change, train_arms
    from workbench.cli.output import stage_notes
    from workbench.files import write_json
    from workbench.registry import find

    arms = [find(ARMS, f"bb3-{name}", "arm") for name in given.arms] or list(ARMS.values())
    changes = dict(change(text) for text in given.change)
    with training_progress(f"{len(arms)} arms", tell_engine=changes.get("train.device", "cpu") != "cpu") as show:
        settings = {"scale": given.scale, "prefix": given.prefix, "n_seeds": given.seeds, "changes": changes}
        trained = train_arms(arms, Path(given.runs), report=show, **settings)
    record = {**study(trained, tell=stage_notes("sinks")), "scale": given.scale, "changes": changes}
    if given.out is not None:
        write_json(Path(given.out), record)
    if given.json:
        print_json(record)
    else:
        print_study(record)
    return 0


def print_study(record: Mapping[str, Any]) -> None:
    """The tables, each phenomenon by itself."""
    _print_ends(record)
    for title, names in _COLUMNS.items():
        for axis in ("log", "linear"):
            _print_over_training(record, title, names, axis)
    _print_slopes(record)


def _print_ends(record: Mapping[str, Any]) -> None:
    cuts = record["cuts"]
    columns = ["arm", "seeds", "training failed", "copy not learnt"]
    columns += [f"sink > {cuts['sink']}", f"value ratio < {cuts['drain']}", f"stream ratio > {cuts['peak']:g}"]
    counts = ("n_seeds", "not_learnt", "with_sink", "with_drain", "with_peak")
    rows = []
    for arm in record["arms"]:
        n_seeds, *others = (str(arm[name]) for name in counts)
        rows.append((arm["arm"], n_seeds, str(len(arm["training_failed"])), *others))
    print_table("Seeds, and in how many each was found at the last checkpoint", columns, rows)
    for arm in record["arms"]:
        for seed, why in arm["training_failed"].items():
            say(f"  {arm['arm']}, seed {seed}: {why}")


def _print_over_training(record: Mapping[str, Any], title: str, names: Sequence[str], axis: str) -> None:
    steps = _steps(record, axis)
    for name in names:
        rows = []
        for arm in record["arms"]:
            by_step = {row["step"]: row[name] for row in arm["rows"]}
            rows.append((arm["arm"], *(_with_ci(by_step.get(step)) for step in steps)))
        shown = ["arm", *(f"{step}" for step in steps)]
        print_table(f"{title}: {name.replace('_', ' ')} [95% over seeds], by step, {axis} time", shown, rows)


def _steps(record: Mapping[str, Any], axis: str) -> list[int]:
    """A few of the steps that all arms were seen at."""
    every = sorted({row["step"] for arm in record["arms"] for row in arm["rows"]})
    if not every:
        return []
    last = every[-1]
    if axis == "log":
        wanted = [last ** (i / (_SHOWN - 1)) for i in range(_SHOWN)]
    else:
        wanted = [last * i / (_SHOWN - 1) for i in range(_SHOWN)]
    return sorted({min(every, key=lambda step: abs(step - target)) for target in wanted})


def _with_ci(found: Mapping[str, Any] | None) -> str:
    if found is None or found["mean"] is None:
        return "–"
    mean = number(found["mean"], 2)
    return mean if found["ci"] is None else f"{mean} [{number(found['ci'][0], 2)}, {number(found['ci'][1], 2)}]"


def _print_slopes(record: Mapping[str, Any]) -> None:
    units = {"log": "per factor e in steps", "linear": "per 1000 updates"}
    rows = [
        (
            arm["arm"],
            str(fit["layer"]),
            f"{fit['quantity'].replace('_', ' ')} {units[fit['axis']]}",
            f"{fit['from_step']:.0f} to {fit['to_step']:.0f}",
            _with_ci(fit["slope"]),
            _with_ci(fit["r2"]),
        )
        for arm in record["arms"]
        for fit in arm["fits"]
    ]
    print_table("Slopes [95% over seeds]", ["arm", "layer", "of", "steps", "slope", "R²"], rows)


VERB = Verb(
    "sinks",
    "[--arms ARM ...] [--scale small|paper] [--seeds N] [--change FIELD=VALUE ...] [--out FILE] [--json]",
    "train attention kinds and update rules side by side: sink, value drain, residual peak",
    run,
)
