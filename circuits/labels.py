"""Labels of heads: rules over stored scores, so that other thresholds need no new measurement."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from circuits.record import Mean
from workbench.configs import is_finite
from workbench.errors import must, refuse_faults


@dataclass(frozen=True)
class LabelRules:
    """Thresholds. Scores of attention are compared after taking chance out: (score - chance) / (1 - chance)."""

    previous_token: float = 0.4
    """Least score of a previous-token head."""
    duplicate: float = 0.4
    """Least score of a duplicate-token head."""
    induction: float = 0.4
    """Least score of an induction head (Olsson et al. found .6 to .9 in small models)."""
    sink: float = 0.5
    """Least mean attention on position 0 in some domain."""
    sink_contrast: float = 0.4
    """active_dormant: least difference of that attention between two domains."""
    loss_contrast: float = 5.0
    """active_dormant: least ratio of the loss change by zeroing, where the head rests less over where it rests more."""
    standard_errors: float = 3.0
    """active_dormant: both contrasts, and the larger loss change, must be as many standard errors from none."""

    def __post_init__(self) -> None:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        refuse_faults(must(f"rules.{n}", "be at least 0", v, is_finite(v, at_least=0)) for n, v in values.items())


@dataclass(frozen=True)
class Contrast:
    """The two domains in which a head differs most.

    Attributes:
        rests_in: Where it attends most to position 0.
        acts_in: Where least.
        sink_difference: Of these means.
        loss_change_resting: By zeroing it, where it rests.
        loss_change_acting: Where it acts.
        holds: Whether both contrasts are large and sure enough.
    """

    rests_in: str
    acts_in: str
    sink_difference: float
    loss_change_resting: float
    loss_change_acting: float
    holds: bool


def contrast(sink_mass: Mapping[str, Mean], loss_change: Mapping[str, Mean], rules: LabelRules) -> Contrast | None:
    """How a head differs between the domains; None where there is only one."""
    if len(sink_mass) < 2:
        return None
    rests, acts = (pick(sink_mass, key=lambda name: sink_mass[name].mean) for pick in (max, min))
    difference = sink_mass[rests].mean - sink_mass[acts].mean
    unsure = (sink_mass[rests].standard_error ** 2 + sink_mass[acts].standard_error ** 2) ** 0.5
    resting, acting = loss_change[rests], loss_change[acts]
    gap_unsure = (resting.standard_error**2 + acting.standard_error**2) ** 0.5
    sure = rules.standard_errors
    holds = (
        difference >= rules.sink_contrast
        and difference > sure * unsure
        and acting.mean > sure * acting.standard_error
        and acting.mean - abs(resting.mean) > sure * gap_unsure
        and acting.mean >= rules.loss_contrast * abs(resting.mean)
    )
    return Contrast(rests, acts, difference, resting.mean, acting.mean, holds)


def over_chance(score: Mean, chance: Mean) -> float:
    """0 at chance, 1 for the ideal head."""
    return (score.mean - chance.mean) / (1 - chance.mean)


def labels(
    scores: Mapping[str, Mean],
    chances: Mapping[str, Mean],
    sink_mass: Mapping[str, Mean],
    contrast: Contrast | None,
    rules: LabelRules,
) -> list[str]:
    """The labels that a head's scores earn; NaN earns none.

    Args:
        scores: By detector.
        chances: Of the same detectors.
        sink_mass: Attention on position 0 by domain.
        contrast: Between domains.
        rules: Thresholds.
    """
    earned = [
        name
        for name in ("previous_token", "duplicate", "induction")
        if over_chance(scores[name], chances[name]) >= getattr(rules, name)
    ]
    if any(mass.mean >= rules.sink for mass in sink_mass.values()):
        earned.append("sink")
    if contrast is not None and contrast.holds:
        earned.append("active_dormant")
    return earned
