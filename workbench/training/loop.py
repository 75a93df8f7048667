"""The training loop, all of it, in running order."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from workbench.errors import InputError
from workbench.linalg import cpu_threads
from workbench.models.transformer import Transformer
from workbench.runs import RunFolder
from workbench.training.config import RunConfig, TrainConfig, checkpoint_steps, run_config_from_data
from workbench.training.loss import least_squares_loss, mean_loss
from workbench.training.schedule import d_active, learning_rate, n_active

_HEARTBEAT_SECONDS = 1.0
_SMALL_UPDATE = 4e9
"""Floating-point operations of an update below which one thread is faster: measured on two cores, 0.9e9 (one
thread 1.5 to 2 times faster) and 14e9 (two threads 1.3 to 1.5 times faster)."""


@dataclass(frozen=True)
class Progress:
    """Where training stands: what a progress bar shows.

    Attributes:
        step: Updates done.
        n_steps: Updates in all.
        loss: Training loss of the last logged update.
        excess: The same minus that of least squares on the same prompts, or None.
        seconds_left: Estimate from the speed of this process.
    """

    step: int
    n_steps: int
    loss: float
    excess: float | None
    seconds_left: float


class TrainingFailed(RuntimeError):
    """Training cannot go on; the last good checkpoint is kept."""


def check_trainable(config: RunConfig) -> None:
    """Refuse a run that could not take its first step: the device, the model, the prompts, the loss.

    Raises:
        InputError: With what is wrong.
    """
    check_device(config.train.device)
    model = build_model(config)
    batch = config.task.prompts(config.train.seed, "train", 0, 1)
    with torch.no_grad():
        loss = mean_loss(model, batch.to(config.train.device, getattr(torch, config.train.precision)))
    if not math.isfinite(loss.item()):
        raise InputError(
            f"the first loss must be finite; got {loss.item()}. Lower the task's scales or model.init_std, or use "
            "train.precision float64."
        )


def _ignore(progress: Progress) -> None:  # a listener that does not listen
    pass


def build_model(config: RunConfig) -> Transformer:
    """The untrained model of a run: weights are a function of the seed alone."""
    generator = torch.Generator().manual_seed(config.train.seed)
    model = Transformer(config.model, generator)
    return model.to(config.train.device, getattr(torch, config.train.precision))


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        InputError: If torch does not know it or the machine lacks it.
    """
    try:
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"train.device must be a device of this machine; got {device!r} ({reason}). Try cpu."
        ) from None


def train(run: RunFolder, report: Callable[[Progress], None] | None = None) -> str:
    """Train a run from its last checkpoint, or from the start, to its end.

    The prompts of an update are numbered by the update, so a resumed run sees what an uninterrupted one sees.
    SIGINT and SIGTERM end it after the update in progress, with a checkpoint.

    Args:
        run: A run folder made from a resolved config.
        report: Called at every logged step.

    Returns:
        ``"finished"`` or ``"stopped"``.

    Raises:
        InputError: If the run is damaged or another process trains it.
        TrainingFailed: If loss or weights are no longer finite, or the run folder cannot be written.
    """
    config = run_config_from_data(run.config())
    run.claim()
    try:
        run.sweep()
        n_threads = run.env().get("n_threads") or sensible_threads(config)  # a resumed run keeps its number
        with cpu_threads(n_threads), _stop_signals() as stop:
            return _train(run, config, stop, report or _ignore)
    except BaseException as error:
        with suppress(OSError):  # a full disk: the status stays "running", which reads "killed" from now on
            step = run.checkpoint_steps()[-1] if run.checkpoint_steps() else 0
            run.write_status("failed", step, config.train.n_steps, f"{type(error).__name__}: {error}")
        if isinstance(error, OSError):
            raise TrainingFailed(
                f"{run.path} cannot be written ({error.strerror or error}); the last checkpoint is kept. "
                f"Make room, then go on with mesascope train --resume {run.path}."
            ) from error
        raise
    finally:
        run.release()


