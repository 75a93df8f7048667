"""What claims of theory papers share: arms of five seeds, each run held against closed forms.

A number that was measured on prompts meets a condition only if its whole 95% interval over prompts does. Excess risks
are judged by the ratio to what theory's predictor errs on the same prompts, so that no luck of the prompts counts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from workbench.against_theory.config import TheoryConfig
from workbench.analyses import theory
from workbench.arms import Arm
from workbench.claims.record import Claim, Looks, Measurement, Seen, Study, Tell
from workbench.claims.seeds import Condition, Judged, Look, measurement
from workbench.opened import Run

N_SEEDS = 5
_QUICK = TheoryConfig(n_prompts=4000, n_curve=400, n_resamples=200, n_checkpoints=0)
_CLOSE = replace(_QUICK, n_prompts=16_000)
_WITH_TRAINING = replace(_QUICK, n_checkpoints=256)


def arm(
    name: str, task: str, preset: str, changes: Mapping[str, Any] | None = None, *, small: str | None = None
) -> Arm:
    """Five seeds of a preset, in sizes that are the papers' own; of another one at scale small where that is given."""
    return Arm(f"theory-{name}", task, {"small": small or preset, "paper": preset}, changes or {}, n_seeds=N_SEEDS)


def seen(run: Run, tell: Tell) -> Mapping[str, Any]:
    """The theory record of the last checkpoint, without those before it, on as many prompts as claims need."""
    return theory(run, _QUICK, tell=tell)


def seen_closely(run: Run, tell: Tell) -> Mapping[str, Any]:
    """The same on four times the prompts: where rare ones carry most of the risk."""
    return theory(run, _CLOSE, tell=tell)


def seen_over_training(run: Run, tell: Tell) -> Mapping[str, Any]:
    """The same with what checkpoints before it say."""
    return theory(run, _WITH_TRAINING, tell=tell)


def form(look: Look, name: str) -> Mapping[str, Any]:
    """A closed form of a theory record."""
    return next(each for each in look["closed_forms"] if each["name"] == name)


def row(look: Look, name: str, quantity: str) -> Mapping[str, Any]:
    """A row of a closed form."""
    return next(each for each in form(look, name)["rows"] if each["quantity"] == quantity)


def judged(measured: float | None, ci: Sequence[float] | None, holds: Callable[[float], bool]) -> Judged:
    """A number and both ends of its interval held against a condition."""
    if measured is None:
        return Judged(None, False)
    ends = None if ci is None else (ci[0], ci[1])
    return Judged(measured, all(map(holds, (measured, *(ends or ())))), ends)


def value(name: str, quantity: str, holds: Callable[[float], bool]) -> Condition:
    """A condition on what was measured, met if the whole interval over prompts meets it."""

    def condition(look: Look) -> Judged:
        found = row(look, name, quantity)
        return judged(found["measured"], found["ci"], holds)

    return condition


def near(name: str, quantity: str, share: float) -> Condition:
    """Within a share of what theory says, the interval too; the number is what was measured."""

    def condition(look: Look) -> Judged:
        found = row(look, name, quantity)
        return judged(found["measured"], found["ci"], lambda x: abs(x / found["theory"] - 1) <= share)

    return condition


def beyond(name: str, quantity: str, holds: Callable[[float], bool]) -> Condition:
    """A condition on a ratio less 1: the share by which one risk is above another on the same prompts."""

    def condition(look: Look) -> Judged:
        found = row(look, name, quantity)
        if found["measured"] is None:
            return Judged(None, False)
        return judged(found["measured"] - 1, [end - 1 for end in found["ci"]], holds)

    return condition


def like(name: str, share: float) -> Condition:
    """The excess risk at most by a share from that of theory's predictor on the same prompts."""
    return beyond(name, "excess_ratio", lambda x: abs(x) <= share)


def risk(name: str, holds: Callable[[float], bool]) -> Condition:
    """A condition on the excess risk: theory's expectation times the ratio of both risks on the same prompts."""

    def condition(look: Look) -> Judged:
        said, ratio = row(look, name, "excess")["theory"], row(look, name, "excess_ratio")
        if ratio["measured"] is None:
            return Judged(None, False)
        return judged(said * ratio["measured"], [said * end for end in ratio["ci"]], holds)

    return condition


def pattern(name: str, holds: Callable[[float], bool]) -> Condition:
    """A condition on the worst head's score of a pattern of weights; on the only one of a pattern of all heads."""

    def condition(look: Look) -> tuple[float | None, bool]:
        found = next(each for each in look["weights"]["patterns"] if each["name"] == name)
        scores = found["scores"][0]
        worst = scores if isinstance(scores, float) else min(scores)
        return worst, holds(worst)

    return condition


def shift(look: Look, name: str, axis: str) -> Mapping[str, Any]:
    """Model and theory on other prompts."""
    return next(each for each in form(look, name)["shifted"] if each["axis"] == axis)


def place(look: Look, name: str, axis: str, at: float) -> Mapping[str, Any]:
    """One place of a shift."""
    found = shift(look, name, axis)
    i = found["at"].index(at)
    return {key: values[i] for key, values in found.items() if isinstance(values, list)}


def apart(name: str, axes: Sequence[str], at_most: float) -> Condition:
    """Largest distance of predictions from theory's, over their square, at all places of some shifts."""

    def condition(look: Look) -> tuple[float, bool]:
        found = max(max(shift(look, name, axis)["apart"]) for axis in axes)
        return found, found <= at_most

    return condition


def flat(name: str, at_most: float) -> Condition:
    """Largest excess risk between trained weights and theory's, over the larger of both ends."""

    def condition(look: Look) -> tuple[float | None, bool]:
        way = form(look, name)["between"]
        if way is None or way["note"]:
            return None, False
        found = max(way["excess"]) / max(way["excess"][0], way["excess"][-1])
        return found, found <= at_most

    return condition


def claim(
    name: str,
    citation: str,
    statement: str,
    published: str,
    of: Arm,
    conditions: Mapping[str, Condition],
    more: Sequence[str] = (),
    look: Callable[[Run, Tell], Mapping[str, Any]] = seen,
) -> Claim:
    """A claim that every seed of one arm meets or fails.

    Args:
        name: Its id, ``paper/what``.
        citation: Where to read it.
        statement: The claim in one sentence.
        published: The published value with its setting.
        of: The arm.
        conditions: By their wording; the first gives the value that is told.
        more: Further evidence.
        look: From a run to its theory record.
    """

    def check(looks: Looks) -> Measurement:
        found = looks.get(of.name, Seen())
        return measurement("seeds", conditions, found.looks, n_seeds=found.n_seeds, more=more)

    return Claim(name, name.split("/")[0], citation, statement, published, check, study=Study((of,), look))
