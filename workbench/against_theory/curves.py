"""A model's risk along a curve, beside theory's."""

from dataclasses import dataclass

import torch

from workbench.against_theory.config import TheoryConfig
from workbench.against_theory.observed import blocks, clean, drawn, lengthened, observe, resampled
from workbench.errors import InputError
from workbench.metrics import Interval
from workbench.models.transformer import Transformer
from workbench.tasks import Task
from workbench.theory import Curve

Mean = tuple[float, Interval]
_PIECE = 256
"""Prompts that run at once."""


@dataclass(frozen=True)
class MeasuredCurve:
    """Theory's curve and the model's.

    Attributes:
        axis: As in `Curve`.
        at: Places.
        theory: Excess risk by theory.
        measured: The model's, None where it cannot be asked.
        low: Lower ends of the 95% intervals.
        high: Upper ends.
        is_model: Whether the model should reach it.
        note: Why nothing was measured at some places, or "".
    """

    axis: str
    at: tuple[float, ...]
    theory: tuple[float, ...]
    measured: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    is_model: bool
    note: str = ""


class ModelCurves:
    """A model's excess risk, place by place; what was measured once is kept.

    Args:
        model: The model, in float64.
        task: Its task.
        config: Settings.
    """

    def __init__(self, model: Transformer, task: Task, config: TheoryConfig) -> None:
        self._model, self._task, self._config = model, task, config
        self._kept: dict[tuple[str, float], Mean] = {}

    def compare(self, said: Curve) -> MeasuredCurve:
        """The model's excess risk at each place of a curve."""
        found, notes = [], set()
        for place in said.at:
            try:
                found.append(self._at(said.axis, place))
            except InputError as error:
                found.append(None)
                notes.add(str(error))
        return MeasuredCurve(
            said.axis,
            said.at,
            said.excess,
            tuple(None if one is None else one[0] for one in found),
            tuple(None if one is None else one[1].low for one in found),
            tuple(None if one is None else one[1].high for one in found),
            said.is_model,
            " ".join(sorted(notes)),
        )

    def _at(self, axis: str, place: float) -> Mean:
        if axis == "n_examples" and self._model.config.causal and not self._kept:
            self._keep_positions()
        if (axis, place) not in self._kept:
            self._kept[axis, place] = self._measured(axis, place)
        return self._kept[axis, place]

    def _measured(self, axis: str, place: float) -> Mean:
        task, n, seed = self._task, self._config.n_curve, self._config.seed
        if axis == "n_examples":
            length = round(place)
            batch = drawn(task, n, seed, f"theory {length}", n_examples=length)
            seen = observe(lengthened(self._model, length), batch)
        else:
            seen = observe(self._model, drawn(task, n, seed, "theory scale", scale=place))
        return _mean((seen.said - seen.truth).square(), self._config)

    @torch.no_grad()
    def _keep_positions(self) -> None:
        """A causal model answers after every number of examples at once."""
        batch = drawn(self._task, self._config.n_curve, self._config.seed, "theory positions")
        batch = batch.to(dtype=self._model.unembed.weight.dtype)
        parts = [batch.prompts(first, first + _PIECE) for first in range(0, batch.n_batch, _PIECE)]
        errors = torch.cat([(self._model.predict(part) - clean(part)).square().double() for part in parts])
        for position in range(errors.shape[1]):
            self._kept["n_examples", float(position)] = _mean(errors[:, position], self._config)


def _mean(values: torch.Tensor, config: TheoryConfig) -> Mean:
    parts = blocks(values)
    found, ends = resampled(lambda shares: (shares @ parts)[None], config.n_resamples, config.seed)
    return float(found[0]), ends[0]
