"""What the layer table says, weighed by fixed rules; it abstains where they do not decide."""

from collections.abc import Mapping, Sequence

from workbench.agreement.record import LayerAgreement, Verdict
from workbench.agreement.trend import Trend
from workbench.baselines import BASELINES

_LEVEL_MARGIN = 0.01
"""Mean SimE by which one of two algorithms with a linear trend must lead to be named."""


def weigh(layers: Sequence[LayerAgreement], trend: Mapping[str, Trend]) -> Verdict:
    """Name the algorithm whose best-matching step rises linearly while another's grows geometrically.

    The level of SimE names nothing: Newton and gradient descent match each other to .98 at suitable steps, and
    conjugate gradient matches trained models as well as Newton does. It decides between algorithms that both rise
    linearly, when one of them leads by `_LEVEL_MARGIN`, and against all of them, when ridge of the nearest strength
    or the Bayes predictor leads by as much. A verdict needs three informative layers.

    Source:
        The argument of Fu et al. 2024, arXiv:2310.17086, section 4.2, with its silent steps spelled out.
    """
    informative = [layer for layer in layers if layer.at_anchor is None]
    evidence = [_tell_layers(layers, informative), *(_tell_trend(n, t) for n, t in trend.items())]
    if len(informative) < 3:
        sentence = (
            f"No verdict: only {len(informative)} of {len(layers)} layers can be told from an anchor, and a trend "
            "needs three. Look at another checkpoint or a deeper model."
        )
        return Verdict(None, True, sentence, tuple(evidence))
    levels = _levels(informative)
    evidence.append(_tell_levels(levels))
    linear = sorted((n for n, t in trend.items() if t.shape == "linear"), key=levels.__getitem__, reverse=True)
    geometric = [name for name, t in trend.items() if t.shape == "geometric"]
    tied = [name for name in linear if levels[linear[0]] - levels[name] < _LEVEL_MARGIN]
    rivals = _anchor_levels(informative)
    evidence.append(_tell_rivals(rivals))
    ahead = [name for name in rivals if linear and rivals[name] - levels[linear[0]] >= _LEVEL_MARGIN]
    if ahead:
        told = " and ".join(f"{_anchor(name)} (mean SimE {rivals[name]:.3f})" for name in ahead)
        sentence = (
            f"No verdict: {told} without any iteration matches the layers better than {_label(linear[0])} "
            f"({levels[linear[0]]:.3f})."
        )
        return Verdict(None, True, sentence, tuple(evidence))
    if len(tied) != 1 or not geometric:
        rising = ", ".join(f"{_label(n)} {trend[n].shape}" for n in trend)
        sentence = f"No verdict: the best-matching steps do not single out one algorithm ({rising})."
        return Verdict(None, True, sentence, tuple(evidence))
    evidence += [_tell_runner_up(linear[0], other, levels) for other in linear[1:]]
    return Verdict(linear[0], False, _sentence(linear[0], geometric, trend, levels, rivals), tuple(evidence))


def _sentence(
    name: str,
    geometric: Sequence[str],
    trend: Mapping[str, Trend],
    levels: Mapping[str, float],
    rivals: Mapping[str, float],
) -> str:
    """What was seen, what the level cannot tell apart, and which measurement would."""
    t = trend[name]
    first, last = t.layers or (0, 0)
    slower = " and ".join(f"that of {_label(o)} grows {trend[o].rate:.1f} times a layer" for o in geometric)
    seen = (
        f"From layer {first} to {last} the best-matching step of {_label(name)} rises by about {t.rate:.1f} a layer, "
        f"while {slower}."
    )
    near = [f"{_label(o)} {levels[o]:.3f}" for o in geometric if levels[o] > levels[name] - _LEVEL_MARGIN]
    near += [f"{_anchor(o)} {rivals[o]:.3f}" for o in rivals if rivals[o] > levels[name] - _LEVEL_MARGIN]
    if not near:
        return seen
    return (
        f"{seen} The level of agreement does not tell them apart (mean SimE: {_label(name)} {levels[name]:.3f}, "
        f"{', '.join(near)}); the spectral filter of each layer would."
    )


def _anchor_levels(layers: Sequence[LayerAgreement]) -> dict[str, float]:
    """Mean SimE over layers of the anchors that could stand for a whole layer sequence without iterating."""
    names = [name for name in ("ridge", "bayes") if name in layers[0].anchors]
    return {name: sum(layer.anchors[name] for layer in layers) / len(layers) for name in names}


def _tell_rivals(rivals: Mapping[str, float]) -> str:
    told = ", ".join(f"{_anchor(name)} {level:.3f}" for name, level in rivals.items())
    return f"Mean SimE of anchors there: {told}."


def _anchor(name: str) -> str:
    return {"ridge": "ridge of the nearest strength", "bayes": "the Bayes predictor"}[name]


def _levels(layers: Sequence[LayerAgreement]) -> dict[str, float]:
    """Mean best SimE over layers, by algorithm."""
    return {f: sum(layer.families[f].best_sim_e for layer in layers) / len(layers) for f in layers[0].families}


def _tell_layers(layers: Sequence[LayerAgreement], informative: list[LayerAgreement]) -> str:
    anchored = ", ".join(f"{layer.layer} ({layer.at_anchor})" for layer in layers if layer.at_anchor) or "none"
    return f"{len(informative)} informative layers; at an anchor: {anchored}."


def _tell_trend(name: str, t: Trend) -> str:
    if t.shape == "none" or t.rate is None:
        return f"{_label(name)}: no trend over informative layers."
    unit = "steps a layer" if t.shape == "linear" else "times a layer"
    ci = f" [{t.rate_ci[0]:.2f}, {t.rate_ci[1]:.2f}]" if t.rate_ci else ""
    return f"{_label(name)}: {t.shape}, {t.rate:.2f}{ci} {unit}, R² {t.r2:.3f}."


def _tell_levels(levels: Mapping[str, float]) -> str:
    told = ", ".join(f"{_label(name)} {level:.3f}" for name, level in levels.items())
    return f"Mean best SimE over informative layers: {told}."


def _tell_runner_up(name: str, other: str, levels: Mapping[str, float]) -> str:
    return (
        f"{_label(other)} rises linearly too but matches less well: mean SimE {levels[other]:.3f} against "
        f"{levels[name]:.3f} of {_label(name)}."
    )


def _label(name: str) -> str:
    return BASELINES[name].label
