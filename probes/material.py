"""What every probe of a study is fitted to and scored on: prompts, tokens and targets, the same for all models."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from probes.columns import Columns, check_varies, columns, with_control_task
from probes.config import ProbeConfig
from probes.places import Group
from probes.record import ProbeTarget
from probes.sites import read
from workbench.batch import RegressionBatch
from workbench.errors import InputError
from workbench.models.transformer import Transformer
from workbench.tasks import Task

_BATCH = 256


@dataclass(frozen=True, eq=False)
class Material:
    """Prompts to fit and to score on, with the targets at every group of places.

    Attributes:
        fit: Prompts that weights and settings are chosen on, the last quarter for settings.
        test: Prompts that scores are from.
        groups: The tokens of every probe.
        fit_columns: Targets of the first, for each group.
        test_columns: Targets of the second.
        components: What is read.
        config: Settings.
    """

    fit: RegressionBatch
    test: RegressionBatch
    groups: tuple[Group, ...]
    fit_columns: list[Columns]
    test_columns: list[Columns]
    components: tuple[str, ...]
    config: ProbeConfig

    def some(self, start: int, stop: int) -> "Material":
        """The same for the groups ``start`` to ``stop - 1``."""
        at = slice(start, stop)
        return replace(
            self, groups=self.groups[at], fit_columns=self.fit_columns[at], test_columns=self.test_columns[at]
        )


def gather(
    task: Task,
    targets: Sequence[ProbeTarget],
    groups: tuple[Group, ...],
    components: tuple[str, ...],
    config: ProbeConfig,
) -> Material:
    """Numbered prompts of the task and the targets in them.

    Raises:
        InputError: If a target cannot be computed or is the same for all prompts.
    """
    fit = regression_prompts(task, config.seed, "probe", config.n_fit)
    test = regression_prompts(task, config.seed, "probe-test", config.n_prompts)
    fit_columns = columns(fit, task, targets, groups, config.scale)
    for found, group in zip(fit_columns, groups, strict=True):
        check_varies(found, group)
    test_columns = columns(test, task, targets, groups, config.scale)
    types = [found for found in map(_types, (fit, test)) if found is not None]
    for index in range(len(groups) if types else 0):
        generator = torch.Generator().manual_seed(config.seed)  # the same map at all places
        both = fit_columns[index], test_columns[index]
        fit_columns[index], test_columns[index] = with_control_task(both, types, generator)
    return Material(fit, test, groups, fit_columns, test_columns, components, config)


def _types(batch: RegressionBatch) -> Tensor | None:
    """The one latent that names a class for every prompt, such as which w of a pool; None where there is none."""
    found = [value for value in batch.latents.values() if value.ndim == 1 and not value.is_floating_point()]
    return found[0].cpu() if len(found) == 1 else None


def regression_prompts(task: Task, seed: int, stream: str, n: int) -> RegressionBatch:
    """Prompts of (x, y) examples.

    Raises:
        InputError: If the task has others.
    """
    batch = task.prompts(seed, stream, 0, n)
    if not isinstance(batch, RegressionBatch):
        raise InputError(f"probes need prompts of (x, y) examples; task {task.name!r} has tokens.")
    return batch


@dataclass(frozen=True, eq=False)
class Piece:
    """Activations of a few prompts.

    Attributes:
        rows: Which prompts.
        by_group: For every group and component, what was read.
    """

    rows: slice
    by_group: list[dict[str, Float[Tensor, "site prompt place *pos width"]]]


def stream(
    model: Transformer, batch: RegressionBatch, material: Material, ends: Sequence[int] = (), *, pooled: bool = False
) -> Iterator[Piece]:
    """Activations at all groups of places, a few prompts at a time; no piece reaches across one of ``ends``.

    Raises:
        InputError: If an activation is not finite.
    """
    weight = model.unembed.weight
    places = [place for group in material.groups for place in group.places]
    cuts = sorted({*range(0, batch.n_batch, _BATCH), *(end for end in ends if end < batch.n_batch), batch.n_batch})
    for first, last in pairwise(cuts):
        part = batch.prompts(first, last).to(weight.device, weight.dtype)
        found = iter(read(model, part, material.components, places, pooled=pooled))
        by_group = []
        for group in material.groups:
            at = [next(found) for _ in group.places]
            by_group.append({name: torch.stack([each[name] for each in at], 2) for name in material.components})
        yield Piece(slice(first, last), by_group)


def as_rows(values: Float[Tensor, "site prompt place width"]) -> Float[Tensor, "site sample width"]:
    """Places as samples of their own, those of a prompt beside each other."""
    return rearrange(values, "site prompt place width -> site (prompt place) width")


def as_samples(values: Float[Tensor, "prompt place column"]) -> Float[Tensor, "sample column"]:
    """The same of targets."""
    return rearrange(values, "prompt place column -> (prompt place) column")
