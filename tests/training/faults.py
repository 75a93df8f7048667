"""What can be made to go wrong in a process that trains together with others."""

import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch

from workbench.registry import by_name
from workbench.training import engines, watching
from workbench.training.engines import EAGER, GRAPH, graph
from workbench.training.program import Program, as_it_is

Capture = Callable[[Callable[[], object]], Callable[[], object]]


def last() -> bool:
    """Whether this is the last of the processes that torchrun started together."""
    return int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1


def graphs_on_a_cpu(compiler: Callable[[Any], Any] = as_it_is, capture: Capture = lambda function: function) -> None:
    """Have the graph engine run on a CPU, where it compiles and captures nothing."""
    pieces: dict[str, Any] = {
        "device": lambda device: nullcontext(),
        "current_device": lambda: 0,
        "Stream": lambda device: _Stream(),
        "stream": lambda stream: nullcontext(),
        "current_stream": _Stream,
        "synchronize": lambda: None,
    }
    for name, piece in pieces.items():
        setattr(torch.cuda, name, piece)
    graph._captured = lambda function, world: capture(function)
    stand_in = replace(GRAPH, obstacle=lambda config: "", compiler=compiler)
    engines.GRAPH = stand_in
    engines.ENGINES = by_name(EAGER, stand_in)


class _Stream:
    def wait_stream(self, other: Any) -> None:
        pass


def fails_to_compile() -> None:
    """The last process cannot compile; it says so at the first update, as torch does."""

    def uncompiled(function: Any) -> Any:
        def refuse(*arguments: Any) -> Any:
            raise RuntimeError("no compiler here")

        return refuse if last() else function

    graphs_on_a_cpu(compiler=uncompiled)


def fails_to_capture() -> None:
    """The last process cannot capture what it has compiled."""

    def refuse(function: Callable[[], object]) -> Callable[[], object]:
        if last():
            raise RuntimeError("not permitted")
        return function

    graphs_on_a_cpu(capture=refuse)


def before_update(number: int, happen: Callable[[], object]) -> None:
    """Have something happen before an update, counted from 0."""
    update = Program.update

    def updated(self: Program) -> None:
        if not self.step.is_meta and int(self.step) == number:
            happen()
        update(self)

    Program.update = updated


def raises() -> None:
    """An error in the last process after 20 updates."""

    def fail() -> None:
        if last():
            raise RuntimeError("a planted error")

    before_update(20, fail)


def hears_nothing() -> None:
    """After 20 updates every process waits as for an accelerator: for nothing that another's death would end."""

    def wait() -> None:
        os.write(2, b"waits\n")
        time.sleep(120)

    watching._GRACE = 1.0
    before_update(20, wait)


FAULTS: dict[str, Callable[[], None]] = {
    "none": graphs_on_a_cpu,
    "fails to compile": fails_to_compile,
    "fails to capture": fails_to_capture,
    "raises": raises,
    "hears nothing": hears_nothing,
}
