"""``mesascope zoo``: the models that come with the package, trained or constructed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.cli.output import note, number, print_json, print_table, say
from workbench.cli.parse import default_root, parse
from workbench.cli.record import Verb
from workbench.errors import InputError
from workbench.registry import by_name, find


@dataclass(frozen=True)
class ListArguments:
    """How to list."""

    runs: str = field(default_factory=default_root)
    """The runs folder."""
    json: bool = False
    """Print one JSON document instead of a table."""


@dataclass(frozen=True)
class GetArguments:
    """Where the run goes."""

    out: str | None = None
    """Name of the new run; the model's if not given."""
    runs: str = field(default_factory=default_root)
    """The runs folder."""
    json: bool = False
    """Print one JSON document instead of a line."""


@dataclass(frozen=True)
class AddArguments:
    """What the zoo says of the model."""

    name: str | None = None
    """What it will be asked for by."""
    notes: str = ""
    """What is worth knowing about it."""
    step: int | None = None
    """Checkpoint; the last one if not given."""
    into: str | None = None
    """The folder of models; the package's own if not given."""
    runs: str = field(default_factory=default_root)
    """The runs folder."""
    json: bool = False
    """Print one JSON document instead of a line."""


@dataclass(frozen=True)
class AttachArguments:
    """Where the model is."""

    into: str | None = None
    """The folder of models; the package's own if not given."""
    json: bool = False
    """Print one JSON document instead of a line."""


def run(arguments: Sequence[str]) -> int:
    """List, get or add."""
    rest = list(arguments)
    if not rest:
        raise InputError(f"zoo needs one of {', '.join(ACTIONS)}: mesascope zoo {VERB.usage}.")
    if rest[0] in ("-h", "--help"):
        lines = [f"  mesascope zoo {action.name} {action.usage}: {action.help}" for action in ACTIONS.values()]
        say("\n".join([f"usage: mesascope zoo {VERB.usage}", "", VERB.help, "", *lines]))
        return 0
    return find(ACTIONS, rest[0], "zoo command").run(rest[1:])


def list_models(arguments: Sequence[str]) -> int:
    """Print every model with its task, size and what was measured."""
    given = parse(ListArguments, arguments, "zoo list", LIST.help)
    from workbench.zoo import RECIPES, cards
    from workbench.zoo.constructing import listed as listed_constructed
    from workbench.zoo.shelf import listed

    found = cards()
    constructed = [listed_constructed(recipe) for recipe in RECIPES.values()]
    if given.json:
        document = {"models": [listed(card) for card in found], "constructed": constructed}
        print_json({"schema": "mesascope/zoo/1", **document})
        return 0
    rows = [
        [
            *(card.name, card.task, f"{card.n_params:,}", f"{card.bytes / 1e6:.1f}"),
            *(number(card.measured.get(name), 4) for name in ("loss", "least_squares_loss")),
            _standing(card.name, card.sha256, given.runs),
        ]
        for card in found
    ]
    print_table(
        "Models of the zoo; a name is a RUN to every command",
        ["name", "task", "parameters", "MB", "loss", "least squares", f"in {given.runs}"],
        rows,
    )
    for card in found:
        told = "" if card.over_training is None else f"Over training: mesascope agree {card.name} --all-checkpoints"
        say(f"{card.name}: {card.data}. {card.notes} {told}".rstrip())
    _tell_constructed(constructed, given.runs)
    return 0


def _tell_constructed(models: Sequence[Mapping[str, Any]], runs: str) -> None:
    """Print the models whose weights are written down, with what was just measured on them."""
    rows = [
        [
            *(model["name"], model["algorithm"], str(model["n_layers"]), str(model["n_heads"]), str(model["d_model"])),
            *(f"{model[name]:.0e}" for name in ("error_float64", "error_float32")),
            _standing(model["name"], model["sha256"], runs),
        ]
        for model in models
    ]
    print_table(
        "Constructed models, built when asked for, and how far any layer is from its algorithm, measured now",
        ["name", "algorithm", "layers", "heads", "width", "float64", "float32", f"in {runs}"],
        rows,
    )
    for model in models:
        say(f"{model['name']}: {model['label']} ({model['source']}). {model['notes']} Off by {model['errs_by']}.")


def _standing(name: str, sha256: str, runs: str) -> str:
    """Whether a model has been put into the runs folder, or another run has its name."""
    from pathlib import Path

    from workbench.runs import RunFolder, has_traces

    path = Path(runs) / name
    if not has_traces(str(path)):
        return ""
    try:
        origin = RunFolder(path).origin or {}
    except InputError:
        return "a damaged run of that name"
    return "yes" if origin.get("sha256") == sha256 else "another run of that name, which goes first"


