"""What a task is: hyperparameters, a sampler, and numbered prompts."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from workbench.batch import Batch
from workbench.configs import literal_faults
from workbench.errors import refuse_faults
from workbench.tasks.draws import Draws, GeneratorDraws, numbered


def _checked(own: Callable[["Task"], None]) -> Callable[["Task"], None]:
    """A task's own checks behind that of the values that its types list."""

    def __post_init__(self: "Task") -> None:
        Task.__post_init__(self)
        own(self)

    return __post_init__


class Task(ABC):
    """A law of prompts. Subclasses are frozen dataclasses of hyperparameters, one file each.

    Attributes:
        name: Registry name.
        label: Name for people.
        source: The paper that defines the task.
        presets: Run settings by preset name, as plain data ``{"task": ..., "model": ..., "train": ...}``.
        drawn_in_order: Whether a prompt is drawn position by position, in hundreds of small steps that a compiler would
            take minutes to unroll: they are captured as they are.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    source: ClassVar[str]
    presets: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]]
    drawn_in_order: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        """Put the check of values that a type lists before a task's own checks."""
        super().__init_subclass__()
        own = cls.__dict__.get("__post_init__")
        if own is not None:
            cls.__post_init__ = _checked(own)  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        """Refuse a value that a field's type does not list."""
        refuse_faults(literal_faults(self))

    @abstractmethod
    def draw(self, draws: Draws, *, d_active: int | Tensor | None = None) -> Batch:
        """Fresh prompts, as many as ``draws`` has, from its random numbers alone and on its device.

        Branches depend on shapes and on the task's non-numeric fields alone, never on drawn values, so that a draw
        can be compiled, captured and vectorised over replicas whose numbers differ.

        Args:
            draws: The only source of randomness.
            d_active: Input coordinates in use under a curriculum; the others are zero. None means all.
        """

    @abstractmethod
    def model_shape(self) -> Mapping[str, Any]:
        """The fields of the model config that the task fixes, such as ``d_input``."""

    @abstractmethod
    def least_squares_ridge(self) -> float | Tensor | None:
        """Ridge strength on the sum loss whose predictions are the yardstick of training, or None.

        A tensor where the task's numbers are tensors, one for each replica of an ensemble.
        """

    @abstractmethod
    def bayes_ridge(self) -> float | None:
        """Ridge strength on the sum loss whose predictions are those of Bayes, or None if no ridge's are."""

    def sample(self, n_batch: int, generator: torch.Generator, *, d_active: int | Tensor | None = None) -> Batch:
        """Fresh prompts, drawn from ``generator`` alone and on its device."""
        return self.draw(GeneratorDraws(n_batch, generator), d_active=d_active)

    def prompts(self, seed: int, stream: str, first: int, n: int, *, d_active: int | Tensor | None = None) -> Batch:
        """The prompts numbered ``first`` to ``first + n - 1`` of a named stream, on the CPU.

        A prompt is a function of (task, seed, stream, number) alone, whatever batch it is asked for in.
        """
        return self.draw(numbered(seed, stream, first, n), d_active=d_active)
