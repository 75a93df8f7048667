"""Which algorithm the layers run: the nearest one, if it is near, alone in that, and advances from layer to layer."""

from workbench.agreement.nulls import NO_NULLS, Nulls
from workbench.agreement.record import Verdict
from workbench.agreement.sight import GRADIENT, SKILL, Sight
from workbench.agreement.telling import advance, coarse, contest, equals, evidence, label, nearness, percent, seen

BLEND, BLEND_GAIN = 0.8, 1e-3
"""Misfit of a sum of two algorithms, as a share of the best single one's and this much of the labels' square less, from
which on both are at work."""
SMALLEST_SHARE = 0.15
"""Weight that each part of a blend must have, in layers that speak."""
STEP_BACK = 0.05
"""How much of the way a later layer may fall behind an earlier one."""
RISE = 0.02
"""Progress by which the layers of an iteration must differ."""
BLIND = 0.5
"""Share of what the layers say when asked with labels of other prompts, from which on they do not listen to labels."""


def weigh(sight: Sight, nulls: Nulls = NO_NULLS) -> Verdict:
    """Name the nearest algorithm, or abstain with the reason.

    The rules, in order: all numbers are finite; some layer speaks; no sum of two unlike algorithms is much nearer; the
    nearest algorithm explains most of what the layers say; they lie clearly nearer to it than to any other; it never
    falls back from one layer to the next, and an iteration moves at all; no null says the same. Newton's iteration
    from alpha I is gradient descent with 2^k steps, and is called so. Methods of gradients that differ by their
    momentum alone are one class, called gradient descent, beside its nearest member and those that are as near.
    """
    if not bool(sight.layers.isfinite().all()):
        sentence = (
            "No verdict: some layers predict NaN or infinity. Look at the model's weights, or at an earlier checkpoint."
        )
        return Verdict(None, True, sentence, (), (), "some layers predict NaN or infinity")
    if not sight.speaking:
        sentence = "No verdict: no layer says anything yet: all predict about zero."
        return Verdict(None, True, sentence, (), (), "no layer says anything yet")
    if _is_blend(sight):
        doubt = _blend_doubt(sight) or _null_of_blend(sight, nulls)
        return _abstain(sight, nulls, doubt) if doubt else _mixture(sight, nulls)
    doubt = _doubt(sight) or _null(sight, nulls)
    return _abstain(sight, nulls, doubt) if doubt else _named(sight, nulls)


def _named(sight: Sight, nulls: Nulls) -> Verdict:
    same = equals(sight)
    told = f" It cannot be told from {', '.join(same)}." if same else ""
    member = sight.winner if sight.winner in GRADIENT else None
    accelerated = member not in (None, "gd")
    head = "Gradient descent, by a method with momentum: " if accelerated else ""
    sentence = f"{head}{seen(sight)}. {percent(sight.skill)} of what the layers say is explained.{told}"
    return Verdict(
        algorithm="gd" if member else sight.winner,
        abstained=False,
        sentence=sentence,
        evidence=evidence(sight, nulls),
        equals=same,
        advance=advance(sight),
        nearness=nearness(sight),
        kin=tuple(sight.kin),
        member=member,
    )


def _abstain(sight: Sight, nulls: Nulls, reason: str) -> Verdict:
    found = advance(sight)
    sentence = f"No verdict: {reason}. {coarse(found)}".strip()
    return Verdict(None, True, sentence, evidence(sight, nulls), (), reason, found, nearness(sight))


def _mixture(sight: Sight, nulls: Nulls) -> Verdict:
    blend = sight.blend
    shares = blend.shares.median(0).values
    first, second = (label(part) for part in blend.parts)
    alone = f"{label(sight.winner)} alone has {percent(sight.best.misfit)}"
    sentence = (
        f"The layers say a sum of two algorithms: about {shares[0]:.2f} × {first} and {shares[1]:.2f} × {second}. Its "
        f"misfit is {percent(blend.misfit)} of the labels' square; {alone}."
    )
    return Verdict("mixture", False, sentence, evidence(sight, nulls), blend.parts, None, None, nearness(sight))


def _is_blend(sight: Sight) -> bool:
    """Whether a sum of two algorithms, both with some weight, is much nearer than any alone."""
    alone = sight.best.misfit
    if sight.winner == "ols" or alone < BLEND_GAIN:
        return False
    blend = sight.blend
    if blend.misfit > min(BLEND * alone, alone - BLEND_GAIN):
        return False
    return blend.shares.median(0).values.min().item() >= SMALLEST_SHARE


def _blend_doubt(sight: Sight) -> str:
    """Why the nearest sum of two algorithms cannot be named, or ""."""
    if sight.blend_skill < SKILL or sight.blend.behind > STEP_BACK:
        return "a sum of two algorithms is nearest, but it explains too little, or falls back"
    foil = sight.foil
    if foil is not None and foil.misfit <= sight.blend.misfit:
        nearer = f"{label(foil.path.algorithm)} ({foil.path.convention}), which is no algorithm of these,"
        misfits = f"misfits {percent(foil.misfit)} and {percent(sight.blend.misfit)} of the labels' square"
        return f"{nearer} is nearer than the nearest sum of two ({misfits})"
    return ""


def _null_of_blend(sight: Sight, nulls: Nulls) -> str:
    """Why a null forbids to name the sum, or ""."""
    for name, null in nulls.strangers.items():
        if null.speaking and null.blend.parts == sight.blend.parts and null.blend_skill >= SKILL:
            return f"the layers of {name} say the same sum of two algorithms"
    null = nulls.relabelled
    return _deaf(null.blend_skill) if null is not None and null.blend_skill > BLIND else ""


def _doubt(sight: Sight) -> str:
    """Why the nearest algorithm cannot be named, or ""."""
    name, best = label(sight.winner), sight.best
    if sight.skill < SKILL:
        return f"even the nearest algorithm, {name}, explains only {percent(sight.skill)} of what the layers say"
    if sight.rivals:
        return contest(sight)
    if sight.behind > STEP_BACK:
        return f"a later layer stands {percent(sight.behind)} of the way behind an earlier one on the path of {name}"
    rise = (best.progress.max() - best.progress.min()).item()
    if best.path.iterates and sight.winner != "ridge" and (len(sight.moving) < 2 or rise < RISE):
        return f"{name} is nearest, but no iteration is seen: all layers that speak stand at about the same step"
    return ""


def _null(sight: Sight, nulls: Nulls) -> str:
    """Why a null forbids the name, or ""."""
    for name, null in nulls.strangers.items():
        near = (
            null.explained_by(sight.winner) > BLIND
        )  # quick; else the name is out of reach however numbers are turned
        if near and not _doubt(null) and (null.winner == sight.winner or sight.are_kin(null.winner)):
            return f"the layers of {name} say {label(null.winner)} as well"
    null = nulls.relabelled
    explained = 0.0 if null is None else null.explained_by(sight.winner)
    return _deaf(explained) if explained > BLIND else ""


def _deaf(explained: float) -> str:
    return (
        f"asked with labels of other prompts, the layers still say {percent(explained)} the same, so that they do not "
        "learn it from the labels"
    )
