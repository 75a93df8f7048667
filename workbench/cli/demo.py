"""``mesascope demo``: train, analyse, report and serve one small model."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workbench.cli.dash import port_fault
from workbench.cli.output import say, stage_notes
from workbench.cli.parse import default_root, parse
from workbench.cli.record import Verb
from workbench.errors import InputError, refuse_faults

if TYPE_CHECKING:
    from workbench.runs import RunFolder

_TASK, _PRESET, _RUN = "linear_regression", "demo", "demo"


@dataclass(frozen=True)
class Arguments:
    """What to do after the analysis."""

    serve: bool = True
    """Serve the app at the end."""
    port: int = 8050
    """TCP port of the app."""
    runs: str = field(default_factory=default_root)
    """The runs folder; the run is called demo."""

    def __post_init__(self) -> None:
        refuse_faults([port_fault(self.port)])


def run(arguments: Sequence[str]) -> int:
    """The tour; what is done already is read, not done again."""
    given = parse(Arguments, arguments, VERB.name, VERB.help)
    from workbench.cli.agree import print_agreement
    from workbench.cli.claims import print_claims
    from workbench.cli.dash import serve_runs
    from workbench.cli.report import write_report
    from workbench.cli.train import report_training
    from workbench.opened import Run

    folder = _demo_folder(given.runs)
    if folder.status().state != "finished":
        status = report_training(folder, as_json=False)
        if status:
            return status
    opened = Run(folder)
    from workbench.analyses import agree
    from workbench.claims.measure import measure_all

    print_agreement(agree(opened, tell=stage_notes(_RUN)))
    print_claims(measure_all(opened))
    say(f"report: {write_report(opened)}")
    return serve_runs(given.runs, "127.0.0.1", given.port) if given.serve else 0


def _demo_folder(root: str) -> "RunFolder":
    """The demo's run folder, made if it is not there."""
    from workbench.cli.train import create_run
    from workbench.run_names import run_path
    from workbench.runs import RunFolder
    from workbench.training.config import preset_config

    config = preset_config(_TASK, _PRESET).resolved()
    path = run_path(_RUN, root)
    if not path.exists():
        return create_run(config, path)
    folder = RunFolder.open(path)
    if folder.config() != config.to_data():
        raise InputError(f"{path} must hold the demo; it has another config. Move it away or set MESASCOPE_RUNS.")
    return folder


VERB = Verb("demo", "[--no-serve] [--port P]", "train, analyse, report and serve one small model", run)
