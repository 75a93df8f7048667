"""How weights begin."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.registry import by_name


@dataclass(frozen=True)
class InitKind:
    """One law of initial weights. Learned vectors that nothing multiplies are standard normal in all of them.

    Attributes:
        name: Registry name.
        label: Name for people.
        source: Where it is defined.
        uniform: Whether maps, and their biases, are uniform in ±1/sqrt(fan-in), else Gaussian with that standard
            deviation and biases zero.
        by_depth: Whether maps that write into the stream are divided by sqrt(2 n_layers).
        scales_tokens: Whether the table of tokens begins as a map of width d_model does, else standard normal.
    """

    name: str
    label: str
    source: str
    uniform: bool
    by_depth: bool
    scales_tokens: bool

    def fill_map(
        self, weight: Tensor, std: float | None, generator: torch.Generator, *, fan_in: int, writers: int | None
    ) -> None:
        """Draw a map, or the bias of one, in place.

        Args:
            weight: What is drawn.
            std: Standard deviation instead of the law's own.
            generator: Source of randomness.
            fan_in: Numbers that an output of the map is made of.
            writers: Maps that write into the stream, if this is one of them.
        """
        if self.uniform:
            weight.uniform_(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), generator=generator)
            return
        std = std or 1 / math.sqrt(fan_in)
        weight.normal_(0.0, std / math.sqrt(writers) if self.by_depth and writers else std, generator=generator)


INITS = by_name(
    InitKind("scaled", "Gaussian by fan-in and depth", "Radford et al. 2019, GPT-2, for the depth", False, True, True),
    InitKind("torch", "PyTorch's own: uniform maps, standard normal tables", "torch.nn", True, False, False),
)
