"""How much memory updates really take: ``python -m tests.training.peak CONFIG.json`` in a process of its own."""

import json
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import torch

from tests.helpers import tiny_config
from workbench.training.config import RunConfig, run_config_from_data
from workbench.training.engines import start
from workbench.training.threads import sensible_threads


def updated(config: RunConfig, n_replicas: int) -> None:
    """Three updates and a line of metrics."""
    started = start([config] * n_replicas, n_threads=sensible_threads(config))
    for _ in range(3):
        started.advance()
    started.program.lines()


def growth(config: RunConfig, n_replicas: int) -> int:
    """Bytes by which the process grows at most, after libraries and threads have started."""
    updated(replace(tiny_config(), train=replace(tiny_config().train, n_threads=config.train.n_threads)), 1)
    process, ended = psutil.Process(os.getpid()), threading.Event()
    before = most = process.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not ended.is_set():
            most = max(most, process.memory_info().rss)
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    updated(config, n_replicas)
    ended.set()
    watcher.join()
    return most - before


if __name__ == "__main__":
    torch.set_num_threads(1)
    config = run_config_from_data(json.loads(Path(sys.argv[1]).read_text()))
    sys.stdout.write(f"{growth(config, int(sys.argv[2]))}\n")
