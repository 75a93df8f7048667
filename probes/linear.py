"""Ridge probes of all sites, places, targets and controls in two passes: activations stream by and are not kept."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from probes import scores
from probes.code_length import bits_saved, block_ends
from probes.columns import Columns
from probes.material import Material, as_rows, as_samples, stream
from probes.methods.ridge import RIDGES, Linear, Spectrum, check_enough, choose, spread
from probes.outcome import Bits, Outcome, Outcomes
from probes.sites import COMPONENTS
from probes.sums import Sums
from workbench.models.transformer import Transformer

_BYTES = 2**29
"""Memory for sums, about: groups of places beyond it are done in further passes."""


def linear_outcomes(model: Transformer, material: Material, *, controls: bool) -> Outcomes:
    """Ridge probes of every target; strengths chosen on validation prompts, one for each site and target.

    Args:
        model: The model.
        material: Prompts, places and targets.
        controls: Whether to fit targets of other prompts too, and to measure the online code.

    Raises:
        InputError: If there are no more training samples than features, or activations are not finite.
    """
    at_a_time = _groups_at_a_time(model, material, n_copies=material.config.n_shuffles if controls else 0)
    found: Outcomes = []
    for start in range(0, len(material.groups), at_a_time):
        found += _in_two_passes(model, material.some(start, start + at_a_time), controls=controls)
    return found


def _groups_at_a_time(model: Transformer, material: Material, n_copies: int) -> int:
    d_model, d_head = model.config.d_model, model.config.head_width
    columns = max(each.values.shape[-1] for each in material.fit_columns)
    per_group = 0
    for name in material.components:
        component = COMPONENTS[name]
        width = d_head if component.per_head else d_model
        per_group += len(component.sites(model)) * width * (10 * width + 3 * columns * (1 + n_copies)) * 8
    return max(1, _BYTES // per_group)


@dataclass(frozen=True, eq=False)
class _Fitted:
    """Probes of one group and component.

    Attributes:
        linear: Those of all targets and, at strengths of their own, all copies.
        matched: Those of the copies at the strengths of the real targets.
        strengths: Strength by site and target.
        noise: Squared error by site and column on validation samples, of the targets and all copies.
        saved: Bits that the online code saves: of the targets, of a copy of each, of the control task.
    """

    linear: Linear
    matched: Linear | None
    strengths: Float[Tensor, "site part"]
    noise: Float[Tensor, "site column"]
    saved: list[Float[Tensor, "site part"]]


def _in_two_passes(model: Transformer, material: Material, *, controls: bool) -> Outcomes:
    n_copies = material.config.n_shuffles if controls else 0
    generator = torch.Generator().manual_seed(material.config.seed)
    wide = [each.shuffled(n_copies, generator) for each in material.fit_columns]
    fitted = _fit(model, material, wide, n_copies)
    known = [(each.mean((0, 1)), each.var((0, 1), unbiased=False)) for each in wide]
    wide = [each.shuffled(n_copies, generator) for each in material.test_columns]
    said: list[dict[str, list[Tensor]]] = [{name: [] for name in material.components} for _ in material.groups]
    sums: list[dict[str, list[Sums]]] = [{name: [] for name in material.components} for _ in material.groups]
    for piece in stream(model, material.test, material):
        for index, by_component in enumerate(piece.by_group):
            for name, values in by_component.items():
                rows, probes = as_rows(values), fitted[index][name]
                width = material.test_columns[index].values.shape[-1]
                own = Linear(probes.linear.weights[..., :width], probes.linear.intercepts[..., :width])
                said[index][name].append(own(rows).unflatten(1, values.shape[1:3]))
                if n_copies:
                    sums[index][name].append(Sums.of(rows, as_samples(wide[index][piece.rows])))
    return [
        {
            name: _outcomes(
                fitted[index][name],
                torch.cat(said[index][name], 1),
                total(sums[index][name]) if n_copies else None,
                material.test_columns[index],
                known[index],
                n_copies,
            )
            for name in material.components
        }
        for index in range(len(material.groups))
    ]


def _fit(model: Transformer, material: Material, wide: list[Tensor], n_copies: int) -> list[dict[str, _Fitted]]:
    """One pass over the prompts to fit on."""
    n_train = material.config.n_train
    ends = block_ends(n_train)
    blocks: list[dict[str, list[Sums | None]]] = [
        {name: [None] * (len(ends) + 1) for name in material.components} for _ in material.groups
    ]
    for piece in stream(model, material.fit, material, ends):
        block = sum(end <= piece.rows.start for end in ends)  # the last one validates
        for index, by_component in enumerate(piece.by_group):
            targets = as_samples(wide[index][piece.rows])
            for name, values in by_component.items():
                held, new = blocks[index][name], Sums.of(as_rows(values), targets)
                before = held[block]
                held[block] = new if before is None else before + new
    return [
        {
            name: _solve([each for each in held if each is not None], material.fit_columns[index], n_copies)
            for name, held in blocks[index].items()
        }
        for index in range(len(material.groups))
    ]


def _solve(blocks: list[Sums], columns: Columns, n_copies: int) -> _Fitted:
    *training, validation = blocks
    train = total(training)
    check_enough(train.n, train.gram.shape[-1])
    parts, own = columns.copies(n_copies), list(columns.parts.values())
    found = Spectrum.of(train)
    errors = found.validation_errors(validation, RIDGES)
    strengths = choose(errors, parts, RIDGES)
    linear = found.solution(spread(strengths, parts))
    real = strengths[:, : len(own)]
    saved = _saved(training, columns) if n_copies else []
    matched = found.solution(spread(real.repeat(1, columns.n_wide(n_copies)), parts)) if n_copies else None
    noise = validation.errors(linear.weights, linear.intercepts)
    return _Fitted(linear, matched, real, noise, saved)


def _saved(training: list[Sums], columns: Columns) -> list[Float[Tensor, "site part"]]:
    """Bits saved by the online code of the targets, of one copy of each and, where there is one, the control task."""
    own, width = list(columns.parts.values()), columns.values.shape[-1]
    both = bits_saved([block.columns(slice(2 * width)) for block in training], columns.copies(1)[: 2 * len(own)])
    saved = list(both.split(len(own), -1))
    if columns.typed:
        saved.append(bits_saved([block.columns(slice(-width, None)) for block in training], own))
    return saved


def _outcomes(
    fitted: _Fitted, said: Tensor, test: Sums | None, columns: Columns, known: tuple[Tensor, Tensor], n_copies: int
) -> dict[str, Outcome]:
    none = torch.empty(len(said), 0, len(columns.parts), dtype=said.dtype)
    both = (fitted.linear, fitted.matched)
    copies = [none if test is None or each is None else _copy_scores(each, test, columns, n_copies) for each in both]
    informed = None if test is None else _copy_information(fitted, test, columns, known, n_copies)
    return {
        name: Outcome(
            said=said[..., part],
            shuffled=copies[0][:, :n_copies, index],
            matched=copies[1][:, :n_copies, index],
            by_type=copies[0][:, -1, index] if n_copies and name in columns.typed else None,
            n_features=fitted.linear.weights.shape[1],
            strengths=fitted.strengths[:, index],
            bits=None if informed is None else _bits(fitted, said, informed, columns, known, (index, name, n_copies)),
        )
        for index, (name, part) in enumerate(columns.parts.items())
    }


def _bits(
    fitted: _Fitted,
    said: Tensor,
    informed: Float[Tensor, "site copy target"],
    columns: Columns,
    known: tuple[Tensor, Tensor],
    what: tuple[int, str, int],
) -> Bits:
    index, name, n_copies = what
    part = columns.parts[name]
    mean, variance = (each[part] for each in known)
    typed = name in columns.typed
    return Bits(
        held_out=scores.bits_saved(said[..., part], columns.part(name), fitted.noise[:, part], mean, variance),
        shuffled=informed[:, :n_copies, index].mean(1),
        by_type=informed[:, -1, index] if typed else None,
        saved=fitted.saved[0][:, index],
        saved_shuffled=fitted.saved[1][:, index],
        saved_by_type=fitted.saved[2][:, index] if typed else None,
    )


def _copy_information(
    fitted: _Fitted, test: Sums, columns: Columns, known: tuple[Tensor, Tensor], n_copies: int
) -> Float[Tensor, "site copy target"]:
    """V-information of the copies of every target, and of the control task behind them where there is one."""
    mean, variance = known
    error = test.errors(fitted.linear.weights, fitted.linear.intercepts)
    about_mean = test.squares / test.n - 2 * mean * test.y / test.n + mean.square()
    found = [
        scores.v_information(error[:, part], fitted.noise[:, part], about_mean[part], variance[part])
        for part in columns.copies(n_copies)
    ]
    n_targets = len(columns.parts)
    return torch.stack(found, -1)[:, n_targets:].unflatten(1, (-1, n_targets))


def _copy_scores(linear: Linear, test: Sums, columns: Columns, n_copies: int) -> Float[Tensor, "site copy target"]:
    """Held-out R^2 of the shuffled copies of every target, and of the control task behind them where there is one."""
    errors = test.errors(linear.weights, linear.intercepts) * test.n
    about_mean = test.squares - test.y.square() / test.n
    found = [1 - errors[:, part].sum(-1) / about_mean[part].sum() for part in columns.copies(n_copies)]
    n_targets = len(columns.parts)
    return torch.stack(found, -1)[:, n_targets:].unflatten(1, (-1, n_targets))


def total(parts: Iterable[Sums]) -> Sums:
    """The sums over all parts."""
    first, *rest = parts
    for part in rest:
        first = first + part
    return first