def _train(run: RunFolder, config: RunConfig, stop: threading.Event, report: Callable[[Progress], None]) -> str:
    settings = config.train
    model = build_model(config)
    parameters = dict(model.named_parameters())
    optimizer = build_optimizer(model, settings)
    step = first = _restore(run, model, optimizer)
    keep = set(checkpoint_steps(settings))
    spent = max((line["seconds"] for line in run.metrics()), default=0.0)
    run.write_status("running", step, settings.n_steps)
    if step == 0 and 0 in keep and not run.checkpoint_steps():
        _save(run, 0, parameters, optimizer)
    started = last_beat = time.monotonic()
    while step < settings.n_steps and not stop.is_set():
        logged = (step + 1) % settings.log_every == 0 or step == 0 or step + 1 in keep
        line = update(step, model, optimizer, config, logged=logged)
        step += 1
        if line is not None:
            line["seconds"] = round(spent + time.monotonic() - started, 3)
            run.append_metrics(line)
            seconds_left = (time.monotonic() - started) / (step - first) * (settings.n_steps - step)
            report(Progress(step, settings.n_steps, line["loss"], line["excess"], seconds_left))
            if not math.isfinite(line["loss"]):
                raise TrainingFailed(
                    f"the loss is {line['loss']} at step {step}; the last checkpoint is kept. Lower train.lr or "
                    "set train.clip_norm."
                )
        if step in keep:
            _save(run, step, parameters, optimizer)
        if time.monotonic() - last_beat > _HEARTBEAT_SECONDS:
            run.write_status("running", step, settings.n_steps)
            last_beat = time.monotonic()
    if step not in run.checkpoint_steps():
        _save(run, step, parameters, optimizer)
    state = "finished" if step == settings.n_steps else "stopped"
    run.write_status(state, step, settings.n_steps)
    return state


def update(
    step: int, model: Transformer, optimizer: torch.optim.Optimizer, config: RunConfig, *, logged: bool
) -> dict[str, Any] | None:
    """One update, the 0-based ``step``-th; its metrics line if it is to be logged."""
    settings, task = config.train, config.task
    shape = task.model_shape()
    d = d_active(step, shape["d_input"], settings) if "d_input" in shape else None
    n = n_active(step, shape["n_context"], settings) if "n_context" in shape else None
    drawn = task.prompts(settings.seed, "train", step * settings.n_batch, settings.n_batch, d_active=d)
    batch = drawn.to(settings.device, getattr(torch, settings.precision))
    lr = learning_rate(step, settings)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.zero_grad()
    loss = mean_loss(model, batch, n)
    loss.backward()
    max_norm = settings.clip_norm or math.inf
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    if not logged:
        return None
    reference = least_squares_loss(task, batch, model, n)
    value = loss.item()
    return {
        "step": step + 1,
        "loss": value,
        "excess": None if reference is None else value - reference,
        "lr": lr,
        "grad_norm": norm.item(),
        "d_active": d,
        "n_active": n,
    }


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The configured update rule over all parameters."""
    parameters = list(model.parameters())
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    return kind(parameters, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True)


def load_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy weights into a model of the same parameters.

    Raises:
        InputError: If names or shapes differ.
    """
    parameters = dict(model.named_parameters())
    wanted = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    given = {name: tuple(weight.shape) for name, weight in weights.items()}
    differing = sorted(name for name in wanted | given if wanted.get(name) != given.get(name))
    if differing:
        raise InputError(f"weights must be those of the model; they differ in {', '.join(differing)}.")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


def _restore(run: RunFolder, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load the last checkpoint; the step it stands at, 0 if there is none."""
    steps = run.checkpoint_steps()
    run.truncate_metrics(steps[-1] if steps else 0)
    if not steps:
        return 0
    load_weights(model, run.weights(steps[-1]))
    state = run.train_state(steps[-1])
    try:
        optimizer.load_state_dict(state["optimizer"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{run.path} must hold the state of this run's optimizer at step {steps[-1]}; it does not ({error})."
        ) from error
    return steps[-1]


def _save(run: RunFolder, step: int, parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    if not all(parameter.isfinite().all() for parameter in parameters.values()):
        raise TrainingFailed(
            f"the weights are not finite at step {step}; the last checkpoint is kept. Lower train.lr or set "
            "train.clip_norm."
        )
    state = {"step": step, "optimizer": optimizer.state_dict(), "torch": str(torch.__version__)}
    run.save_checkpoint(step, parameters, state)


def sensible_threads(config: RunConfig) -> int:
    """CPU threads for a run: the configured number, one for small updates, else torch's own choice.

    A small update is many short operations; waking a second thread for each costs more than it brings.
    """
    if config.train.n_threads is not None:
        return config.train.n_threads
    model = config.model
    n_weights = model.n_layers * (
        4 * model.d_model * model.n_heads * model.head_width + 2 * model.d_model * model.mlp_width
    )
    n_tokens = config.train.n_batch * (model.n_ctx or 2 * (model.n_context or 1))
    return 1 if 6 * n_weights * n_tokens < _SMALL_UPDATE else torch.get_num_threads()


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
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
