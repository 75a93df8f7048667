"""Targets as columns beside each other, and shuffled copies of them behind."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from probes.examples import Examples, Seen
from probes.places import Group
from probes.record import ProbeTarget
from workbench.batch import RegressionBatch
from workbench.errors import InputError
from workbench.tasks import Task

_PROMPTS = 512
"""Prompts whose prefixes are kept at a time."""


@dataclass(frozen=True, eq=False)
class Columns:
    """The targets of one group of places.

    Attributes:
        values: All targets, each a run of columns.
        parts: The columns of each target.
    """

    values: Float[Tensor, "prompt place column"]
    parts: dict[str, slice]

    def part(self, name: str) -> Float[Tensor, "prompt place column"]:
        """One target."""
        return self.values[..., self.parts[name]]

    def shuffled(self, n_copies: int, generator: torch.Generator) -> Float[Tensor, "prompt place column"]:
        """All columns, then copies of all columns that belong to other prompts."""
        orders = [torch.randperm(len(self.values), generator=generator) for _ in range(n_copies)]
        return torch.cat([self.values, *(self.values[order] for order in orders)], -1)

    def copies(self, n_copies: int) -> list[slice]:
        """The columns of each target in turn, then those of its copies, as `shuffled` has them."""
        width = self.values.shape[-1]
        starts = range(0, (1 + n_copies) * width, width)
        return [slice(start + part.start, start + part.stop) for start in starts for part in self.parts.values()]


def columns(
    batch: RegressionBatch, task: Task, targets: Sequence[ProbeTarget], groups: Sequence[Group], scale: str
) -> list[Columns]:
    """The targets of every group of places, a few prompts at a time.

    Raises:
        InputError: If a target is not finite, or its size differs between places that one probe reads.
    """
    by_group: list[list[Tensor]] = [[] for _ in groups]
    parts: list[dict[str, slice]] = [{} for _ in groups]
    for first in range(0, batch.n_batch, _PROMPTS):
        examples = Examples(batch.prompts(first, min(first + _PROMPTS, batch.n_batch)), task, scale)
        for index, group in enumerate(groups):
            at_places = [_beside(examples, targets, place.n_seen, place.position) for place in group.places]
            widths = {tuple((name, part.stop) for name, part in at.items()) for _, at in at_places}
            if len(widths) > 1:
                raise InputError(
                    "targets must have one size wherever one probe reads; take another reading than 'shared'."
                )
            by_group[index].append(torch.stack([values for values, _ in at_places], 1))
            parts[index] = at_places[0][1]
    return [Columns(torch.cat(values), at) for values, at in zip(by_group, parts, strict=True)]


def _beside(
    examples: Examples, targets: Sequence[ProbeTarget], n_seen: int, position: int
) -> tuple[Tensor, dict[str, slice]]:
    values: list[Tensor] = []
    parts: dict[str, slice] = {}
    start = 0
    for target in targets:
        value = target.compute(Seen(examples, n_seen, position))
        value = value.double()[:, None] if value.ndim == 1 else value.double()
        if not torch.isfinite(value).all():
            raise InputError(
                f"target {target.name!r} must be finite; it is not after {n_seen} examples. Take other n_contexts."
            )
        parts[target.name] = slice(start, start + value.shape[1])
        values.append(value)
        start += value.shape[1]
    return torch.cat(values, 1), parts


def check_varies(found: Columns, group: Group) -> None:
    """Refuse a target that is the same for all prompts: no score means anything.

    Raises:
        InputError: Naming the target and the way out.
    """
    for name in found.parts:
        values = found.part(name)
        spread = (values - values.mean((0, 1))).abs().max()
        if spread <= 1e-12 * values.abs().max():
            where = f"at position {group.position}" if len(group.places) == 1 else "at these positions"
            raise InputError(
                f"target {name!r} must differ between prompts; {where} it is the same for all. Leave it out, or take "
                "other n_contexts, reading 'shared', or a task in which it varies."
            )


def is_classes(target: ProbeTarget, batch: RegressionBatch, task: Task, group: Group) -> bool:
    """Whether a target names classes."""
    place = group.places[-1]
    value = target.compute(Seen(Examples(batch.prompts(0, 2), task), place.n_seen, place.position))
    return value.ndim == 1 and not value.is_floating_point()
