"""``mesascope dash``: the web app."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.cli.parse import default_root, parse
from workbench.cli.record import Verb
from workbench.errors import InputError, must, refuse_faults


@dataclass(frozen=True)
class Arguments:
    """Where the app listens."""

    port: int = 8050
    """TCP port."""
    host: str = "127.0.0.1"
    """Address to listen on. Anything but this machine alone needs a token, which is printed."""

    def __post_init__(self) -> None:
        refuse_faults([port_fault(self.port)])


def port_fault(port: int) -> str:
    """What is wrong with a TCP port, or ""."""
    return must("port", "be between 1 and 65535", port, 1 <= port <= 65535)


def run(arguments: Sequence[str]) -> int:
    """Serve the runs folder until interrupted."""
    rest = list(arguments)
    root = rest.pop(0) if rest and not rest[0].startswith("-") else default_root()
    given = parse(Arguments, rest, f"{VERB.name} [RUNS]", VERB.help)
    return serve_runs(root, given.host, given.port)


def serve_runs(root: str, host: str, port: int) -> int:
    """Serve a runs folder until interrupted."""
    from dashboards.app import serve
    from dashboards.guards import is_loopback

    if not Path(root).is_dir():
        raise InputError(f"RUNS must be a folder of runs; got {root!r}. Make one with mesascope demo.")
    try:
        serve(Path(root), host=host, port=port, token=None if is_loopback(host) else "auto")
    except KeyboardInterrupt:
        return 0
    return 0


VERB = Verb("dash", "[RUNS] [--port P]", "serve the web app on this machine", run)