def _first(arguments: Sequence[str], action: Verb) -> tuple[str, list[str]]:
    """The leading name and the other arguments; a lone ``--help`` goes on to the options' help text."""
    if {"-h", "--help"} & set(arguments):
        return "", ["--help"]
    if not arguments or arguments[0].startswith("-"):
        raise InputError(f"zoo {action.name} needs a name: mesascope zoo {action.name} {action.usage}.")
    return arguments[0], list(arguments[1:])


def get_model(arguments: Sequence[str]) -> int:
    """Make a run folder of a model."""
    name, rest = _first(arguments, GET)
    given = parse(GetArguments, rest, "zoo get NAME", GET.help)
    from workbench.run_names import new_run_path
    from workbench.zoo import RECIPES, get, read_card

    if name not in RECIPES:
        read_card(name)
    folder = get(name, new_run_path(given.out or name, given.runs))
    if given.json:
        print_json({"schema": "mesascope/zoo-get/1", "model": name, "run": folder.name, "path": str(folder.path)})
    else:
        say(f"wrote {folder.path}")
        say(f"next: mesascope agree {folder.path}")
    return 0


def add_model(arguments: Sequence[str]) -> int:
    """Make a model of the zoo from a run."""
    run_name, rest = _first(arguments, ADD)
    given = parse(AddArguments, rest, "zoo add RUN", ADD.help)
    if given.name is None:
        raise InputError(f"zoo add needs --name NAME: mesascope zoo add {ADD.usage}.")
    from pathlib import Path

    from workbench.agreement.config import AgreementConfig
    from workbench.analyses import agreements, kept_over_training
    from workbench.opened import open_run
    from workbench.zoo.adding import add
    from workbench.zoo.shelf import listed

    opened = open_run(run_name, given.runs)
    step = opened.folder.resolve_step(given.step)
    kept = next(
        (record for record in reversed(agreements(opened, AgreementConfig())) if record["checkpoint"] == step), None
    )
    more = {} if kept is None else _findings(kept)
    shelf = None if given.into is None else Path(given.into)
    table = kept_over_training(opened)
    card = add(opened.folder, given.name, given.notes, step=step, more=more, over_training=table, shelf=shelf)
    if kept is None:
        note(f"no trends on the card: none are kept at step {step}; mesascope agree {opened.folder.path} makes them")
    if given.json:
        print_json({"schema": "mesascope/zoo-add/1", **listed(card)})
    else:
        loss, least = (number(card.measured[name], 4) for name in ("loss", "least_squares_loss"))
        say(f"added {card.name}: {card.n_params:,} parameters, {card.bytes} bytes, loss {loss}, least squares {least}")
    return 0


def attach_table(arguments: Sequence[str]) -> int:
    """Give a model of the zoo its table over training."""
    name, rest = _first(arguments, ATTACH)
    if name and (not rest or rest[0].startswith("-")):
        raise InputError(f"zoo attach needs a table: mesascope zoo attach {ATTACH.usage}.")
    given = parse(AttachArguments, rest[1:] if name else rest, "zoo attach NAME TABLE", ATTACH.help)
    from pathlib import Path

    from workbench.files import read_object
    from workbench.zoo.adding import attach
    from workbench.zoo.shelf import listed

    table = read_object(Path(rest[0]))
    table.pop("sha256", None)  # of a file from a run folder
    card = attach(name, table, None if given.into is None else Path(given.into))
    if given.json:
        print_json({"schema": "mesascope/zoo-attach/1", **listed(card)})
    else:
        say(f"attached {len(table['rows'])} checkpoints to {card.name}")
    return 0


def _findings(record: Mapping[str, Any]) -> dict[str, Any]:
    """What an agreement record says, as far as it belongs on a card: no verdict, since rules may change."""
    trends = {
        name: {
            "shape": trend["shape"],
            "rate": trend["rate"],
            "layers": trend["layers"],
            "r2_linear": trend["r2_linear"],
        }
        for name, trend in record["trend"].items()
    }
    return {
        "trend": trends,
        "best_steps": {
            name: [layer["families"][name]["best_step"] for layer in record["layers"]] for name in record["trend"]
        },
        "error_by_layer": [round(layer["error"], 5) for layer in record["layers"]],
        "error_by_position": [float(f"{error:.3g}") for error in record["model_error"]],
        "nearest_ridge": record.get("nearest_ridge", {}).get("strength"),
    }


LIST = Verb("list", "[--json]", "the models, their sizes and what was measured", list_models)
GET = Verb("get", "NAME [--out RUN]", "make a run of a model", get_model)
ADD = Verb("add", "RUN --name NAME [--notes TEXT]", "make a model of a run; for maintainers", add_model)
ATTACH = Verb(
    "attach",
    "NAME TABLE.json",
    "give a model what agree --all-checkpoints --json printed; for maintainers",
    attach_table,
)
ACTIONS = by_name(LIST, GET, ADD, ATTACH)
VERB = Verb(
    "zoo",
    "list | get NAME [--out RUN] | add RUN --name NAME | attach NAME TABLE.json",
    "the trained models that come along",
    run,
)
