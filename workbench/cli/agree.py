"""``mesascope agree``: layer-by-layer agreement with the reference algorithms."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workbench.agreement.config import AgreementConfig
from workbench.cli.agreement_tables import print_filters, print_nearness, print_verdict, tell_ridge, wrapped
from workbench.cli.measure_tables import print_forgetting, print_measures
from workbench.cli.output import number, print_json, print_table, say, stage_notes
from workbench.cli.over_training_tables import print_over_training, tell_rate
from workbench.cli.parse import default_root, parse, take_run
from workbench.cli.record import Verb
from workbench.errors import InputError

if TYPE_CHECKING:
    from workbench.opened import Run


_BESIDE = 4
"""Algorithms whose best steps fit beside each other."""


@dataclass(frozen=True)
class Arguments:
    """Which run, which checkpoint, which settings."""

    step: int | None = None
    """Checkpoint; the last one if not given."""
    settings: AgreementConfig = field(default_factory=AgreementConfig)
    """How layers are read out and compared."""
    final_norm: bool = False
    """Show the layers read through the model's final norm. Both readings are in the JSON."""
    measures: bool = False
    """Also measure every layer against zero, least squares, Bayes and its own best steps, by region of positions: SimE,
    SPD, skill, induced weights (SimW, ILWD, linearity), gradients by query and by labels. Kept in the run."""
    null: tuple[str, ...] = ()
    """Runs of other tasks with prompts of the same shape. If the layers of one of their models, read out on this task's
    prompts, are given the same name, there is no verdict."""
    forgetting: bool = False
    """Also ask every layer for its examples again, newest to oldest. Kept in the run."""
    all_checkpoints: bool = False
    """Show how it all came about instead: every checkpoint's best steps, trends and verdict in one table, kept in the
    run. What was interrupted goes on where it was."""
    checkpoints: tuple[int, ...] = ()
    """The same for these checkpoints alone."""
    runs: str = field(default_factory=default_root)
    """The runs folder."""
    json: bool = False
    """Print one JSON document instead of tables."""

    def __post_init__(self) -> None:
        if self.over_training and (self.step is not None or self.measures or self.forgetting):
            raise InputError(
                "all_checkpoints and checkpoints must stand without step, measures and forgetting, which are of one "
                "checkpoint. Ask twice."
            )
        if self.over_training and self.null:
            raise InputError(
                "null must stand without all_checkpoints and checkpoints. Ask for one checkpoint's verdict."
            )

    @property
    def over_training(self) -> bool:
        """Whether many checkpoints are asked for."""
        return self.all_checkpoints or bool(self.checkpoints)


def run(arguments: Sequence[str]) -> int:
    """Compute or read the record, and print it."""
    name, rest = take_run(arguments, VERB)
    given = parse(Arguments, rest, f"{VERB.name} RUN", VERB.help)
    from workbench.opened import open_run

    opened = open_run(name, given.runs)
    if given.over_training:
        return _show_over_training(opened, given)
    from workbench.analyses import agree

    tell = stage_notes(opened.folder.name)
    others = [open_run(other, given.runs) for other in given.null]
    record = agree(opened, given.settings, given.step, tell=tell, others=others)
    beside = _beside(opened, given, tell)
    if given.step is None and given.settings == AgreementConfig():
        from workbench.claims.measure import follows_a_recipe, measure_all

        if follows_a_recipe(opened):
            measure_all(opened)  # what `mesascope claims` shows
    if given.json:
        print_json({**record, **beside})
    else:
        print_agreement(record, final_norm=given.final_norm, beside=beside)
    return 0


def _show_over_training(opened: "Run", given: Arguments) -> int:
    """Compute or read the table over training, and print it."""
    from workbench.analyses import over_training

    steps = None if given.all_checkpoints else given.checkpoints
    table = over_training(opened, given.settings, steps, stage_notes(opened.folder.name))
    if given.json:
        print_json(table)
    else:
        print_over_training(table, final_norm=given.final_norm)
    return 0


