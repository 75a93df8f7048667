"""One training step of small models against the same architecture from Hugging Face and from torch's own layers."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import nn

from workbench.batch import RegressionBatch
from workbench.benches import accelerator
from workbench.benches.accelerator import PlainRegressor
from workbench.benches.arithmetic import update_bytes, update_flops
from workbench.benches.gpt2 import GPT2Regressor
from workbench.benches.record import Bench, Row
from workbench.linalg import cpu_threads
from workbench.models.transformer import Transformer
from workbench.training.building import build_model
from workbench.training.config import RunConfig, preset_config
from workbench.training.engines import start
from workbench.training.threads import sensible_threads

_ROUNDS = 9
_ROUND_MS = 400.0
_REFERENCES: dict[str, tuple[str, Callable[[RunConfig], nn.Module]]] = {
    "GPT-2": ("Hugging Face GPT-2", GPT2Regressor),
    "torch.nn": ("torch.nn.TransformerEncoder", PlainRegressor),
}
Step = Callable[[], None]


def run(note: Callable[[str], None]) -> Sequence[Row]:
    """Milliseconds of a whole update: sampling, forward, backward, clipping, optimiser; rounds alternate."""
    found = [row for preset in ("demo", "small") for row in cpu_rows(preset, note)]
    return [*found, *(accelerator.rows(note) if torch.cuda.is_available() else ())]


def cpu_rows(preset: str, note: Callable[[str], None], *, n_rounds: int = _ROUNDS) -> list[Row]:
    """The update of a preset against every reference, with as many threads each."""
    config = preset_config("linear_regression", preset).resolved()
    config = replace(config, train=replace(config.train, optimizer="adam"))  # what the references take
    n_threads = sensible_threads(config)
    ours = start([replace(config, train=replace(config.train, engine="eager"))], n_threads=n_threads).advance
    steps: dict[str, tuple[Step, int]] = {"ours": (ours, 1)}  # its threads stand beside each other
    with torch.random.fork_rng(devices=[]):  # theirs draw their weights from the global generator
        steps |= {name: (_plain(build(config), config), n_threads) for name, (_, build) in _REFERENCES.items()}
    n_steps = max(2, round(_ROUND_MS / max(_milliseconds(*step, 2) for step in steps.values())))
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(n_rounds):
        for name, step in steps.items():
            times[name].append(_milliseconds(*step, n_steps))
        told = ", ".join(f"{name} {each[-1]:.1f} ms" for name, each in times.items())
        note(f"{preset}, round {round_ + 1}/{n_rounds}: {told}")
    medians = {name: statistics.median(each) for name, each in times.items()}
    told = f"training step of preset {preset}: {_shape(config)}, float32, cpu, threads: {n_threads}"
    beside = "eager, same prompts and clipping, torch's default Adam"
    flops, n_bytes = update_flops(config), update_bytes(config)
    return [
        Row(told, medians["ours"], f"{label}, {beside}", medians[name], flops, n_bytes)
        for name, (label, _) in _REFERENCES.items()
    ]


def _shape(config: RunConfig) -> str:
    model = config.model
    blocks = f"{model.n_layers} layers x {model.d_model} x {model.n_heads} heads, MLP {model.mlp_width}"
    return f"{blocks}, batch {config.train.n_batch}, {build_model(config).n_ctx} tokens"


def _plain(model: nn.Module, config: RunConfig) -> Step:
    """The same update written as the papers' code writes it: plain Adam, the same prompts."""
    encode = Transformer(config.model).encode
    optimizer = torch.optim.Adam(model.parameters(), lr=config.train.lr, betas=config.train.betas)
    settings = config.train
    number = 0

    def step() -> None:
        nonlocal number
        batch = config.task.prompts(settings.seed, "train", number * settings.n_batch, settings.n_batch)
        assert isinstance(batch, RegressionBatch)
        optimizer.zero_grad()
        loss = ((model(encode(batch)) - batch.ys) ** 2).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm or 1.0)
        optimizer.step()
        number += 1

    return step


def _milliseconds(step: Step, n_threads: int, n_steps: int) -> float:
    """Mean milliseconds of a step over one round, with so many threads inside an operation."""
    with cpu_threads(n_threads):
        started = time.perf_counter()
        for _ in range(n_steps):
            step()
        return (time.perf_counter() - started) / n_steps * 1000


TRAIN = Bench("train", "one training step against Hugging Face's GPT-2 and torch.nn of the same shape", run)
