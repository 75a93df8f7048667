"""One head of the record: what it attends to, what it weighs, what is lost without it, each beside its chance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from circuits.composition import Compositions
from circuits.labels import Contrast, LabelRules, contrast, labels
from circuits.reading import Reading
from circuits.record import Mean
from workbench.configs import to_data

At = tuple[int, int]


@dataclass(frozen=True, eq=False)
class WeightScores:
    """What weights alone say of all heads.

    Attributes:
        copying: Of `circuits.copying`.
        compositions: By kind.
    """

    copying: Any
    compositions: Mapping[str, Compositions]


@dataclass(frozen=True, eq=False)
class AllHeads:
    """What was measured of all heads; the tensors begin with layer and head and end with prompts.

    Attributes:
        readings: By domain.
        scores: By detector.
        chances: By detector, of prompts alone.
        changes: Loss changes by kind and domain; none without interventions.
        screened: Loss changes on a few prompts by domain; None if not asked for.
        of_weights: None without folded weights.
        rules: Thresholds of the labels.
    """

    readings: Mapping[str, Reading]
    scores: Mapping[str, Tensor]
    chances: Mapping[str, Tensor]
    changes: Mapping[str, Mapping[str, Tensor]]
    screened: Mapping[str, Tensor] | None
    of_weights: WeightScores | None
    rules: LabelRules


def head_row(found: AllHeads, layer: int, head: int) -> dict[str, Any]:
    """A head's part of the record, as plain data; both are counted from 0."""
    at = (layer, head)
    scores = {name: Mean.of(score[at]) for name, score in found.scores.items()}
    chances = {name: Mean.of(chance) for name, chance in found.chances.items()}
    sink = {name: Mean.of(reading.sink_mass[at]) for name, reading in found.readings.items()}
    entropy = {name: Mean.of(reading.entropy[at]) for name, reading in found.readings.items()}
    lost = {kind: _by_domain(by, at) for kind, by in found.changes.items()}
    differs = contrast(sink, lost["zeroed"], found.rules) if lost else None
    ratios = {name: first_over_others(each.value_norms)[at].item() for name, each in found.readings.items()}
    return {
        "layer": layer,
        "head": head,
        **_means(scores),
        **_weighed(found.of_weights, at),
        "sink_mass": _mean_of(sink),
        "sink_mass_by_domain": _means(sink),
        "entropy_by_domain": _means(entropy),
        "value_ratio": sum(ratios.values()) / len(ratios),
        "value_ratio_by_domain": ratios,
        **_losses(lost, differs),
        "labels": labels(scores, chances, sink, differs, found.rules),
        "chance": _chance(found, chances, at),
        "standard_errors": {
            **_errors(scores),
            "sink_mass_by_domain": _errors(sink),
            "entropy_by_domain": _errors(entropy),
        },
        "prompts": _prompts(found, at),
        "screened": None if found.screened is None else to_data(_by_domain(found.screened, at)),
    }


def first_over_others(norms: Float[Tensor, "*of pos"]) -> Float[Tensor, "*of"]:
    """Norm at position 0 over the mean at all others."""
    return norms[..., 0] / norms[..., 1:].mean(-1)


def _by_domain(values: Mapping[str, Tensor], at: At) -> dict[str, Mean]:
    return {name: Mean.of(each[at]) for name, each in values.items()}


def _weighed(of_weights: WeightScores | None, at: At) -> dict[str, Any]:
    """Copying, in standard deviations of its chance too, and the earlier heads of highest composition."""
    if of_weights is None:
        return {"copying": None, "copying_z": None, "composition": {}}
    told = of_weights.copying
    score, level, spread = (each[at].item() for each in (told.score, told.chance, told.chance_std))
    partners = {kind: to_data(each.partner(*at)) for kind, each in of_weights.compositions.items()}
    return {
        "copying": score,
        "copying_z": (score - level) / spread if spread > 0 else None,
        "composition": partners,
    }


def _losses(lost: Mapping[str, Mapping[str, Mean]], differs: Contrast | None) -> dict[str, Any]:
    """What is lost when the head is silenced; None and nothing without interventions."""
    return {
        "loss_change_zeroed": _mean_of(lost["zeroed"]) if lost else None,
        "loss_change_by_domain": _means(lost["zeroed"]) if lost else None,
        "loss_changes": {kind: {name: to_data(each) for name, each in by.items()} for kind, by in lost.items()},
        "contrast": to_data(differs) if differs else None,
    }


def _chance(found: AllHeads, chances: Mapping[str, Mean], at: At) -> dict[str, Any]:
    """Of each score: uniform attention, shuffled tokens for copying, 1 for ratios, 0 for losses."""
    uniform = {name: Mean.of(reading.uniform_sink_mass) for name, reading in found.readings.items()}
    return {
        **_means(chances),
        "sink_mass": _mean_of(uniform),
        "sink_mass_by_domain": _means(uniform),
        "entropy": 1.0,
        "value_ratio": 1.0,
        "loss_change_zeroed": 0.0,
        "copying": None if found.of_weights is None else found.of_weights.copying.chance[at].item(),
    }


def _prompts(found: AllHeads, at: At) -> dict[str, dict[str, list[float]]]:
    """Numbers of single prompts."""
    sink = {name: _rounded(reading.sink_mass[at]) for name, reading in found.readings.items()}
    lost = {kind: {name: _rounded(each[at]) for name, each in by.items()} for kind, by in found.changes.items()}
    return {"sink_mass": sink, **lost}


def _rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.4g}") for value in values.tolist()]


def _means(by: Mapping[str, Mean]) -> dict[str, float]:
    return {name: each.mean for name, each in by.items()}


def _errors(by: Mapping[str, Mean]) -> dict[str, float]:
    return {name: each.standard_error for name, each in by.items()}


def _mean_of(by: Mapping[str, Mean]) -> float:
    """Every domain counts the same."""
    return sum(each.mean for each in by.values()) / len(by)
