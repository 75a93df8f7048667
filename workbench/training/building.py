"""Models of run configs."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from workbench.errors import InputError
from workbench.models.transformer import Transformer
from workbench.training.config import RunConfig

STORED = {"float32": torch.float32, "float64": torch.float64, "tf32": torch.float32, "bf16": torch.float32}
"""Type of weights, optimizer state and data under each precision."""


def build_model(config: RunConfig) -> Transformer:
    """The untrained model of a run: weights are a function of the seed alone."""
    generator = torch.Generator().manual_seed(config.train.seed)
    return Transformer(config.model, generator).to(config.train.device, STORED[config.train.precision])


def on_this_machine(config: RunConfig) -> RunConfig:
    """The same on the CPU, where the run's accelerator is missing: what trained there can be looked at anywhere."""
    device = torch.device(config.train.device)
    if device.type != "cuda" or (device.index or 0) < torch.cuda.device_count():
        return config
    return replace(config, train=replace(config.train, device="cpu"))


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
