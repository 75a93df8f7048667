"""Probes that are fitted to activations in memory, all sites and copies of a target together."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from probes.class_codes import bits_saved_on, online_code
from probes.code_length import bits_saved_by, block_ends
from probes.columns import Columns
from probes.config import ProbeConfig
from probes.material import Material, stream
from probes.methods.ridge import check_enough
from probes.outcome import Bits, Outcome, Outcomes
from probes.record import Fitted, Probe, Samples, Weighs
from probes.scores import bits_saved, r2
from workbench.batch import RegressionBatch
from workbench.models.transformer import Transformer


def trained_outcomes(method: Probe, model: Transformer, material: Material, *, controls: bool) -> Outcomes:
    """Fit and apply one method at every group of places, one group in memory at a time.

    Args:
        method: Registry record.
        model: The model.
        material: Prompts, places and targets.
        controls: Whether to fit a copy with targets of other prompts beside each.

    Raises:
        InputError: If there are no more training samples than features, or activations are not finite.
    """
    found: Outcomes = []
    for index in range(len(material.groups)):
        one = material.some(index, index + 1)
        fit = _kept(model, one.fit, one, pooled=method.pools)
        test = _kept(model, one.test, one, pooled=method.pools)
        found.append({name: _component(method, one, fit[name], test[name], controls=controls) for name in fit})
    return found


def _kept(model: Transformer, batch: RegressionBatch, material: Material, *, pooled: bool) -> dict[str, Tensor]:
    """Activations of all prompts, places as samples."""
    pieces = [piece.by_group[0] for piece in stream(model, batch, material, pooled=pooled)]
    return {
        name: rearrange(
            torch.cat([piece[name] for piece in pieces], 1), "site prompt place ... -> site (prompt place) ..."
        )
        for name in material.components
    }


def _component(method: Probe, material: Material, fit: Tensor, test: Tensor, *, controls: bool) -> dict[str, Outcome]:
    return {
        name: _target(method, material, name, fit, test, controls=controls) for name in material.fit_columns[0].parts
    }


def _target(method: Probe, material: Material, name: str, fit: Tensor, test: Tensor, *, controls: bool) -> Outcome:
    config, n_places = material.config, len(material.groups[0].places)
    generator = torch.Generator().manual_seed(config.seed)
    own, held_out = (
        _copies(each[0], name, generator, copies=controls) for each in (material.fit_columns, material.test_columns)
    )
    n_train = config.n_train * n_places
    check_enough(n_train, fit.shape[-1])
    train, validation = (Samples(fit[:, rows], own[:, rows]) for rows in (slice(n_train), slice(n_train, None)))
    probes = method.fit(train, validation, config.training, config.seed)
    said = probes(test)  # [site copy sample column]
    by_copy = (_accuracy if method.says == "classes" else _r2)(said, held_out)
    pooling = getattr(probes, "shares", None)
    parts = (train, validation, Samples(test, held_out))
    return Outcome(
        said=said[:, 0].unflatten(1, (-1, n_places)),
        shuffled=by_copy[:, 1:2],
        matched=by_copy[:, 1:2],
        by_type=by_copy[:, 2] if by_copy.shape[1] > 2 else None,
        n_features=fit.shape[-1] * (fit.shape[-2] if method.pools else 1),
        bits=_bits(method, probes, config, parts, n_places) if controls else None,
        pooling=None if pooling is None else pooling[:, 0],
    )


def _bits(
    method: Probe, probes: Fitted, config: ProbeConfig, parts: tuple[Samples, Samples, Samples], n_places: int
) -> Bits:
    """What the codes of the target, its copy and the control task save."""
    train, validation, test = parts
    ends = [end * n_places for end in block_ends(config.n_train)]
    online = None
    if isinstance(probes, Weighs):
        classes = torch.cat([each.targets for each in parts], 1).long().unique()
        held_out = bits_saved_on(probes, classes, train, validation, test)
        online = online_code(method, train, ends, classes, config.training, config.seed)
        saved = online.saved
    else:
        held_out = _gaussian(probes, parts)
        wanted = config.online_code == "all"
        saved = bits_saved_by(method, train, ends, config.training, config.seed) if wanted else None
    by_copy = held_out.mean(2)
    return Bits(
        held_out=held_out[:, 0].unflatten(1, (-1, n_places)),
        shuffled=_copy(by_copy, 1),
        by_type=_copy(by_copy, 2),
        saved=_copy(saved, 0),
        saved_shuffled=_copy(saved, 1),
        saved_by_type=_copy(saved, 2),
        online=None if online is None else online.probe[:, 0],
        marginal=None if online is None else online.plain[0].item(),
        uniform=None if online is None else online.uniform,
    )


def _copy(values: Float[Tensor, "site copy"] | None, index: int) -> Float[Tensor, " site"] | None:
    return values[:, index] if values is not None and index < values.shape[1] else None


def _gaussian(probes: Fitted, parts: tuple[Samples, Samples, Samples]) -> Float[Tensor, "site copy sample"]:
    """Bits that Gaussian codes save on held-out samples."""
    train, validation, test = parts
    known = torch.cat([train.targets, validation.targets], 1)
    noise = (probes(validation.activations) - validation.targets).square().mean(2)
    said = probes(test.activations)
    return torch.stack(
        [
            bits_saved(
                said[:, copy, :, None],
                test.targets[copy, :, None],
                noise[:, copy],
                known[copy].mean(0),
                known[copy].var(0, unbiased=False),
            )[..., 0]
            for copy in range(len(known))
        ],
        1,
    )


def _copies(columns: Columns, name: str, generator: torch.Generator, *, copies: bool) -> Tensor:
    """The targets; if asked for those of other prompts, and the control task's behind: ``[copy sample column]``."""
    values = columns.part(name)
    both = [values]
    if copies:
        both.append(values[torch.randperm(len(values), generator=generator)])
    if copies and columns.by_type is not None and name in columns.typed:
        both.append(columns.by_type[..., columns.parts[name]])
    return rearrange(torch.stack(both), "copy prompt place column -> copy (prompt place) column")


def _r2(said: Tensor, truth: Tensor) -> Tensor:
    return torch.stack([r2(said[:, copy, :, None], truth[copy][:, None]) for copy in range(len(truth))], 1)


def _accuracy(said: Tensor, truth: Tensor) -> Tensor:
    return (said == truth).double().mean((2, 3))