def _beside(opened: "Run", given: Arguments, tell: Callable[[str], None]) -> dict[str, Any]:
    """What is asked for beside the record, under its name in the document."""
    from workbench import analyses

    asked = {"measures": (given.measures, analyses.measures), "forgetting": (given.forgetting, analyses.forgetting)}
    return {
        name: analyse(opened, given.settings, given.step, tell, final_norm=given.final_norm)
        for name, (wanted, analyse) in asked.items()
        if wanted
    }


def print_agreement(
    record: Mapping[str, Any], *, final_norm: bool = False, beside: Mapping[str, Any] | None = None
) -> None:
    """The tables of a record and of what was measured beside it, for people; the verdict's sentence comes last."""
    reading = record["final_norm"] if final_norm and record["final_norm"] else record
    families = list(reading["layers"][0]["families"])
    anchors = list(reading["layers"][0]["anchors"])
    how = "through the final norm" if reading is not record else "read as they are"
    first, last = record["scored_positions"]
    head = (
        f"{record['run']} at step {record['checkpoint']}: layers {how}, {record['n_prompts']} prompts, "
        f"positions {first} to {last}.\n"
    )
    for names in batched(families, _BESIDE):
        print_table(
            f"{head}Best step and SimE there, ± half the 95% interval over prompts; then SimE with the anchors",
            ["layer", "error/d", *names, *anchors, "sits on"],
            [_row(layer, names, anchors) for layer in reading["layers"]],
        )
        head = ""
    for names in batched(families, 2 * _BESIDE):
        print_table(
            "Controls: SimE at the same step with the algorithm run on another prompt | of the untrained model's layer",
            ["layer", *names],
            [_control_row(layer, names) for layer in reading["layers"]],
        )
    rows = [_trend_row(name, trend) for name, trend in reading["trend"].items()]
    print_table(
        "Trend of the best step over layers that sit on no anchor",
        ["algorithm", "shape", "rate per layer [95% over prompts]", "layers", "R² linear", "R² geometric"],
        rows,
    )
    for warning in record.get("warnings", ()):
        say(wrapped(f"Mind: {warning}"))
    beside = beside or {}
    if "measures" in beside:
        print_measures(beside["measures"])
    if "forgetting" in beside:
        print_forgetting(beside["forgetting"])
    if "fingerprint" in reading:
        print_filters(reading["fingerprint"])
    print_nearness(reading["verdict"])
    if "nearest_ridge" in record:
        say(wrapped(tell_ridge(record["nearest_ridge"])))
        say()
    print_verdict(reading["verdict"])


def batched(names: Sequence[str], at_most: int) -> list[Sequence[str]]:
    """The names in groups that fit beside each other."""
    return [names[i : i + at_most] for i in range(0, len(names), at_most)]


def _row(layer: Mapping[str, Any], families: Sequence[str], anchors: Sequence[str]) -> list[str]:
    cells = [_layer_name(layer), number(layer["error"], 4)]
    for name in families:
        f = layer["families"][name]
        cells.append(f"{f['best_step']:>4}  {number(f['best_sim_e'])} ±{half_width(f['ci'])}")
    cells += [number(layer["anchors"][name]) for name in anchors]
    return [*cells, layer["at_anchor"] or ""]


def _control_row(layer: Mapping[str, Any], families: Sequence[str]) -> list[str]:
    cells = [layer["families"][name] for name in families]
    return [_layer_name(layer), *(f"{number(f['chance'])} | {number(f['untrained'])}" for f in cells)]


def _layer_name(layer: Mapping[str, Any]) -> str:
    return str(layer["layer"]) if layer["layer"] else "0 emb"


def half_width(ci: Sequence[float | None]) -> str:
    """Half of an interval, for a table cell."""
    low, high = ci
    return "–" if low is None or high is None else f"{(high - low) / 2:.3f}"


def _trend_row(name: str, trend: Mapping[str, Any]) -> list[str]:
    span = f"{trend['layers'][0]} to {trend['layers'][1]}" if trend["layers"] else "–"
    return [name, trend["shape"], tell_rate(trend), span, number(trend["r2_linear"]), number(trend["r2_geometric"])]


VERB = Verb(
    "agree",
    "RUN [--step N | --all-checkpoints] [--measures] [--forgetting] [--json]",
    "compare every layer with the reference algorithms; the verdict comes last",
    run,
)
