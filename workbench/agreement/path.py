"""An algorithm under one convention, and what it says all along its parameter."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.agreement.asked import Known


@dataclass(frozen=True, eq=False)
class Path:
    """One algorithm under one convention.

    Attributes:
        algorithm: Registry name.
        convention: What is held fixed along the path, for people.
        parameter: What moves along it: steps, strength, ...
        values: Of the parameter, in the order of progress.
        predictions: At each of them.
        end: Where it leads, least squares, of a path that iterates.
        knobs: Numbers of the convention that may be turned.
        least: What each of them must be at least: below, the algorithm would be another one.
        remade: From other such numbers, and values of the parameter, to convention and predictions.
        whole: Whether ``values`` are some of many whole numbers, and layers may stand at others.
        iterates: Whether one can stop on the way: a path of steps or of falling ridge strength. Values of other paths
            are different algorithms, each of which knows no half-way; before them stands 0, for layers that are silent.
    """

    algorithm: str
    convention: str
    parameter: str
    values: tuple[float, ...]
    predictions: Known
    iterates: bool
    end: Float[Tensor, "batch scored"] | None = None
    knobs: tuple[float, ...] = ()
    least: tuple[float, ...] = ()
    remade: Callable[[tuple[float, ...], Sequence[float]], tuple[str, Known]] | None = None
    whole: bool = False

    def turned(self, knobs: tuple[float, ...], values: Sequence[float]) -> "Path":
        """The same algorithm with its convention's numbers turned to others, at some values of the parameter."""
        assert self.remade is not None
        convention, known = self.remade(knobs, values)
        return replace(self, convention=convention, values=tuple(values), predictions=known, knobs=knobs)


def silent_first(path: Path) -> Path:
    """A path that knows no half-way, with silence before it: the state of layers before the algorithm has run."""
    known = torch.cat([torch.zeros_like(path.predictions[:1]), path.predictions])
    return replace(path, values=(0.0, *path.values), predictions=known)
