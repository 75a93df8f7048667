"""Layers in which an algorithm that learns from the prompt cannot be: what the verdict must not be given for."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from workbench.agreement.sight import Sight
from workbench.batch import RegressionBatch


@dataclass(frozen=True, eq=False)
class Nulls:
    """What else is held against the same algorithms, on the same prompts with their own labels.

    Attributes:
        untrained: The same model before training.
        relabelled: The model asked about the same inputs with labels of other prompts.
        others: Models of other tasks, by what they are called.
    """

    untrained: Sight | None = None
    relabelled: Sight | None = None
    others: Mapping[str, Sight] = field(default_factory=dict)

    @property
    def strangers(self) -> dict[str, Sight]:
        """Models that have not learnt this task, by what they are called."""
        first = {} if self.untrained is None else {"the untrained model": self.untrained}
        return {**first, **self.others}


NO_NULLS = Nulls()


def relabelled(batch: RegressionBatch) -> RegressionBatch:
    """The same inputs, every label that of the same position of another prompt, no two of one prompt from the same.

    (Of fewer prompts than positions some are.) What such a prompt says of w is noise.

    Raises:
        ValueError: If there is but one prompt.
    """
    if batch.n_batch < 2:
        raise ValueError(f"n_batch must be at least 2 to exchange labels; got {batch.n_batch}. Draw more prompts.")
    shifts = [1 + i % (batch.n_batch - 1) for i in range(batch.n_context)]
    ys = torch.stack([batch.ys[:, i].roll(shift, dims=0) for i, shift in enumerate(shifts)], 1)
    return RegressionBatch(batch.xs, ys)
