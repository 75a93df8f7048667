"""What the layer table says, weighed by fixed rules; it abstains where they do not decide."""

from collections.abc import Mapping, Sequence

from workbench.agreement.record import LayerAgreement, Verdict
from workbench.agreement.trend import Trend
from workbench.baselines import BASELINES

_LEVEL_MARGIN = 0.01
"""SimE by which one family must lead for the level alone to say anything."""


def weigh(layers: Sequence[LayerAgreement], trend: Mapping[str, Trend]) -> Verdict:
    """Name the algorithm whose best-matching step rises linearly while the others' grow geometrically.

    The level of SimE decides nothing here: Newton and gradient descent match each other to .98 at suitable steps,
    and conjugate gradient matches trained models as well as Newton does. A verdict needs at least three
    informative layers, and exactly one family with a linear trend.

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
    evidence.append(_tell_level(informative))
    linear = [name for name, t in trend.items() if t.shape == "linear"]
    geometric = [name for name, t in trend.items() if t.shape == "geometric"]
    if len(linear) != 1 or not geometric:
        rising = ", ".join(f"{_label(n)} {trend[n].shape}" for n in trend)
        sentence = f"No verdict: the best-matching steps do not single out one algorithm ({rising})."
        return Verdict(None, True, sentence, tuple(evidence))
    return Verdict(linear[0], False, _sentence(linear[0], geometric, trend, informative), tuple(evidence))


def _sentence(name: str, geometric: list[str], trend: Mapping[str, Trend], layers: list[LayerAgreement]) -> str:
    t = trend[name]
    first, last = t.layers or (0, 0)
    others = ", ".join(
        f"{_label(o)} would need {trend[o].rate:.1f} times the steps of the layer before" for o in geometric
    )
    leader = max(layers[0].families, key=lambda f: sum(layer.families[f].best_sim_e for layer in layers))
    caveat = (
        "The level of agreement does not decide: "
        f"{_label(leader)} has the highest mean SimE over these layers. Reading each layer's spectral filter would."
    )
    return (
        f"From layer {first} to {last} each layer advances by about {t.rate:.1f} steps of {_label(name)}; "
        f"{others}. {caveat}"
    )


def _tell_layers(layers: Sequence[LayerAgreement], informative: list[LayerAgreement]) -> str:
    anchored = ", ".join(f"{layer.layer} ({layer.at_anchor})" for layer in layers if layer.at_anchor) or "none"
    return f"{len(informative)} informative layers; at an anchor: {anchored}."


def _tell_trend(name: str, t: Trend) -> str:
    if t.shape == "none" or t.rate is None:
        return f"{_label(name)}: no trend over informative layers."
    unit = "steps a layer" if t.shape == "linear" else "times a layer"
    ci = f" [{t.rate_ci[0]:.2f}, {t.rate_ci[1]:.2f}]" if t.rate_ci else ""
    return f"{_label(name)}: {t.shape}, {t.rate:.2f}{ci} {unit}, R^2 {t.r2:.3f}."


def _tell_level(layers: list[LayerAgreement]) -> str:
    means = {f: sum(layer.families[f].best_sim_e for layer in layers) / len(layers) for f in layers[0].families}
    told = ", ".join(f"{_label(f)} {mean:.3f}" for f, mean in means.items())
    spread = max(means.values()) - min(means.values())
    decides = "decides nothing" if spread < _LEVEL_MARGIN else "differs"
    return f"Mean best SimE over informative layers: {told}; the level {decides}."


def _label(name: str) -> str:
    return BASELINES[name].label
