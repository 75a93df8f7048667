"""The whole update as one CUDA graph over compiled pieces: sampling, forward, backward, clipping, update rule."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, TypeVar

import torch

from workbench.errors import InputError, ProcessGone
from workbench.training.config import RunConfig
from workbench.training.distributed import World, line_of
from workbench.training.engines.record import Engine
from workbench.training.program import Program

T = TypeVar("T")
_WARM_UPS = 3
_SHAPES = 2**30


def obstacle(config: RunConfig) -> str:
    """A graph needs a CUDA device."""
    device = config.train.device
    return "" if device.startswith("cuda") else f"a CUDA graph needs a CUDA device, and train.device is {device}"


def compiled(function: Any) -> Any:
    """The function compiled for its shapes, in one piece."""
    return torch.compile(function, fullgraph=True, dynamic=False)


@contextmanager
def any_number_of_shapes() -> Iterator[None]:
    """Inside, a function is compiled for every shape it meets: torch gives up after 8, some four programs."""
    import torch._dynamo.config  # late: it takes a second, and the CPU does without

    limits = {"recompile_limit": _SHAPES, "accumulated_recompile_limit": _SHAPES}
    with torch._dynamo.config.patch(limits):
        yield


class CaptureFailed(RuntimeError):
    """No process has a graph, since one of them cannot; says why."""


@contextmanager
def in_all_or_none(world: World) -> Iterator[None]:
    """Inside, whatever a compiler or a capture may raise is `CaptureFailed`, in all processes.

    Raises:
        CaptureFailed: If any of them fails inside, where none may wait for another.
    """
    try:
        with world.as_one():
            yield
    except (InputError, ProcessGone):
        raise
    except Exception as error:
        raise CaptureFailed(line_of(error)) from error


@torch.no_grad()
def prepare(program: Program) -> Callable[[], None]:
    """A function that replays the captured update; the yardstick of its metrics is captured beside it.

    The first calls run where captures are made, so that kernels are compiled and libraries set up before. They leave
    sums over processes out: nobody waits in one for a process that cannot compile.

    Raises:
        CaptureFailed: If a process cannot compile or capture; the state is as it was, in all of them.
    """
    world = program.world
    pieces = [program.update, *([program.reference] if program.has_reference else [])]
    with in_all_or_none(world), _trying(program), program.apart():
        _warm_up(pieces, _WARM_UPS)
    if world.size > 1:  # who fails here leaves the others in a sum; they end when it is gone
        with _trying(program):
            _warm_up(pieces, 1)
    with in_all_or_none(world), _trying(program):
        update = _captured(program.update, world)
        if program.has_reference:  # hundreds of small kernels: it reads the prompts where the update writes them
            program.reference = _captured(program.reference, world)
    return update


@contextmanager
def _trying(program: Program) -> Iterator[None]:
    """Inside, updates are for trying: afterwards the state is as it was."""
    before = [tensor.clone() for tensor in program.changing()]
    try:
        with torch.cuda.device(program.device), any_number_of_shapes(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")  # train.precision says what is wanted
            yield
    finally:
        for tensor, value in zip(program.changing(), before, strict=True):
            tensor.copy_(value)


def _warm_up(functions: Sequence[Callable[[], object]], times: int) -> None:
    """Run functions on the stream of captures, to their end: what fails on the device fails here."""
    side, main = _side_stream(torch.cuda.current_device()), torch.cuda.current_stream()
    side.wait_stream(main)
    with torch.cuda.stream(side):
        for _ in range(times):
            for function in functions:
                function()
    main.wait_stream(side)
    torch.cuda.synchronize()


def _captured(function: Callable[[], T], world: World) -> Callable[[], T]:
    """The function as a graph; what it returns is overwritten by every call.

    The graph knows addresses alone: it keeps the function, and so the buffers behind them, alive. With several
    processes it goes when they part: see ``World.leaving``.
    """
    side, main = _side_stream(torch.cuda.current_device()), torch.cuda.current_stream()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(main), torch.cuda.graph(graph, stream=side):  # main again, even if a capture breaks
        returned = function()
    if world.size > 1:
        world.leaving.callback(graph.reset)
    return partial(_replay, graph, returned, function)


@cache
def _side_stream(device: int) -> Any:
    """The stream of a device on which all captures are made.

    Its cuBLAS workspace, some 67 MB, is never given back: a stream for each capture would keep one each.
    """
    return torch.cuda.Stream(device)


def _replay(graph: Any, returned: T, kept_alive: Callable[[], T]) -> T:  # noqa: ARG001
    graph.replay()
    return returned


GRAPH = Engine("graph", "One CUDA graph per update", obstacle, compiled, prepare)
