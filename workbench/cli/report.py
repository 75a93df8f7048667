"""``mesascope report``: one self-contained HTML file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workbench.cli.output import note, print_json, say, stage_notes
from workbench.cli.parse import default_root, parse, take_run
from workbench.cli.record import Verb

if TYPE_CHECKING:
    from workbench.opened import Run


@dataclass(frozen=True)
class Arguments:
    """Which checkpoint."""

    step: int | None = None
    """Checkpoint; the last one if not given."""
    runs: str = field(default_factory=default_root)
    """The runs folder."""
    json: bool = False
    """Print one JSON document with the report's path."""


def run(arguments: Sequence[str]) -> int:
    """Write the report of a run into its folder."""
    name, rest = take_run(arguments, VERB)
    given = parse(Arguments, rest, f"{VERB.name} RUN", VERB.help)
    from workbench.opened import open_run

    path = write_report(open_run(name, given.runs), given.step)
    if given.json:
        print_json({"schema": "mesascope/report/1", "run": name, "path": path})
    else:
        say(f"wrote {path}")
    return 0


def write_report(opened: "Run", step: int | None = None) -> str:
    """Compute what the report needs, write it, and return its path."""
    from workbench.tasks import TokenTask

    if isinstance(opened.task(), TokenTask):
        return _write_heads_report(opened, step)
    from dashboards.report import build_report
    from workbench.analyses import agree
    from workbench.claims.measure import follows_a_recipe, measure_all, measured_on

    name = opened.folder.name
    record = agree(opened, step=step, tell=stage_notes(name))
    if step is None and follows_a_recipe(opened):
        measure_all(opened)
    note(f"writing the report of {name}")
    html = build_report(opened, record, claims=measured_on(opened))
    return str(opened.folder.write_report(html))


def _write_heads_report(opened: "Run", step: int | None) -> str:
    """The report of a run on tokens."""
    from circuits.of_runs import heads, prompt_patterns, settings_of
    from dashboards.heads_report import build_heads_report

    name = opened.folder.name
    record = heads(opened, step=step, tell=stage_notes(name))
    note(f"writing the report of {name}")
    prompts = prompt_patterns(opened, record["checkpoint"], config=settings_of(record))
    return str(opened.folder.write_report(build_heads_report(opened, record, prompts)))


VERB = Verb("report", "RUN [--step N]", "write a self-contained HTML report into the run folder", run)
