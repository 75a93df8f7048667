"""The training loop, all of it, in running order: one run, or many at once."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import torch

from workbench.configs import is_count
from workbench.errors import InputError
from workbench.linalg import cpu_threads
from workbench.runs import RunFolder
from workbench.training.checking import check_device
from workbench.training.config import RunConfig, checkpoint_steps, run_config_from_data
from workbench.training.distributed import World, joined, local_device
from workbench.training.engines import Started, start
from workbench.training.memory import check_fits, ran_out
from workbench.training.precision import products
from workbench.training.replicas import check_same_program
from workbench.training.threads import sensible_threads

FINISHED, STOPPED = "finished", "stopped"
"""How training ends that does not fail."""
_HEARTBEAT_SECONDS = 1.0
_LONGEST_PAUSE = 60.0
"""Seconds between heartbeats at most: half of the silence after which others take a run over."""
_PAUSE_PER_BEAT = 20.0
"""Pause after heartbeats, in units of the time that they took: they are files on disk, one for each run."""


@dataclass(frozen=True)
class Progress:
    """Where training stands: what a progress bar shows.

    Attributes:
        step: Updates done.
        n_steps: Updates in all.
        loss: Training loss of the last logged update; the mean over runs still going.
        excess: The same minus that of least squares on the same prompts, or None.
        seconds_left: Estimate from the speed of this process.
        engine: What does the updates, and why it is not a faster one.
        n_runs: Runs whose updates are counted together, more than 1 in what ``train_many`` tells.
        n_done: Those of them that are finished or have failed.
        growing: What of the prompts the curriculum leaves out as yet, such as "d 3 of 4, n 6 of 12"; "" at its end.
    """

    step: int
    n_steps: int
    loss: float
    excess: float | None
    seconds_left: float
    engine: str = "eager"
    n_runs: int = 1
    n_done: int = 0
    growing: str = ""


class TrainingFailed(RuntimeError):
    """Training cannot go on; the last good checkpoint is kept."""


class MemoryRanOut(TrainingFailed):
    """Fewer models at a time, or smaller ones, may fit."""


Report = Callable[[Progress], None]


def _ignore(progress: Progress) -> None:  # a listener that does not listen
    pass


def train(run: RunFolder, report: Report | None = None) -> str:
    """Train a run from its last checkpoint, or from the start, to its end.

    The prompts of an update are numbered by the update, so a resumed run sees what an uninterrupted one sees.
    SIGINT and SIGTERM end it after the update in progress, with a checkpoint. Under torchrun, all its processes
    share the prompts of an update.

    Args:
        run: A run folder made from a resolved config.
        report: Called at every logged step.

    Returns:
        ``"finished"`` or ``"stopped"``.

    Raises:
        InputError: If the run is damaged, its device is missing, memory will not hold it, or another process trains it.
        TrainingFailed: If loss or weights are no longer finite, memory runs out, or the run folder cannot be written.
        FailedElsewhere: If another of several processes has failed or is gone.
    """
    (state,) = train_together([run], report)
    if isinstance(state, Exception):
        raise state
    return state


def train_together(runs: Sequence[RunFolder], report: Report | None = None) -> list[str | Exception]:
    """Train runs of one shape as one program, each into its own folder, as ``train`` would alone.

    A run that fails leaves the others going; runs start from the last step at which all have a checkpoint.

    Args:
        runs: Run folders made from resolved configs that ``check_same_program`` accepts.
        report: Called at every logged step.

    Returns:
        For each run ``"finished"``, ``"stopped"``, or why it failed.

    Raises:
        InputError: If a run is damaged, another process trains it, the device is missing, the configs do not fit
            together, or the models do not fit into memory together.
        FailedElsewhere: If another of several processes has failed or is gone.
    """
    for run in runs:
        run.check_trainable()
    configs = [run_config_from_data(run.config()) for run in runs]
    check_same_program(configs)
    with ExitStack() as stack:
        world = stack.enter_context(joined(configs[0].train.device))
        with world.as_one():
            _check_shared(configs[0], world)
            check_device(local_device(configs[0].train.device))
            check_fits(configs, world)
            for run in runs if world.rank == 0 else []:
                run.claim()
                stack.callback(run.release)
                run.sweep()
        n_threads = _threads_of(runs[0], configs[0])
        stack.enter_context(cpu_threads(1 if configs[0].train.device == "cpu" else n_threads))
        stack.enter_context(products(configs[0].train.precision))
        stop = stack.enter_context(stop_signals())
        training = _Training(runs, configs, world, report or _ignore)
        try:
            training.run(n_threads, stop)
        except BaseException as error:
            training.fail_all(error)
            raise
        return training.states
    raise AssertionError("no context here swallows exceptions")


def _check_shared(config: RunConfig, world: World) -> None:
    n_batch = config.train.n_batch
    if n_batch < world.size:
        raise InputError(f"train.n_batch must be at least the number of processes, {world.size}; got {n_batch}.")


class _Training:
    """Runs trained together, and how each of them stands."""

    def __init__(self, runs: Sequence[RunFolder], configs: Sequence[RunConfig], world: World, report: Report) -> None:
        self.runs, self.configs, self.world, self.report = runs, configs, world, report
        self.settings = configs[0].train
        self.states: list[str | Exception] = ["running"] * len(runs)
        self.keep = set(checkpoint_steps(self.settings))

    @property
    def going(self) -> list[int]:
        """The runs that have not failed."""
        return [i for i, state in enumerate(self.states) if not isinstance(state, Exception)]

    @property
    def written(self) -> list[int]:
        """Those of them that this process writes."""
        return self.going if self.world.rank == 0 else []

    def run(self, n_threads: int, stop: threading.Event) -> None:
        """Train from the last common checkpoint to the end or to the stop."""
        self._beat(self._last_step() or 0)
        here = [replace(c, train=replace(c.train, device=local_device(c.train.device))) for c in self.configs]
        started = start(here, n_threads=n_threads if self.settings.device == "cpu" else 1, world=self.world)
        with self.world.as_one():
            step = self._restore(started)
        self._follow(step, started, stop)

    def _follow(self, step: int, started: Started, stop: threading.Event) -> None:
        n_steps, first = self.settings.n_steps, step
        spent = [max((line.get("seconds") or 0.0 for line in run.metrics()), default=0.0) for run in self.runs]
        next_beat = self._beat(step)
        if step == 0 and 0 in self.keep:
            self._save(0, started, only_missing=True)
        began = time.monotonic()
        stopping = False
        while step < n_steps and not stopping and self.going:
            logged = (step + 1) % self.settings.log_every == 0 or step == 0 or step + 1 in self.keep
            started.advance()
            step += 1
            if logged:
                seconds = time.monotonic() - began
                left = seconds / (step - first) * (n_steps - step)
                self._log(step, started, [before + seconds for before in spent], left)
            if step in self.keep:
                self._save(step, started)
            if time.monotonic() > next_beat:
                next_beat = self._beat(step)
            if logged or self.world.size == 1:
                stopping = self.world.any(stop.is_set())
        self._save(step, started, only_missing=True)
        self._end(step)

    def _log(self, step: int, started: Started, seconds: Sequence[float], seconds_left: float) -> None:
        lines = started.program.lines()
        for i in self.written:
            self.runs[i].append_metrics({**lines[i], "seconds": round(seconds[i], 3)})
        broken = started.program.broken_at.tolist()
        finite = [i for i in self.going if not broken[i]]
        if self.world.rank == 0:
            told = [lines[i] for i in finite or self.going]
            loss = sum(line["loss"] for line in told) / len(told)
            excesses = [line["excess"] for line in told]
            excess = None if None in excesses else sum(excesses) / len(told)
            growing = _growing(self.configs[0], lines[0])
            self.report(
                Progress(step, self.settings.n_steps, loss, excess, seconds_left, started.engine, growing=growing)
            )
        for i in set(self.going) - set(finite):
            loss = lines[i]["loss"]
            what = "the gradient is not finite" if math.isfinite(loss) else f"the loss is {loss}"
            self._fail(i, f"{what} at step {broken[i]}")

    def _save(self, step: int, started: Started, *, only_missing: bool = False) -> None:
        finite = started.program.finite()
        for i in self.going:
            if only_missing and step in self.runs[i].checkpoint_steps():
                continue
            if not finite[i]:
                self._fail(i, f"the weights are not finite at step {step}")
            elif self.world.rank == 0:
                state = {"step": step, "optimizer": started.program.state_of(i), "engine": started.engine}
                self.runs[i].save_checkpoint(
                    step, started.program.weights_of(i), {**state, "torch": str(torch.__version__)}
                )

    def _fail(self, i: int, what: str) -> None:
        error = TrainingFailed(f"{what}; the last checkpoint is kept. Lower train.lr or set train.clip_norm.")
        self._write_failure(i, error)
        self.states[i] = error

    def _last_step(self) -> int | None:
        """The last step at which all runs have a checkpoint."""
        return max(set.intersection(*(set(run.checkpoint_steps()) for run in self.runs)), default=None)

    def _restore(self, started: Started) -> int:
        """Load the last common checkpoint; the step it stands at, 0 if there is none."""
        last = self._last_step()
        step = last or 0
        for i, run in enumerate(self.runs if last is not None else []):
            weights, state = run.weights(step), run.train_state(step)
            try:
                started.program.restore(i, step, weights, state["optimizer"])
            except (KeyError, TypeError, AttributeError, InputError) as error:
                raise InputError(
                    f"{run.path} must hold the state of this run's optimizer at step {step}; it does not ({error})."
                ) from error
        for run in self.runs if self.world.rank == 0 else []:  # only now: what stands later is lost
            run.forget_after(step)
        return step

    def _beat(self, step: int) -> float:
        """Give a sign of life in every run; when the next is due."""
        began = time.monotonic()
        for i in self.written:
            self.runs[i].write_status("running", step, self.settings.n_steps)
        ended = time.monotonic()
        return ended + min(max(_HEARTBEAT_SECONDS, _PAUSE_PER_BEAT * (ended - began)), _LONGEST_PAUSE)

    def _end(self, step: int) -> None:
        state = FINISHED if step == self.settings.n_steps else STOPPED
        for i in self.going:
            if self.world.rank == 0:
                self.runs[i].write_status(state, step, self.settings.n_steps)
            self.states[i] = state

    def fail_all(self, error: BaseException) -> None:
        """Say in every run that is still going why it is not any more; and that for people."""
        told = self._for_people(error)
        for i in self.written:
            self._write_failure(i, told or error)
        if told:
            raise told from error

    def _for_people(self, error: BaseException) -> TrainingFailed | None:
        path = self.runs[0].path
        if isinstance(error, torch.OutOfMemoryError):
            return MemoryRanOut(
                f"{ran_out(self.configs, self.world)}; the last checkpoint is kept. Make room, then go on with "
                f"mesascope train --resume {path}, or train anew with a lower train.n_batch."
            )
        if isinstance(error, OSError):
            return TrainingFailed(
                f"{path} cannot be written ({error.strerror or error}); the last checkpoint is kept. "
                f"Make room, then go on with mesascope train --resume {path}."
            )
        return None

    def _write_failure(self, i: int, error: BaseException) -> None:
        if self.world.rank != 0:
            return
        with suppress(OSError):  # a full disk: the status stays "running", which reads "killed" from now on
            steps = self.runs[i].checkpoint_steps()
            last, told = steps[-1] if steps else 0, f"{type(error).__name__}: {error}"
            self.runs[i].write_status("failed", last, self.settings.n_steps, told)


def _growing(config: RunConfig, line: Mapping[str, Any]) -> str:
    """Input coordinates and examples in use in a line of metrics, where they are not all that the task has."""
    shape = config.task.model_shape()
    parts = [("d", line["d_active"], shape.get("d_input")), ("n", line["n_active"], shape.get("n_context"))]
    return ", ".join(f"{name} {active} of {whole}" for name, active, whole in parts if active != whole)


def _threads_of(run: RunFolder, config: RunConfig) -> int:
    """The threads that a run began with, so that it goes on bit by bit."""
    noted: Any = run.env().get("n_threads")
    return noted if is_count(noted) else sensible_threads(config)


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; only the main thread can listen."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the signature that signal wants
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
