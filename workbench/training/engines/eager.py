"""Line by line, on any device."""

from collections.abc import Callable

from workbench.training.config import RunConfig
from workbench.training.engines.record import Engine
from workbench.training.program import Program, as_it_is


def obstacle(config: RunConfig) -> str:  # noqa: ARG001  # it runs everything
    """None."""
    return ""


def prepare(program: Program) -> Callable[[], None]:
    """The update itself."""
    return program.update


EAGER = Engine("eager", "Line by line", obstacle, as_it_is, prepare)
