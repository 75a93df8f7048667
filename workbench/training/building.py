"""Models of run configs, and whether this machine can train them."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from workbench.errors import InputError
from workbench.models.transformer import Transformer
from workbench.training.config import RunConfig
from workbench.training.loss import mean_loss

STORED = {"float32": torch.float32, "float64": torch.float64, "tf32": torch.float32, "bf16": torch.float32}
"""Type of weights, optimizer state and data under each precision."""
_ROUNDED = ("tf32", "bf16")


def build_model(config: RunConfig) -> Transformer:
    """The untrained model of a run: weights are a function of the seed alone."""
    generator = torch.Generator().manual_seed(config.train.seed)
    return Transformer(config.model, generator).to(config.train.device, STORED[config.train.precision])


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into a model of the same parameters.

    Raises:
        InputError: If names or shapes differ.
    """
    parameters = dict(model.named_parameters())
    check_weights({name: tuple(parameter.shape) for name, parameter in parameters.items()}, weights)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


def check_weights(wanted: Mapping[str, tuple[int, ...]], weights: Mapping[str, Tensor]) -> None:
    """Refuse weights of another model.

    Raises:
        InputError: If names or shapes differ.
    """
    given = {name: tuple(weight.shape) for name, weight in weights.items()}
    differing = sorted(name for name in {*wanted, *given} if wanted.get(name) != given.get(name))
    if differing:
        raise InputError(f"weights must be those of the model; they differ in {', '.join(differing)}.")


def check_trainable(config: RunConfig) -> None:
    """Refuse a run that could not take its first step: the device, the model, the prompts, the loss.

    Raises:
        InputError: With what is wrong.
    """
    check_device(config.train.device)
    _check_precision(config.train.precision, config.train.device)
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
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"train.device must be a device of this machine; got {device!r} ({reason}). Try cpu."
        ) from None
