"""One training step of the demo's model against the same architecture as a Hugging Face GPT-2."""

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import nn

from workbench.batch import RegressionBatch
from workbench.benches import accelerator
from workbench.benches.gpt2 import GPT2Regressor
from workbench.benches.record import Bench, Row
from workbench.linalg import cpu_threads
from workbench.models.transformer import Transformer
from workbench.training.building import build_model
from workbench.training.config import RunConfig, preset_config
from workbench.training.program import Program
from workbench.training.threads import sensible_threads

_ROUNDS = 7
_ROUND_MS = 400.0


def run(note: Callable[[str], None]) -> Sequence[Row]:
    """Milliseconds of a whole update: sampling, forward, backward, clipping, optimiser; rounds alternate."""
    found = [_row(preset, preset_config("linear_regression", preset).resolved(), note) for preset in ("demo", "small")]
    return [*found, *(accelerator.rows(note) if torch.cuda.is_available() else ())]


def _row(preset: str, config: RunConfig, note: Callable[[str], None]) -> Row:
    n_threads = sensible_threads(config)
    times: dict[str, list[float]] = {"ours": [], "GPT-2": []}
    with cpu_threads(n_threads):
        steps = {"ours": _ours(config), "GPT-2": _theirs(config)}
        n_steps = max(2, round(_ROUND_MS / max(_milliseconds(step, 2) for step in steps.values())))
        for round_ in range(_ROUNDS):
            for name, step in steps.items():
                times[name].append(_milliseconds(step, n_steps))
            told = ", ".join(f"{name} {each[-1]:.1f} ms" for name, each in times.items())
            note(f"{preset}, round {round_ + 1}/{_ROUNDS}: {told}")
    model = config.model
    shape = f"{model.n_layers} layers x {model.d_model} x {model.n_heads} heads, MLP {model.mlp_width}"
    tokens = f"batch {config.train.n_batch}, {build_model(config).n_ctx} tokens"
    ours, theirs = (statistics.median(each) for each in times.values())
    name = f"training step of preset {preset}: {shape}, {tokens}, float32, threads: {n_threads}"
    return Row(name, ours, "Hugging Face GPT-2, eager, same prompts and clipping, torch's default Adam", theirs)


def _ours(config: RunConfig) -> Callable[[int], None]:
    program = Program([config], n_threads=sensible_threads(config))

    def step(number: int) -> None:  # noqa: ARG001  # the program counts for itself
        program.update()

    return step


def _theirs(config: RunConfig) -> Callable[[int], None]:
    """The same update written as the papers' code writes it: plain Adam, the same prompts."""
    model = GPT2Regressor(config)
    encode = Transformer(config.model).encode
    optimizer = torch.optim.Adam(model.parameters(), lr=config.train.lr, betas=config.train.betas)
    settings = config.train

    def step(number: int) -> None:
        batch = config.task.prompts(settings.seed, "train", number * settings.n_batch, settings.n_batch)
        assert isinstance(batch, RegressionBatch)
        optimizer.zero_grad()
        loss = ((model(encode(batch)) - batch.ys) ** 2).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm or 1.0)
        optimizer.step()

    return step


def _milliseconds(step: Callable[[int], None], n_steps: int) -> float:
    """Mean milliseconds of a step over one round."""
    started = time.perf_counter()
    for number in range(n_steps):
        step(number)
    return (time.perf_counter() - started) / n_steps * 1000


TRAIN = Bench("train", "one training step against a Hugging Face GPT-2 of the same shape", run)
