"""Which engine runs and what it says, and that a graph leaves the state as it found it; devices are elsewhere."""

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from torch._dynamo.exc import FailOnRecompileLimitHit

from tests.helpers import tiny_config
from workbench.errors import InputError
from workbench.registry import by_name
from workbench.training import engines
from workbench.training.distributed import ALONE, World
from workbench.training.engines import ENGINES, check_engine, graph, start
from workbench.training.program import Program, as_it_is


def test_a_graph_is_refused_without_its_device():
    config = tiny_config(engine="graph")
    with pytest.raises(InputError, match=r"train.engine .* 'graph', but .* train.device is cpu. Use auto"):
        check_engine(config)
    with pytest.raises(InputError, match="Use auto"):
        start([config])


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_the_cpu_runs_line_by_line(engine: str):
    started = start([tiny_config(engine=engine)])
    assert started.engine.split()[0] == "eager"
    started.advance()
    assert int(started.program.step) == 1


def test_one_process_may_compile_as_many_shapes_as_it_trains():
    def doubled(numbers: torch.Tensor) -> torch.Tensor:
        return numbers + numbers

    shaped = torch.compile(doubled, backend="eager", fullgraph=True, dynamic=False)
    with graph.any_number_of_shapes():
        for n in range(2, 12):
            shaped(torch.zeros(n))
    with pytest.raises(FailOnRecompileLimitHit):  # the control: torch's own limit
        shaped(torch.zeros(12))


class FakeGraph:
    """Counts its replays, and how often it was freed."""

    made: ClassVar[list["FakeGraph"]] = []

    def __init__(self) -> None:
        self.replays = self.freed = 0
        self.made.append(self)

    def replay(self) -> None:
        self.replays += 1

    def reset(self) -> None:
        self.freed += 1


class FakeStream:
    """Notes what it waits for."""

    def __init__(self, cuda: "FakeCuda", name: str) -> None:
        self.cuda, self.name = cuda, name

    def wait_stream(self, other: "FakeStream") -> None:
        self.cuda.log.append(f"{self.name} waits for {other.name}")


class FakeCuda:
    """Devices, streams and captures that only note what is done on them.

    Attributes:
        log: What was done, in order.
        now: The streams in use, the current one last.
        device: The current device.
    """

    def __init__(self) -> None:
        self.log: list[str] = []
        self.now = [FakeStream(self, "main")]
        self.device, self.n_streams = 0, 0

    def new_stream(self, device: int) -> FakeStream:
        self.n_streams += 1
        return FakeStream(self, f"side {device}")

    @contextmanager
    def stream(self, stream: FakeStream) -> Any:
        self.now.append(stream)
        yield
        self.now.pop()

    @contextmanager
    def capture(self, captured: FakeGraph, stream: FakeStream) -> Any:
        self.log.append(f"capture on {stream.name}")
        with self.stream(stream):
            yield

    def work(self) -> str:
        self.log.append(f"work on {self.now[-1].name}")
        return "found"


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    cuda = FakeCuda()
    pieces = {
        "device": lambda device: nullcontext(),
        "current_device": lambda: cuda.device,
        "Stream": cuda.new_stream,
        "stream": cuda.stream,
        "current_stream": lambda: cuda.now[-1],
        "CUDAGraph": FakeGraph,
        "graph": cuda.capture,
        "synchronize": lambda: cuda.log.append("all waits"),
    }
    for name, piece in pieces.items():
        monkeypatch.setattr(torch.cuda, name, piece)
    graph._side_stream.cache_clear()
    yield cuda
    graph._side_stream.cache_clear()


def test_a_capture_waits_for_what_was_asked_before_it_and_has_all_later_work_wait(fake_cuda: FakeCuda):
    graph._warm_up([fake_cuda.work], 3)
    replay = graph._captured(fake_cuda.work, ALONE)
    warm_up, waits = ["work on side 0"] * 3, ["main waits for side 0", "all waits"]
    assert fake_cuda.log == ["side 0 waits for main", *warm_up, *waits, "capture on side 0", "work on side 0"]
    assert fake_cuda.now[-1].name == "main"
    assert replay() == "found"
    assert len(fake_cuda.log) == 8, "a replay runs nothing anew"


def test_all_captures_of_a_device_share_one_stream_and_so_one_workspace(fake_cuda: FakeCuda):
    for device in (0, 1, 0, 0, 1):
        fake_cuda.device = device
        fake_cuda.log.clear()
        graph._captured(fake_cuda.work, ALONE)
        assert fake_cuda.log[-1] == f"work on side {device}"
    assert fake_cuda.n_streams == 2


def failing(words: str) -> Callable[[Any], Any]:
    """A compiler whose functions fail when they are called, as torch's do."""

    def compiler(function: Any) -> Any:
        def fail(*arguments: Any) -> Any:
            raise NotImplementedError(words)

        return fail

    return compiler


def graphs_are_made_by(monkeypatch: pytest.MonkeyPatch, compiler: Callable[[Any], Any]) -> None:
    """Have the graph engine take another compiler, on any device."""
    changed = replace(ENGINES["graph"], obstacle=lambda config: "", compiler=compiler)
    monkeypatch.setattr(engines, "GRAPH", changed)
    monkeypatch.setattr(engines, "ENGINES", by_name(ENGINES["eager"], changed))


