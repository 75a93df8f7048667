"""Engines by name, and the choice between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from workbench.errors import InputError
from workbench.registry import by_name
from workbench.training.config import RunConfig
from workbench.training.distributed import ALONE, World
from workbench.training.engines.eager import EAGER
from workbench.training.engines.graph import GRAPH, CaptureFailed, in_all_or_none
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
        raise _refusal(name, obstacle)


def _refusal(name: str, obstacle: str) -> InputError:
    return InputError(f"train.engine must fit the device; got {name!r}, but {obstacle}. Use auto.")


def start(configs: Sequence[RunConfig], *, n_threads: int = 1, world: World = ALONE) -> Started:
    """Programs of these configs under the chosen engine, untrained.

    Raises:
        InputError: If the engine does not fit, or the configs do not fit together.
        torch.OutOfMemoryError: If memory does not hold a graph of several models, or the models line by line.
    """
    check_engine(configs[0])
    name, device = configs[0].train.engine, configs[0].train.device
    obstacle = GRAPH.obstacle(configs[0])
    if name == EAGER.name or (obstacle and device == "cpu"):  # where nobody expects a graph
        return _line_by_line(configs, n_threads, world)
    if not obstacle:
        try:
            return _captured(configs, n_threads, world)
        except CaptureFailed as error:  # the update itself is sound
            if len(configs) > 1 and isinstance(error.__cause__, torch.OutOfMemoryError):
                raise error.__cause__ from None  # fewer models at a time may have their graphs
            obstacle = f"the capture failed: {error}"
            if name == GRAPH.name:
                raise _refusal(name, obstacle) from error
        world.leaving.close()  # what this process has captured, if it failed in another
    return _line_by_line(configs, n_threads, world, f"{EAGER.name} ({obstacle})")


def _captured(configs: Sequence[RunConfig], n_threads: int, world: World) -> Started:
    with in_all_or_none(world):
        program = Program(configs, compiler=GRAPH.compiler, n_threads=n_threads, world=world)
    return Started(program, GRAPH.prepare(program), GRAPH.name)


def _line_by_line(configs: Sequence[RunConfig], n_threads: int, world: World, engine: str = EAGER.name) -> Started:
    program = Program(configs, compiler=EAGER.compiler, n_threads=n_threads, world=world)
    return Started(program, EAGER.prepare(program), engine)
