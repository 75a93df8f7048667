"""Many runs, trained as fast as the machine allows: as one program on an accelerator, over all cores on a CPU."""

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, suppress
from statistics import fmean

import torch

from workbench.configs import is_count
from workbench.errors import InputError
from workbench.linalg import cpu_threads
from workbench.runs import RunFolder
from workbench.training.checking import check_device
from workbench.training.config import RunConfig, run_config_from_data
from workbench.training.groups import groups_of, is_finished, threads_of, train_group
from workbench.training.loop import FINISHED, STOPPED, Progress, Report, TrainingFailed, stop_signals
from workbench.training.memory import most_beside
from workbench.training.workers import Worker, WorkerDied

_POLL_SECONDS = 0.2
_ATTEMPTS = 2
"""Times that a group is begun whose process is killed."""

Group = Sequence[int]


def n_cores() -> int:
    """Cores that training may use: as many as torch would, so that OMP_NUM_THREADS limits them."""
    return torch.get_num_threads()


def train_many(
    runs: Sequence[RunFolder], report: Report | None = None, *, n_workers: int | None = None
) -> list[str | Exception]:
    """Train runs, each into its own folder, as ``train`` would: from the last checkpoint to the end.

    On an accelerator, runs of one shape that fit in memory are one program. On a CPU, processes train them side by
    side, small ones some together; what comes out does not depend on their number.

    Args:
        runs: Run folders made from resolved configs.
        report: Called at logged steps with the means and sums over all runs, perhaps from another thread.
        n_workers: Processes on a CPU at most; as many as there are cores if not given. Fewer where memory holds fewer.

    Returns:
        For each run ``"finished"``, ``"stopped"``, or why it failed.

    Raises:
        InputError: If ``n_workers`` is less than 1, the config of a run is damaged, or its device is missing.
    """
    if n_workers is not None and not is_count(n_workers):
        told = f"n_workers must be a whole number, at least 1; got {n_workers!r}."
        raise InputError(f"{told} Leave it out for one per core.")
    configs = [run_config_from_data(run.config()) for run in runs]
    unfinished = [c for run, c in zip(runs, configs, strict=True) if not is_finished(run, c)]
    for device in sorted({config.train.device for config in unfinished}):
        check_device(device)
    groups = groups_of(runs, configs)
    table = _Table(runs, configs, report)
    apart = [group for group in groups if configs[group[0]].train.device == "cpu"]
    n_threads = max((threads_of(runs[i], configs[i]) for group in apart for i in group), default=1)
    n_workers = min(n_workers or max(1, n_cores() // n_threads), len(apart))
    if n_workers > 1:
        n_workers = most_beside([[configs[i] for i in group] for group in apart], n_workers)
    with stop_signals() as stop:
        if n_workers > 1:
            _train_apart(runs, apart, n_workers, table, stop)
            groups = [group for group in groups if group not in apart]
        for group in groups:
            if not (stop.is_set() or STOPPED in table.ended.values()):
                with cpu_threads(1):
                    table.end(group, train_group([runs[i] for i in group], table.listener(group)))
    return table.states


def _train_apart(
    runs: Sequence[RunFolder], groups: Sequence[Group], n_workers: int, table: "_Table", stop: threading.Event
) -> None:
    """Train groups in processes beside each other."""
    crew = _Crew(runs, groups, table, stop)
    with ThreadPoolExecutor(n_workers) as pool:
        sides = [pool.submit(crew.work) for _ in range(n_workers)]
        while wait(sides, _POLL_SECONDS).not_done:
            if stop.is_set():
                crew.stop()
    for side in sides:
        side.result()


class _Crew:
    """Workers and the groups that wait for one."""

    def __init__(
        self, runs: Sequence[RunFolder], groups: Sequence[Group], table: "_Table", stop: threading.Event
    ) -> None:
        self.runs, self.table, self.asked_to_stop = runs, table, stop
        self.waiting = deque(groups)
        self.deaths: Counter[int] = Counter()
        self.workers: set[Worker] = set()

    def work(self) -> None:
        """Train groups until none waits."""
        while self.waiting and not self.asked_to_stop.is_set():
            with closing(Worker()) as worker:
                self.workers.add(worker)
                try:
                    self._keep_busy(worker)
                finally:
                    self.workers.discard(worker)

    def stop(self) -> None:
        """Ask all workers to stop."""
        for worker in list(self.workers):
            worker.stop()

    def _keep_busy(self, worker: Worker) -> None:
        """Give a worker groups while it lives."""
        while not self.asked_to_stop.is_set() and (group := self._next()) is not None:
            try:
                states = worker.train([self.runs[i] for i in group], self.table.listener(group))
            except WorkerDied as death:
                self._give_back(group, death)
                return
            self.table.end(group, states)

    def _next(self) -> Group | None:
        with suppress(IndexError):
            return self.waiting.popleft()
        return None

    def _give_back(self, group: Group, death: WorkerDied) -> None:
        """Have a group begun again whose process is gone, but not for ever."""
        if self.asked_to_stop.is_set():
            return
        self.deaths[group[0]] += 1
        if self.deaths[group[0]] < _ATTEMPTS:
            self.waiting.appendleft(group)
            return
        self.table.end(group, [TrainingFailed(f"{death}; the last checkpoint is kept.")] * len(group))


class _Table:
    """How all runs stand, and what is told of them."""

    def __init__(self, runs: Sequence[RunFolder], configs: Sequence[RunConfig], report: Report | None) -> None:
        self.n_steps = [config.train.n_steps for config in configs]
        self.steps = [max(run.checkpoint_steps(), default=0) for run in runs]
        self.ended: dict[int, str | Exception] = {
            i: FINISHED for i, (run, config) in enumerate(zip(runs, configs, strict=True)) if is_finished(run, config)
        }
        self._told: dict[int, Progress] = {}
        self._report, self._lock = report, threading.Lock()
        self._began, self._done_before = time.monotonic(), sum(self.steps)

    @property
    def states(self) -> list[str | Exception]:
        """How each run ended; one that was never begun is stopped."""
        return [self.ended.get(i, STOPPED) for i in range(len(self.steps))]

    def listener(self, group: Group) -> Report:
        """Takes the progress of a group."""

        def listen(progress: Progress) -> None:
            with self._lock:
                for i in group:
                    self.steps[i], self._told[i] = progress.step, progress
                self._tell()

        return listen

    def end(self, group: Group, states: Sequence[str | Exception]) -> None:
        """Take down how the runs of a group ended."""
        with self._lock:
            for i, state in zip(group, states, strict=True):
                self.ended[i] = state
                if state != STOPPED:
                    self.steps[i] = self.n_steps[i]
                if isinstance(state, Exception):
                    self._told.pop(i, None)
            self._tell()

    def _tell(self) -> None:
        told, done, all_of_them = list(self._told.values()), sum(self.steps), sum(self.n_steps)
        told = [each for each in told if math.isfinite(each.loss)] or told
        if self._report is None or not told:
            return
        excesses = [each.excess for each in told if each.excess is not None]
        seconds = (time.monotonic() - self._began) / max(1, done - self._done_before) * (all_of_them - done)
        self._report(
            Progress(
                step=done,
                n_steps=all_of_them,
                loss=fmean(each.loss for each in told),
                excess=fmean(excesses) if len(excesses) == len(told) else None,
                seconds_left=seconds,
                engine=told[-1].engine,
                n_runs=len(self.steps),
                n_done=sum(state != STOPPED for state in self.ended.values()),
            )
        )
