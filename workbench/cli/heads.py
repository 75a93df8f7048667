"""``mesascope heads``: what every attention head attends to, weighs, and is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.cli.output import number, print_json, print_table, say, stage_notes
from workbench.cli.parse import default_root, parse, take_run
from workbench.cli.record import Verb


@dataclass(frozen=True)
class Arguments:
    """Which run, which checkpoint."""

    step: int | None = None
    """Checkpoint; the last one if not given."""
    runs: str = field(default_factory=default_root)
    """The runs folder."""
    json: bool = False
    """Print one JSON document instead of tables."""


def run(arguments: Sequence[str]) -> int:
    """Measure or read the record, and print it."""
    name, rest = take_run(arguments, VERB)
    from circuits.heads import HeadsConfig

    @dataclass(frozen=True)
    class WithSettings(Arguments):
        """Which run, which checkpoint, which settings."""

        settings: HeadsConfig = field(default_factory=HeadsConfig)
        """How heads are measured."""

    given = parse(WithSettings, rest, f"{VERB.name} RUN", VERB.help)
    from circuits.of_runs import heads
    from workbench.opened import open_run

    opened = open_run(name, given.runs)
    record = heads(opened, given.settings, given.step, tell=stage_notes(opened.folder.name))
    if given.json:
        print_json(record)
    else:
        print_heads(record)
    return 0


def print_heads(record: Mapping[str, Any]) -> None:
    """The tables of a record, for people."""
    domains, heads = list(record["domains"]), record["heads"]
    say(f"{record['model']}, checkpoint {record['checkpoint']}, {record['task']['label']}")
    print_table(
        "Domains",
        ["domain", "prompts", "share of positions", "loss", "± s.e."],
        [
            (name, str(d["n_prompts"]), number(d["share_of_positions"]), *_with_error(d["loss"]))
            for name, d in record["domains"].items()
        ],
    )
    kinds = ("previous_token", "duplicate", "induction", "induction_nearest")
    print_table(
        "Where heads attend (score, chance in brackets)",
        ["head", *(kind.replace("_", " ") for kind in kinds), *(f"sink, {name}" for name in domains), "labels"],
        [
            (
                _name(head),
                *(_beside(head[kind], head["chance"][kind]) for kind in kinds),
                *(
                    _beside(head["sink_mass_by_domain"][name], head["chance"]["sink_mass_by_domain"][name])
                    for name in domains
                ),
                ", ".join(head["labels"]),
            )
            for head in heads
        ],
    )
    print_table(
        "What they weigh: norm of the first token's value through W_O over that of others; OV copying statistic; "
        "earlier head of highest composition, z in standard deviations over random directions",
        ["head", *(f"value ratio, {name}" for name in domains), "copying", "Q", "K", "V"],
        [
            (
                _name(head),
                *(number(head["value_ratio_by_domain"][name]) for name in domains),
                _beside(head["copying"], head["chance"]["copying"]),
                *(_partner(head["composition"].get(kind)) for kind in "qkv"),
            )
            for head in heads
        ],
    )
    if heads[0]["loss_changes"]:
        columns = [(kind, name) for kind in heads[0]["loss_changes"] for name in domains]
        print_table(
            "Loss change in nats without the head, ± standard error over prompts (later patterns live)",
            ["head", *(f"{kind.replace('_', ' ')}, {name}" for kind, name in columns)],
            [
                (_name(head), *(" ± ".join(_with_error(head["loss_changes"][kind][name])) for kind, name in columns))
                for head in heads
            ],
        )
    _print_extremes(record, domains)


def _print_extremes(record: Mapping[str, Any], domains: Sequence[str]) -> None:
    extreme = record["extreme"]
    print_table(
        "Sink: share of heads with alpha of the first token over epsilon (Gu et al. 2024)",
        ["domain", "T", "epsilon", "sink rate", "± s.e.", "alpha of uniform attention"],
        [
            (
                name,
                str(told["T"]),
                number(told["epsilon"]),
                number(told["rate"]),
                number(told["standard_error"]),
                number(told["uniform_alpha"]),
            )
            for name, told in extreme["sink"].items()
        ],
    )
    print_table(
        "Streams: norm at the first token over that of others; largest activation over median; channels of the sink",
        ["after layer", *(f"peak, {name}" for name in domains), "largest / median", "at", "channel", "sink channels"],
        [
            (
                str(layer["layer"]),
                *(number(layer["residual_ratio_by_domain"][name]) for name in domains),
                number(massive["ratio"], 1),
                str(massive["position"]),
                str(massive["channel"]),
                ", ".join(map(str, massive["sink_channels"][:8])) or "none",
            )
            for layer, massive in zip(record["layers"], extreme["massive"][1:], strict=True)
        ],
    )
    print_table(
        "Positions that heads rest on",
        ["position", "token", "sink share", "value ratio", "residual ratio"],
        [
            (
                str(token["position"]),
                "–" if token["token"] is None else str(token["token"]),
                *(number(token[name]) for name in ("sink_share", "value_ratio", "residual_ratio")),
            )
            for token in record["sink_tokens"]
        ],
    )


def _name(head: Mapping[str, Any]) -> str:
    return f"L{head['layer']}H{head['head']}"


def _beside(score: float | None, chance: float | None) -> str:
    return "–" if score is None else f"{number(score, 2)} ({number(chance, 2)})"


def _with_error(mean: Mapping[str, float | None]) -> tuple[str, str]:
    return number(mean["mean"]), number(mean["standard_error"])


def _partner(partner: Mapping[str, Any] | None) -> str:
    return (
        "–"
        if partner is None
        else f"{_name(partner)} {partner['score']:.2f} ({partner['chance']:.2f}), z {partner['z']:.0f}"
    )


VERB = Verb(
    "heads",
    "RUN [--step N] [--json]",
    "what every attention head attends to, weighs, and is worth",
    run,
)
