"""The command line: one verb per file, each parsing its arguments, calling the library, printing what came back."""

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress

from workbench.cli.agree import VERB as AGREE
from workbench.cli.bench import VERB as BENCH
from workbench.cli.claims import VERB as CLAIMS
from workbench.cli.dash import VERB as DASH
from workbench.cli.demo import VERB as DEMO
from workbench.cli.heads import VERB as HEADS
from workbench.cli.import_garg import VERB as IMPORT_GARG
from workbench.cli.listing import ALGORITHMS_VERB, MODELS_VERB, TASKS_VERB
from workbench.cli.probe import VERB as PROBE
from workbench.cli.report import VERB as REPORT
from workbench.cli.sinks import VERB as SINKS
from workbench.cli.steer import VERB as STEER
from workbench.cli.theory import VERB as THEORY
from workbench.cli.train import VERB as TRAIN
from workbench.cli.zoo import VERB as ZOO
from workbench.errors import InputError
from workbench.processes import n_together
from workbench.registry import by_name, find

VERBS = by_name(
    DEMO,
    TASKS_VERB,
    MODELS_VERB,
    ALGORITHMS_VERB,
    TRAIN,
    IMPORT_GARG,
    AGREE,
    HEADS,
    SINKS,
    THEORY,
    PROBE,
    STEER,
    CLAIMS,
    REPORT,
    DASH,
    BENCH,
    ZOO,
)

_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "passive",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_MODE": "offline",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Set before torch loads, unless the user has: spinning OpenMP threads can cost a factor of ten."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done; 1 a failure while running; 2 wrong input; 130 interrupted.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(overview())
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"mesascope {version('mesascope')}\n")
        return 0
    status = _run(words[0], words[1:])
    if status and n_together() > 1:
        _leave(status)
    return status


def _leave(status: int) -> None:
    """End here and now: at their own end, libraries would wait for other processes, which may be gone."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(status)


def _run(name: str, arguments: Sequence[str]) -> int:
    try:
        status = find(VERBS, name, "command").run(arguments)
        sys.stdout.flush()  # a closed pipe is told here, and not by the interpreter at its exit
        return status
    except InputError as error:
        return _tell(f"mesascope {name}: {error}" if name in VERBS else f"mesascope: {error}", 2)
    except KeyboardInterrupt:
        return _tell(f"mesascope {name}: interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get("MESASCOPE_DEBUG"):
            traceback.print_exc()
        hint = "set MESASCOPE_DEBUG=1 for the traceback"
        return _tell(f"mesascope {name} failed: {type(error).__name__}: {error} ({hint})", 1)


def _tell(message: str, status: int) -> int:
    sys.stderr.write(" ".join(message.split()) + "\n")
    return status


def overview() -> str:
    """The help text of the whole command."""
    width = max(len(name) for name in VERBS)
    lines = [f"  {verb.name:<{width}}  {verb.help}" for verb in VERBS.values()]
    usages = [f"  mesascope {verb.name} {verb.usage}" for verb in VERBS.values()]
    return "\n".join(
        [
            "mesascope: which learning algorithm does a transformer run in its forward pass?",
            "",
            *lines,
            "",
            "usage:",
            *usages,
            "",
            "mesascope COMMAND --help tells the options of a command. RUN is a name in the runs folder (./runs, or",
            "MESASCOPE_RUNS), a path to a run folder, or the name of a model of the zoo. Exit status: 0 done, 1 failed",
            "while running, 2 wrong input, 130 interrupted.",
            "",
        ]
    )
