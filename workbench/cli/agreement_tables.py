"""Tables of an agreement record: the verdict's and those of the spectral filters."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.cli.output import number, print_table, say

_WIDTH = 120
_FILTER_VALUES = 5
_SHOWN = 8
"""Values of a path up to which all are listed."""


def print_filters(fingerprint: Mapping[str, Any]) -> None:
    """What share of each eigendirection every layer has learnt, and the reference filter nearest to it."""
    eigenvalues = fingerprint["eigenvalues"]
    shown = spread(len(eigenvalues), _FILTER_VALUES)
    units = {
        "sum": "of S = X'X as they are",
        "mean": "of S over the number of examples",
        "relative": "over the largest of the prefix",
    }
    print_table(
        "Spectral filter: λ f(λ), 0 nothing learnt, 1 as least squares, ± half the 95% interval over prompts.\n"
        f"Eigenvalues are {units[fingerprint['scale']]}",
        ["layer", "explained", "nearest filter", "distance", *(f"λ = {eigenvalues[i]:.2g}" for i in shown)],
        [_filter_row(layer, shown) for layer in fingerprint["layers"]],
    )


def spread(n: int, at_most: int) -> list[int]:
    """At most so many of n places, evenly from the first to the last."""
    if n <= at_most:
        return list(range(n))
    return [round(i * (n - 1) / (at_most - 1)) for i in range(at_most)]


def _filter_row(layer: Mapping[str, Any], shown: Sequence[int]) -> list[str]:
    from workbench.baselines import BASELINES

    found = {name: value for name, value in layer["distances"].items() if value is not None}
    nearest = min(found, key=lambda name: found[name], default=None)
    silent = len(set(found.values())) == 1  # all references stand at zero
    told = "–" if nearest is None or silent else BASELINES[nearest].label
    explained = layer["explained"]
    values = [_with_half(layer["learnt"][i], layer["low"][i], layer["high"][i]) for i in shown]
    return [
        str(layer["layer"]) if layer["layer"] else "0 emb",
        "–" if explained is None else f"{100 * explained:.1f}%",
        told,
        "–" if nearest is None or silent else number(found[nearest]),
        *values,
    ]


def _with_half(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return number(value, 2)
    return f"{value:.2f} ±{(high - low) / 2:.2f}"


def print_nearness(verdict: Mapping[str, Any]) -> None:
    """Every algorithm's distance from the layers, how they lean towards it, and where they stand on its path."""
    rows = [_nearness_row(name, near) for name, near in verdict.get("nearness", {}).items()]
    if rows:
        print_table(
            "Verdict: how near the layers lie to each algorithm, under its nearest convention.\n"
            "Misfit: mean squared distance, of the labels' square. Lean: 0 on the nearest algorithm, 1 on this one; "
            "above .5 nearer to this one",
            ["algorithm", "convention", "misfit", "lean [95% over prompts]", "layers", "where they stand"],
            rows,
        )


def _nearness_row(name: str, near: Mapping[str, Any]) -> list[str]:
    from workbench.baselines import BASELINES

    known = [misfit for misfit in near["misfits"] if misfit is not None]
    misfit = f"{100 * sum(known) / len(known):.3g}%" if known else "–"
    layers = near["layers"]
    return [
        BASELINES[name].label if name in BASELINES else name,
        near["convention"],
        misfit,
        _lean(near),
        f"{layers[0]} to {layers[-1]}" if layers else "–",
        where(near),
    ]


def _lean(near: Mapping[str, Any]) -> str:
    if near["lean"] is None:
        return "the same here"
    if not any(near["lean_ci"]):
        return "0 (nearest)"
    low, high = near["lean_ci"]
    return f"{near['lean']:.2f} [{_fixed(low)}, {_fixed(high)}]"


def _fixed(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def where(near: Mapping[str, Any]) -> str:
    """Values of the parameter, layer by layer."""
    if not near["parameter"]:
        return "at the solution"
    told = [_value(value) for value in near["values"]]
    shown = told if len(told) <= _SHOWN else [*told[: _SHOWN // 2], "…", *told[-_SHOWN // 2 :]]
    return f"{near['parameter']} {', '.join(shown)}"


def _value(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def tell_ridge(found: Mapping[str, Any]) -> str:
    """Which ridge the model's own output is nearest to, beside that of Bayes; "" where there is none."""
    if found["strength"] is None:
        return ""
    low, high = map(_value, found["ci"])
    bayes = "" if found["bayes"] is None else f"; that of the Bayes predictor is {_value(found['bayes'])}"
    told = f"The output is nearest to ridge of strength {_value(found['strength'])} [{low}, {high}]"
    return f"{told} on the sum loss{bayes}."


def print_verdict(verdict: Mapping[str, Any]) -> None:
    """The evidence, one wrapped sentence each, then the verdict between rules, at the very end."""
    say("Evidence")
    for sentence in verdict["evidence"]:
        say(wrapped(sentence, "  - ", "    "))
    say()
    say("─" * _WIDTH)
    say(wrapped(verdict["sentence"]))


def wrapped(sentence: str, first: str = "", others: str = "") -> str:
    """A sentence over as many lines as it needs."""
    return textwrap.fill(
        sentence, _WIDTH, initial_indent=first, subsequent_indent=others, break_on_hyphens=False, break_long_words=False
    )
