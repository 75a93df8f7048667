"""Update rules after the same time of training: final errors of the same model, over learning rates and seeds."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.batch import RegressionBatch
from workbench.benches.record import Bench, Findings, Sheet
from workbench.linalg import cpu_threads
from workbench.metrics import error_by_context
from workbench.training.building import build_model, load_weights
from workbench.training.config import RunConfig, preset_config
from workbench.training.engines import start
from workbench.training.precision import products
from workbench.training.program import Program

RULES: dict[str, dict[str, Any]] = {"adam": {"betas": (0.9, 0.99)}, "muon": {"betas": (0.95, 0.999)}}
"""The rules compared, each with what its authors set otherwise than the presets."""
_N_PROMPTS = 4096
_ROUNDS, _TIMED = 5, 50
_STREAM = "bench"
_SEED = 1_000_003
"""Of the prompts that all are judged by; no run compared has it."""


@dataclass(frozen=True)
class Setting:
    """One comparison.

    Attributes:
        preset: Of linear regression.
        train: Settings of training that differ from the preset's.
        seconds: That a training of one model alone takes.
        factors: Learning rates tried, in those of the preset.
        n_seeds: Models trained with each.
    """

    preset: str
    train: dict[str, Any]
    seconds: float
    factors: Sequence[float]
    n_seeds: int


_ON_CUDA: dict[str, Any] = {"device": "cuda", "precision": "bf16"}
ACCELERATOR = (
    Setting("small", _ON_CUDA, 6.0, (0.5, 1.0, 2.0, 4.0), 4),
    Setting("paper", _ON_CUDA, 50.0, (0.5, 1.0, 2.0), 1),
)
CPU = (Setting("demo", {"n_threads": 1}, 20.0, (1.0,), 1),)


@dataclass(frozen=True)
class Outcome:
    """The models of one rule and learning rate.

    Attributes:
        preset: What was trained.
        optimizer: Update rule.
        lr: Peak learning rate.
        ms: Milliseconds of an update of one model alone.
        n_steps: Updates, so that all rules take as long.
        context: 0-based context positions of the errors.
        errors: Squared error / d at these positions, a list for each seed.
    """

    preset: str
    optimizer: str
    lr: float
    ms: float
    n_steps: int
    context: Sequence[int]
    errors: Sequence[Sequence[float]]


def run(note: Callable[[str], None]) -> Findings:
    """The errors of every rule; each has the same time, and its schedule is stretched over it."""
    settings = ACCELERATOR if torch.cuda.is_available() else CPU
    return findings([outcome for setting in settings for outcome in outcomes(setting, note)])


def outcomes(setting: Setting, note: Callable[[str], None]) -> list[Outcome]:
    """One comparison, a rule at a time."""
    base = preset_config("linear_regression", setting.preset).resolved()
    base = replace(base, train=replace(base.train, **setting.train))
    configs = [replace(base, train=replace(base.train, optimizer=name, **changes)) for name, changes in RULES.items()]
    found = []
    with products(base.train.precision), cpu_threads(1):
        for config, ms in zip(configs, _milliseconds(configs), strict=True):
            config = stretched(config, max(1, round(1000 * setting.seconds / ms)))
            told = f"{ms:.2f} ms an update alone, {config.train.n_steps} updates"
            note(f"{setting.preset}, {config.train.optimizer}: {told}")
            found += _trained(config, setting, ms)
    return found


def stretched(config: RunConfig, n_steps: int) -> RunConfig:
    """The config with so many updates, warm-up and curriculum taking the same share of them."""
    train = config.train
    share = n_steps / train.n_steps
    every = {name: max(1, round(getattr(train, name) * share)) for name in ("d_every", "n_every")}
    warmup = round(train.warmup_steps * share)
    return replace(config, train=replace(train, n_steps=n_steps, warmup_steps=warmup, **every))


def _milliseconds(configs: Sequence[RunConfig]) -> list[float]:
    """Median milliseconds of an update of one model of each; rounds alternate, the first warms up."""
    steps = [start([config]).advance for config in configs]
    times: list[list[float]] = [[] for _ in configs]
    for _ in range(1 + _ROUNDS):
        for config, advance, each in zip(configs, steps, times, strict=True):
            started = time.perf_counter()
            for _ in range(_TIMED):
                advance()
            _wait(config)
            each.append((time.perf_counter() - started) / _TIMED * 1000)
    return [statistics.median(each[1:]) for each in times]


def _wait(config: RunConfig) -> None:
    if config.train.device.startswith("cuda"):
        torch.cuda.synchronize()


def _trained(config: RunConfig, setting: Setting, ms: float) -> list[Outcome]:
    """All learning rates and seeds of one rule, as one program."""
    train = config.train
    configs = [
        replace(config, train=replace(train, lr=factor * train.lr, seed=seed))
        for factor, seed in product(setting.factors, range(setting.n_seeds))
    ]
    started = start(configs)
    for _ in range(train.n_steps):
        started.advance()
    context = positions(config)
    errors = [error[context].tolist() for error in _errors(started.program)]
    n = setting.n_seeds
    return [
        Outcome(
            setting.preset,
            train.optimizer,
            factor * train.lr,
            ms,
            train.n_steps,
            context,
            errors[i * n : (i + 1) * n],
        )
        for i, factor in enumerate(setting.factors)
    ]


def positions(config: RunConfig) -> list[int]:
    """The 0-based context positions of d, one and a half times d, and as many examples as there are but the query."""
    d_input, n_context = (config.task.model_shape()[name] for name in ("d_input", "n_context"))
    return [d_input, d_input * 3 // 2, n_context - 1]


def _errors(program: Program) -> list[Float[Tensor, " context"]]:
    """Of every model on the same fresh prompts, computed in float32."""
    config = program.configs[0]
    model = build_model(config)
    batch = config.task.prompts(_SEED, _STREAM, 0, _N_PROMPTS).to(program.device)
    assert isinstance(batch, RegressionBatch)
    found = []
    with torch.no_grad(), products("float32"):
        for replica in range(len(program.configs)):
            load_weights(model, program.weights_of(replica))
            predictions = torch.cat([model.predict(batch.prompts(i, i + 512)) for i in range(0, _N_PROMPTS, 512)])
            found.append(error_by_context(predictions, batch.ys, batch.xs.shape[2]).cpu())
    return found


def findings(outcomes: Sequence[Outcome]) -> Findings:
    """A table for each preset."""
    presets = dict.fromkeys(outcome.preset for outcome in outcomes)
    sheets = [_sheet(preset, [outcome for outcome in outcomes if outcome.preset == preset]) for preset in presets]
    return Findings(sheets, {"outcomes": [vars(outcome) for outcome in outcomes]})


def _sheet(preset: str, outcomes: Sequence[Outcome]) -> Sheet:
    seconds = outcomes[0].ms * outcomes[0].n_steps / 1000
    columns = ["rule", "peak lr", "ms an update", "updates", *(f"t = {i}" for i in outcomes[0].context)]
    rows = [
        [each.optimizer, f"{each.lr:g}", f"{each.ms:.2f}", str(each.n_steps), *_cells(each.errors)] for each in outcomes
    ]
    n = len(outcomes[0].errors)
    told = f"squared error / d after t examples, on {_N_PROMPTS} fresh prompts"
    spread = f"; mean of {n} seeds, least to largest" if n > 1 else "; one seed"
    return Sheet(f"preset {preset}, {seconds:.0f} s of training each", columns, rows, [told + spread])


def _cells(errors: Sequence[Sequence[float]]) -> list[str]:
    """One for each position."""
    return [_cell(at) for at in zip(*errors, strict=True)]


def _cell(errors: Sequence[float]) -> str:
    mean = f"{statistics.fmean(errors):.3g}"
    return mean if len(errors) == 1 else f"{mean} ({min(errors):.3g} to {max(errors):.3g})"


OPTIMIZERS = Bench("optimizers", "final errors under every update rule after the same time of training", run)
