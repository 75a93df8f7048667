"""Targets as columns beside each other, and shuffled copies of them behind."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
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
        by_type: The control task's targets, in which every type of prompt has the target of a random type; None where
            prompts have no types.
        typed: Targets that are functions of the type, whose control task means something.
    """

    values: Float[Tensor, "prompt place column"]
    parts: dict[str, slice]
    by_type: Float[Tensor, "prompt place column"] | None = None
    typed: frozenset[str] = frozenset()

    def part(self, name: str) -> Float[Tensor, "prompt place column"]:
        """One target."""
        return self.values[..., self.parts[name]]

    def shuffled(self, n_copies: int, generator: torch.Generator) -> Float[Tensor, "prompt place column"]:
        """All columns, then copies of all columns that belong to other prompts; last, with copies, the control task."""
        orders = [torch.randperm(len(self.values), generator=generator) for _ in range(n_copies)]
        last = [self.by_type] if n_copies and self.by_type is not None else []
        return torch.cat([self.values, *(self.values[order] for order in orders), *last], -1)

    def n_wide(self, n_copies: int) -> int:
        """How often all columns stand beside themselves in `shuffled`."""
        return 1 + n_copies + bool(n_copies and self.by_type is not None)

    def copies(self, n_copies: int) -> list[slice]:
        """The columns of each target in turn, then those of its copies, as `shuffled` has them."""
        width = self.values.shape[-1]
        starts = range(0, self.n_wide(n_copies) * width, width)
        return [slice(start + part.start, start + part.stop) for start in starts for part in self.parts.values()]


def with_control_task(
    both: Sequence[Columns], types: Sequence[Int[Tensor, " _"]], generator: torch.Generator
) -> list[Columns]:
    """Columns of prompts to fit and to score on, with the targets of one control task for both.

    Every type is given the target of a random prompt's type, once and for all, so that a probe can learn the map only
    by telling types apart and remembering what each was given.

    Args:
        both: Columns of one group of places.
        types: Type of every prompt.
        generator: Draws the map.

    Source:
        Hewitt and Liang 2019, arXiv:1909.03368, section 2.
    """
    values, kinds = torch.cat([each.values for each in both]), torch.cat(list(types))
    known, own = kinds.unique(return_inverse=True)
    first = torch.stack([(own == kind).nonzero()[0, 0] for kind in range(len(known))])
    of_type = values[first]
    strays = (values - of_type[own]).abs().amax((0, 1))
    least = 1e-6 * values.abs().amax((0, 1))
    parts = both[0].parts
    typed = frozenset(name for name, part in parts.items() if (strays[part] <= least[part]).all())
    given = _given(own, len(known), generator)
    split = of_type[given][own].split([len(each.values) for each in both])
    return [replace(each, by_type=targets, typed=typed) for each, targets in zip(both, split, strict=True)]


def _given(own: Int[Tensor, " _"], n_types: int, generator: torch.Generator) -> Int[Tensor, " _"]:
    """For every type the type of a random prompt, not the same for all."""
    given = own[torch.randint(len(own), (n_types,), generator=generator)]
    while n_types > 1 and (given == given[0]).all():
        given = own[torch.randint(len(own), (n_types,), generator=generator)]
    return given


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
