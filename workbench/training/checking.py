"""Whether this machine can train a run, found before anything of it is made."""

import math

import torch

from workbench.errors import InputError
from workbench.training.building import STORED, build_model
from workbench.training.config import RunConfig
from workbench.training.distributed import ALONE, World
from workbench.training.loss import mean_loss
from workbench.training.memory import check_fits

_ROUNDED = ("tf32", "bf16")


def check_trainable(config: RunConfig, world: World = ALONE) -> None:
    """Refuse a run that could not take its first step: the device, the memory, the model, the prompts, the loss.

    Raises:
        InputError: With what is wrong.
    """
    check_device(config.train.device)
    _check_precision(config.train.precision, config.train.device)
    check_fits([config], world)
    check_first_loss(config)


def check_first_loss(config: RunConfig) -> None:
    """Refuse a run whose model or prompts are too large for its numbers.

    Raises:
        InputError: If the loss of the untrained model is not finite.
    """
    model = build_model(config)
    batch = config.task.prompts(config.train.seed, "train", 0, 1)
    with torch.no_grad():
        loss = mean_loss(model, batch.to(config.train.device, STORED[config.train.precision]))
    if not math.isfinite(loss.item()):
        raise InputError(
            f"the first loss must be finite; got {loss.item()}. Lower the task's scales or model.init_std, or use "
            "train.precision float64."
        )


def _check_precision(precision: str, device: str) -> None:
    if device == "cpu" and precision in _ROUNDED:
        raise InputError(
            f"train.precision must be float32 or float64 on the cpu; got {precision!r}, which is for accelerators. "
            "Use float32."
        )


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        InputError: If torch does not know it or the machine lacks it.
    """
    try:
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0]  # torch goes on with all that it knows
        raise InputError(
            f"train.device must be a device of this machine; got {device!r} ({reason}). Try cpu; for GPUs "
            "see docs/training.md."
        ) from None
