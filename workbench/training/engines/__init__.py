"""Engines by name, and the choice between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workbench.errors import InputError
from workbench.registry import by_name
from workbench.training.config import RunConfig
from workbench.training.distributed import ALONE, World
from workbench.training.engines.eager import EAGER
from workbench.training.engines.graph import GRAPH
from workbench.training.engines.record import Engine
from workbench.training.program import Program

ENGINES = by_name(EAGER, GRAPH)

__all__ = ["ENGINES", "Engine", "Started", "check_engine", "start"]


@dataclass(frozen=True)
class Started:
    """A program and what does its updates.

    Attributes:
        program: State and update.
        advance: Does one update.
        engine: The engine's name, and why it is not a faster one.
    """

    program: Program
    advance: Callable[[], None]
    engine: str


def check_engine(config: RunConfig) -> None:
    """Refuse an engine that this config cannot have.

    Raises:
        InputError: With the obstacle.
    """
    name = config.train.engine
    obstacle = "" if name == "auto" else ENGINES[name].obstacle(config)
    if obstacle:
        raise InputError(f"train.engine must fit the device; got {name!r}, but {obstacle}. Use auto.")


def start(configs: Sequence[RunConfig], *, n_threads: int = 1, world: World = ALONE) -> Started:
    """Programs of these configs under the chosen engine, untrained.

    Raises:
        InputError: If the engine does not fit, or the configs do not fit together.
    """
    check_engine(configs[0])
    name = configs[0].train.engine
    if name != "auto":
        return _started(ENGINES[name], configs, n_threads, world)
    obstacle = GRAPH.obstacle(configs[0])
    if obstacle and configs[0].train.device == "cpu":  # where nobody expects one
        return _started(EAGER, configs, n_threads, world)
    if not obstacle:
        captured, obstacle = _captured(configs, n_threads, world)
        if not world.any(captured is None) and captured is not None:
            return captured
        obstacle = obstacle or "the capture failed in another process"
    started = _started(EAGER, configs, n_threads, world)
    return Started(started.program, started.advance, f"eager ({obstacle})")


def _captured(configs: Sequence[RunConfig], n_threads: int, world: World) -> tuple[Started | None, str]:
    """Programs in a graph, or None and why not."""
    try:
        return _started(GRAPH, configs, n_threads, world), ""
    except InputError:
        raise
    except Exception as error:  # whatever a compiler or a capture may raise: the update itself is sound
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        return None, f"the capture failed: {type(error).__name__}: {reason}"


def _started(engine: Engine, configs: Sequence[RunConfig], n_threads: int, world: World) -> Started:
    program = Program(configs, compiler=engine.compiler, n_threads=n_threads, world=world)
    return Started(program, engine.prepare(program), engine.name)