@pytest.mark.usefixtures("fake_cuda")
def test_where_a_graph_can_be_had_it_is_taken(monkeypatch: pytest.MonkeyPatch):
    graphs_are_made_by(monkeypatch, as_it_is)
    assert [start([tiny_config(engine=engine)]).engine for engine in ("auto", "graph")] == ["graph"] * 2


@pytest.mark.usefixtures("fake_cuda")
@pytest.mark.parametrize(
    ("words", "told"), [("not while capturing\nmore of that", "not while capturing"), ("", "no reason given")]
)
def test_where_a_capture_fails_the_eager_engine_says_why(monkeypatch: pytest.MonkeyPatch, words: str, told: str):
    graphs_are_made_by(monkeypatch, failing(words))
    started = start([tiny_config()])
    assert started.engine == f"eager (the capture failed: NotImplementedError: {told})"
    started.advance()
    assert int(started.program.step) == 1


@pytest.mark.usefixtures("fake_cuda")
def test_where_memory_does_not_hold_a_graph_of_several_models_fewer_are_to_be_tried(monkeypatch: pytest.MonkeyPatch):
    def compiler(function: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    graphs_are_made_by(monkeypatch, compiler)
    with pytest.raises(torch.OutOfMemoryError):
        start([tiny_config(seed=seed) for seed in range(2)])
    assert start([tiny_config()]).engine == "eager (the capture failed: OutOfMemoryError: CUDA out of memory.)"


@pytest.mark.usefixtures("fake_cuda")
def test_a_graph_that_is_asked_for_and_cannot_be_had_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch):
    graphs_are_made_by(monkeypatch, failing("no compiler here\nmore of that"))
    told = "got 'graph', but the capture failed: NotImplementedError: no compiler here. Use auto.$"
    with pytest.raises(InputError, match=f"^train.engine must fit the device; {told}"):
        start([tiny_config(engine="graph")])


@pytest.mark.usefixtures("fake_cuda")
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "muon"])
def test_preparing_a_graph_leaves_weights_optimizer_and_step_as_they_were(optimizer: str):
    config = tiny_config(optimizer=optimizer, momentum=0.9 if optimizer == "sgd" else 0.0)
    program, other = Program([config]), Program([config])
    for each in (program, other):
        each.update()
    before = [tensor.clone() for tensor in program.changing()]
    places = [tensor.data_ptr() for tensor in program.changing()]
    FakeGraph.made.clear()
    replay = graph.prepare(program)
    assert all(torch.equal(a, b) for a, b in zip(before, program.changing(), strict=True))
    replay()
    program.lines()
    assert [captured.replays for captured in FakeGraph.made] == [1, 1], "the update, and the yardstick of its line"
    program.update()
    other.update()
    assert all(torch.equal(a, b) for a, b in zip(program.changing(), other.changing(), strict=True))
    assert places == [tensor.data_ptr() for tensor in program.changing()], "a graph writes where it was captured"


@pytest.mark.parametrize(("world", "n_freed"), [(World(), 0), (World(1, 2, 2), 1)], ids=["alone", "two"])
def test_a_graph_of_several_processes_goes_when_they_part(fake_cuda: FakeCuda, world: World, n_freed: int):
    FakeGraph.made.clear()
    graph._captured(fake_cuda.work, world)
    world.leaving.close()
    assert [captured.freed for captured in FakeGraph.made] == [n_freed]


@pytest.mark.usefixtures("fake_cuda")
def test_a_graph_keeps_the_buffers_alive_that_it_reads():
    program = Program([tiny_config()])
    known = weakref.ref(program)
    replay = graph.prepare(program)
    del program
    gc.collect()
    assert known() is not None
    del replay
    gc.collect()
    assert known() is None


@pytest.mark.parametrize(
    ("n_replicas", "n_layers", "optimizer"),
    [(2, 1, "muon"), *(pytest.param(n_replicas, 2, "adam", marks=pytest.mark.slow) for n_replicas in (1, 2))],
)
def test_the_compiled_program_is_the_plain_one(n_replicas: int, n_layers: int, optimizer: str):
    """In a program of its own: torch.compile cannot see through the run-time shape checks."""
    settings = [str(n_replicas), str(n_layers), optimizer]
    command = [sys.executable, "-W", "ignore", "-m", "tests.training.test_engines", *settings]
    subprocess.run(command, check=True, timeout=280)


def compare(n_replicas: int, n_layers: int, optimizer: str) -> None:
    """Losses and weights after some updates, of a program compiled whole and a plain one."""
    curriculum = {"d_start": 1, "d_every": 2, "n_start": 2, "n_every": 2}
    base = tiny_config(precision="float64", optimizer=optimizer, n_batch=4, clip_norm=1.0, **curriculum)
    base = replace(base, model=replace(base.model, n_layers=n_layers))
    configs = [
        replace(base, train=replace(base.train, seed=i, lr=1e-3 * (i + 1)), task=replace(base.task, noise_std=0.1 * i))
        for i in range(n_replicas)
    ]

    def compiled(function: Any) -> Any:
        return torch.compile(function, fullgraph=True, dynamic=False, backend="aot_eager")

    plain, whole = Program(configs), Program(configs, compiler=compiled)
    for _ in range(4):
        plain.update()
        whole.update()
    torch.testing.assert_close(whole.lines(), plain.lines(), rtol=1e-10, atol=1e-12)
    # Adam makes something of the rounding of gradients that are exactly zero: those of key biases.
    torch.testing.assert_close(whole.changing(), plain.changing(), rtol=1e-10, atol=1e-9)


if __name__ == "__main__":
    compare(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
