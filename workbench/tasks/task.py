"""What a task is: hyperparameters, a sampler, and numbered prompts."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from workbench.batch import Batch, join

CHUNK = 64
"""Prompts drawn by one generator. Part of the meaning of a prompt's number: never change it."""


class Task(ABC):
    """A law of prompts. Subclasses are frozen dataclasses of hyperparameters, one file each.

    Attributes:
        name: Registry name.
        label: Name for people.
        source: The paper that defines the task.
        presets: Run settings by preset name, as plain data ``{"task": ..., "model": ..., "train": ...}``.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    source: ClassVar[str]
    presets: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]]

    @abstractmethod
    def sample(self, n_batch: int, generator: torch.Generator, *, d_active: int | Tensor | None = None) -> Batch:
        """Fresh prompts, drawn from ``generator`` alone and on its device.

        Args:
            n_batch: Number of prompts.
            generator: The only source of randomness.
            d_active: Input coordinates in use under a curriculum; the others are zero. None means all.
        """

    @abstractmethod
    def model_shape(self) -> Mapping[str, Any]:
        """The fields of the model config that the task fixes, such as ``d_input``."""

    @abstractmethod
    def least_squares_ridge(self) -> float | None:
        """Ridge strength on the sum loss whose predictions are the yardstick of training, or None."""

    @abstractmethod
    def bayes_ridge(self) -> float | None:
        """Ridge strength on the sum loss whose predictions are those of Bayes, or None if no ridge's are."""

    def prompts(self, seed: int, stream: str, first: int, n: int, *, d_active: int | Tensor | None = None) -> Batch:
        """The prompts numbered ``first`` to ``first + n - 1`` of a named stream.

        A prompt is a function of (task, seed, stream, number) alone: row ``number % CHUNK`` of the chunk
        ``number // CHUNK``, whatever batch it is asked for in.
        """
        chunks = range(first // CHUNK, (first + n - 1) // CHUNK + 1)
        drawn = [self.sample(CHUNK, chunk_generator(seed, stream, c), d_active=d_active) for c in chunks]
        if len(drawn) == 1 and n == CHUNK:
            return drawn[0]
        start = first - chunks.start * CHUNK
        return join(drawn).prompts(start, start + n)  # type: ignore[arg-type]


def chunk_generator(seed: int, stream: str, chunk: int) -> torch.Generator:
    """The CPU generator of one chunk of prompts, from a hash so that nearby seeds share nothing."""
    name = hashlib.sha256(f"{seed}/{stream}/{chunk}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(name[:8], "little", signed=True))
