"""An update of many small models as one program, against one after the other and against plain torch.func."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.batch import RegressionBatch
from workbench.benches.arithmetic import update_bytes, update_flops
from workbench.benches.record import Bench, Row
from workbench.linalg import cpu_threads
from workbench.models.config import TransformerConfig
from workbench.tasks import LinearRegression
from workbench.training.building import build_model
from workbench.training.config import Precision, RunConfig, TrainConfig
from workbench.training.engines import start
from workbench.training.precision import products

_ROUNDS = 5
_ROUND_MS = 1000.0
Step = Callable[[], None]


@dataclass(frozen=True)
class _Shape:
    """A model, its prompts, and how many of an update."""

    n_layers: int
    d_model: int
    n_heads: int
    n_batch: int
    d_input: int
    n_context: int

    def __str__(self) -> str:
        model = f"{self.n_layers} layers x {self.d_model}, batch {self.n_batch}"
        return f"{model}, d_input {self.d_input}, {self.n_context} examples"


_USUAL = _Shape(4, 64, 4, 64, 8, 20)
_TINY = _Shape(2, 16, 2, 8, 4, 10)
"""On a CPU, models as small as this are trained together; larger ones one after the other in every process."""


def run(note: Callable[[str], None]) -> Sequence[Row]:
    """Milliseconds of whole updates: sampling, forward, backward, clipping, optimiser; rounds alternate."""
    if not torch.cuda.is_available():
        return [row for shape in (_TINY, _USUAL) for row in _rows(shape, 8, "cpu", "float32", note)]
    return [row for precision in ("bf16", "tf32") for row in _rows(_USUAL, 64, "cuda", precision, note)]


def _rows(shape: _Shape, n: int, device: str, precision: Precision, note: Callable[[str], None]) -> list[Row]:
    configs = [_config(shape, seed, device, precision) for seed in range(n)]
    with products(precision):
        return _compared(configs, f"{shape}, {precision}", device, note)


def _compared(configs: Sequence[RunConfig], told: str, device: str, note: Callable[[str], None]) -> list[Row]:
    n = len(configs)
    with cpu_threads(1):
        single, together = start(configs[:1]), start(configs)
        steps: dict[str, Step] = {
            "1 model": single.advance,
            f"{n} models": together.advance,
            f"{n} models one after the other": lambda: _repeat(single.advance, n),
            "torch.func, 1 model": _plain(configs[:1]),
            f"torch.func, {n} models": _plain(configs),
        }
        one, many, in_turn, plain_one, plain_many = _measured(steps, device, note).values()
    engines = dict.fromkeys(started.engine.partition(" ")[0] for started in (single, together))
    where = f"{device}, {' and '.join(engines)}, {told}"
    plain = "torch.func.vmap over grad and functional_call, eager, float32, same prompts, clipping and Adam"
    flops, n_bytes = update_flops(configs[0]), update_bytes(configs[0])
    return [
        Row(f"update of 1 model: {where}", one, plain, plain_one, flops, n_bytes),
        Row(f"update of {n} models: {where}", many, "1 model", one, n * flops, n * n_bytes),
        Row(f"update of {n} models: {where}", many, "as many one after the other", in_turn, n * flops, n * n_bytes),
        Row(f"update of {n} models: {where}", many, plain, plain_many, n * flops, n * n_bytes),
    ]


def _config(shape: _Shape, seed: int, device: str, precision: Precision) -> RunConfig:
    task = LinearRegression(d_input=shape.d_input, n_context=shape.n_context)
    model = TransformerConfig(n_layers=shape.n_layers, d_model=shape.d_model, n_heads=shape.n_heads)
    settings = TrainConfig(n_batch=shape.n_batch, clip_norm=1.0, seed=seed, device=device, precision=precision)
    return RunConfig(task, model, settings).resolved()


def _repeat(step: Step, n: int) -> None:
    for _ in range(n):
        step()


def _measured(steps: Mapping[str, Step], device: str, note: Callable[[str], None]) -> dict[str, float]:
    """Median milliseconds of each step over rounds that alternate."""
    numbers = {name: max(1, round(_ROUND_MS / _milliseconds(step, 2, device))) for name, step in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(_ROUNDS):
        for name, step in steps.items():
            times[name].append(_milliseconds(step, numbers[name], device))
        told = ", ".join(f"{name} {each[-1]:.1f} ms" for name, each in times.items())
        note(f"round {round_ + 1}/{_ROUNDS}: {told}")
    return {name: statistics.median(each) for name, each in times.items()}


def _milliseconds(step: Step, n_steps: int, device: str) -> float:
    """Mean milliseconds of a step over one round."""
    started = time.perf_counter()
    _repeat(step, n_steps)
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / n_steps * 1000


# As the guide to model ensembling of torch.func writes it


def _plain(configs: Sequence[RunConfig]) -> Step:
    """The same update by vmap over models, each with its own prompts."""
    config = configs[0]
    models = [build_model(each) for each in configs]
    stacked, _ = torch.func.stack_module_state(models)
    weights = {name: weight.detach() for name, weight in stacked.items()}
    first, second = ({name: torch.zeros_like(w) for name, w in weights.items()} for _ in range(2))
    losses_of = torch.func.vmap(torch.func.grad(_loss_of(config)))
    generator = torch.Generator(config.train.device).manual_seed(0)
    number = 0

    def step() -> None:
        nonlocal number
        number += 1
        drawn = [config.task.sample(config.train.n_batch, generator) for _ in configs]
        xs, ys = (torch.stack([getattr(batch, part) for batch in drawn]) for part in ("xs", "ys"))
        gradients = _clipped(losses_of(weights, xs, ys), config.train.clip_norm or 1.0)
        for name, gradient in gradients.items():
            _adam(weights[name], gradient, first[name], second[name], config.train, number)

    return step


def _loss_of(config: RunConfig) -> Callable[[Mapping[str, Tensor], Tensor, Tensor], Tensor]:
    model = build_model(config)
    for block in model.layers:  # fused attention has no rule for torch.func
        block.attn.exact = True

    def loss(weights: Mapping[str, Tensor], xs: Tensor, ys: Tensor) -> Tensor:
        batch = RegressionBatch(xs, ys)
        output = torch.func.functional_call(model, dict(weights), (model.encode(batch),))
        return model.losses(output, batch).mean()

    return loss


def _clipped(gradients: Mapping[str, Tensor], most: float) -> dict[str, Tensor]:
    squares = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients.values()])
    shorten = (most / (squares.sum(0).sqrt() + 1e-6)).clamp(max=1.0)
    return {name: g * shorten.view(-1, *[1] * (g.ndim - 1)) for name, g in gradients.items()}


def _adam(weight: Tensor, gradient: Tensor, first: Tensor, second: Tensor, settings: TrainConfig, number: int) -> None:
    beta_1, beta_2 = settings.betas
    first.lerp_(gradient, 1 - beta_1)
    second.lerp_(gradient.square(), 1 - beta_2)
    spread = (second / (1 - beta_2**number)).sqrt() + 1e-8
    weight.sub_(settings.lr / (1 - beta_1**number) * first / spread)


ENSEMBLE = Bench("ensemble", "an update of many small models at once, against one after the other", run)
