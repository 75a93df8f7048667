"""``mesascope import-garg``: a model of Garg et al.'s code as a run."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workbench.cli.output import note, print_json, say
from workbench.cli.parse import default_root, parse
from workbench.cli.record import Verb
from workbench.errors import InputError


@dataclass(frozen=True)
class Arguments:
    """Where the run goes."""

    out: str | None = None
    """Name or path of the new run; it must be given."""
    runs: str = field(default_factory=default_root)
    """The runs folder."""
    json: bool = False
    """Print one JSON document at the end."""


def run(arguments: Sequence[str]) -> int:
    """Make the run folder, and say what of the original it does not say."""
    rest = list(arguments)
    wants_help = {"-h", "--help"} & set(rest)
    source = rest.pop(0) if rest and not rest[0].startswith("-") else None
    given = parse(Arguments, ["--help"] if wants_help else rest, f"{VERB.name} DIR", VERB.help)
    if source is None or given.out is None:
        raise InputError(f"{VERB.name} needs a folder and a name: mesascope {VERB.name} {VERB.usage}.")
    if not os.path.isdir(source):
        raise InputError(f"DIR must be a folder with config.yaml and state.pt; got {source!r}.")
    from workbench.new_runs import taken
    from workbench.run_names import new_run_path

    path = new_run_path(given.out, given.runs)
    if os.path.lexists(path):
        raise taken(path)
    from workbench.importers.garg import import_garg

    found = import_garg(Path(source), path)
    if given.json:
        run_told = {"run": found.folder.name, "path": str(found.folder.path)}
        said = {"checkpoints": list(found.steps), "notes": list(found.notes)}
        print_json({"schema": "mesascope/import-garg/1", **run_told, **said})
        return 0
    for told in found.notes:
        note(f"note: {told}")
    say(f"imported {found.folder.path}: checkpoints {', '.join(map(str, found.steps))}")
    say(f"next: mesascope agree {found.folder.path}")
    return 0


VERB = Verb("import-garg", "DIR --out RUN", "make a run of a checkpoint of Garg et al.'s code", run)
