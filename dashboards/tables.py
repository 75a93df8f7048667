"""Tables and sentences about a record, in the words that app and report share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.theme import (
    amount,
    anchor_label,
    cosine,
    cosine_interval,
    count_interval,
    label,
    layer_label,
    number,
    number_interval,
    percent,
    short_label,
)

_SHOWN = 8
"""Values of a path up to which all are listed."""


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        columns: Group and title of each column; neighbours of the same group belong together.
        rows: One text per column.
    """

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Groups in order, with the number of columns in each."""
        found: list[tuple[str, int]] = []
        for group, _ in self.columns:
            if found and found[-1][0] == group:
                found[-1] = (group, found[-1][1] + 1)
            else:
                found.append((group, 1))
        return found


def layer_table(part: Mapping[str, Any]) -> Table:
    """Every layer's error, and its best step of each algorithm with intervals.

    Args:
        part: An agreement record, or its part for the reading through the final norm.
    """
    families = list(part["layers"][0]["families"])
    columns = [("", "Layer"), ("", "Error / d"), ("", "Sits on")]
    columns += [(label(name), title) for name in families for title in ("best step", "SimE")]
    return Table(tuple(columns), tuple(_layer_row(layer, families) for layer in part["layers"]))


def _layer_row(layer: Mapping[str, Any], families: Sequence[str]) -> tuple[str, ...]:
    sits_on = anchor_label(layer["at_anchor"]) if layer["at_anchor"] else "–"
    cells = [layer_label(layer["layer"]), number(layer["error"]), sits_on]
    for name in families:
        one = layer["families"][name]
        cells.append(f"{one['best_step']} {count_interval(one['best_step_ci'])}")
        cells.append(f"{number(one['best_sim_e'])} {number_interval(one['ci'])}")
    return tuple(cells)


LAYER_NOTE = (
    "Brackets are 95 % bootstrap intervals over prompts. Sits on: an anchor that the layer cannot be told from; such a "
    "layer says nothing about iterations."
)


def control_table(part: Mapping[str, Any]) -> Table:
    """What SimE is worth in each layer: anchors, other prompts, the untrained model.

    Args:
        part: An agreement record, or its part for the reading through the final norm.
    """
    layers = part["layers"]
    families, anchors = list(layers[0]["families"]), list(layers[0]["anchors"])
    columns = [("", "Layer")]
    columns += [("SimE with anchors", anchor_label(name)) for name in anchors]
    columns += [("Chance, best step", short_label(name)) for name in families]
    columns += [("Untrained, best step", short_label(name)) for name in families]
    return Table(tuple(columns), tuple(_control_row(layer, families, anchors) for layer in layers))


def _control_row(layer: Mapping[str, Any], families: Sequence[str], anchors: Sequence[str]) -> tuple[str, ...]:
    return (
        layer_label(layer["layer"]),
        *[cosine(layer["anchors"].get(name)) for name in anchors],
        *[cosine(layer["families"][name]["chance"]) for name in families],
        *[cosine(layer["families"][name]["untrained"]) for name in families],
    )


CONTROL_NOTE = (
    "Anchors carry no evidence about iterations. Chance: the algorithm run on other prompts. Untrained: the same layer "
    "of the model before training, read out the same way."
)


def filter_table(fingerprint: Mapping[str, Any]) -> Table:
    """How far every layer's filter is from those of the reference algorithms, each at its nearest point.

    Args:
        fingerprint: The filters of an agreement record's reading.
    """
    layers = fingerprint["layers"]
    names = list(layers[0]["distances"])
    columns = [("", "Layer"), ("", "Explained"), ("", "Nearest filter")]
    columns += [("Distance to the filter of", short_label(name)) for name in names]
    return Table(tuple(columns), tuple(_filter_row(layer, names) for layer in layers))


def _filter_row(layer: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    found = {name: layer["distances"][name] for name in names if layer["distances"].get(name) is not None}
    silent = len(set(found.values())) < 2  # every reference stands at zero
    nearest = "–" if silent else label(min(found, key=lambda name: found[name]))
    distances = ["–" if silent else number(found.get(name)) for name in names]
    return (layer_label(layer["layer"]), percent(layer["explained"]), nearest, *distances)


FILTER_NOTE = (
    "Explained: share of what the layer says that any filter of the prefix's spectrum explains; where it is small, the "
    "curve says little. Distance: root mean squared difference, weighted by what least squares says near each "
    "eigenvalue. Layers that say nothing stand beside no algorithm."
)


def nearness_table(verdict: Mapping[str, Any]) -> Table:
    """Every algorithm under its nearest convention, and where the layers stand on its path.

    Args:
        verdict: Of an agreement record's reading.
    """
    columns = (
        *(("", title) for title in ("Algorithm", "Nearest convention", "Misfit", "Lean [95 %]")),
        *(("Where the layers stand", title) for title in ("layers", "values")),
    )
    nearness = verdict.get("nearness") or {}
    return Table(columns, tuple(_nearness_row(name, near) for name, near in nearness.items()))


def _nearness_row(name: str, near: Mapping[str, Any]) -> tuple[str, ...]:
    known = [misfit for misfit in near["misfits"] if misfit is not None]
    nearest = near["lean"] == 0 and not any(near["lean_ci"])
    lean = "nearest" if nearest else tell_lean(near)
    values = f"{near['parameter']} {_listed_values(near['values'])}" if near["parameter"] else "the solution"
    layers = near["layers"]
    span = f"{layers[0]} to {layers[-1]}" if layers else "–"
    return (label(name), near["convention"], percent(sum(known) / len(known) if known else None), lean, span, values)


def tell_lean(near: Mapping[str, Any]) -> str:
    """How far the layers lie towards an algorithm, with the interval; that there is no way if both predict the same."""
    return "the same here" if near["lean"] is None else f"{cosine(near['lean'])} {cosine_interval(near['lean_ci'])}"


def _listed_values(values: Sequence[float | None]) -> str:
    told = [amount(value) for value in values]
    return ", ".join(told if len(told) <= _SHOWN else [*told[: _SHOWN // 2], "…", *told[-_SHOWN // 2 :]])


def tell_equals(verdict: Mapping[str, Any]) -> str:
    """What the named algorithm cannot be told from, or what a mixture consists of; "" where nothing is to be said."""
    equals = verdict.get("equals") or ()
    if not equals:
        return ""
    if verdict["algorithm"] == "mixture":
        return f"Parts of the sum: {' and '.join(label(name) for name in equals)}."
    return f"{label(str(verdict['algorithm']))} here cannot be told from {'; '.join(equals)}."


NEARNESS_NOTE = (
    "Misfit: mean squared distance of the layers from the nearest points of the algorithm's path, in units of the mean "
    "squared label. Lean: how far they lie from the nearest algorithm (0) towards this one (1); where both predict "
    "the same, no layer is nearer to one of them."
)


def tell_ridge(record: Mapping[str, Any]) -> str:
    """Which ridge the model's own output is nearest to, beside that of Bayes; "" for a record without it.

    Args:
        record: An agreement record.
    """
    found = record.get("nearest_ridge")
    if not found or found["strength"] is None:
        return ""
    low, high = (amount(end) for end in found["ci"])
    bayes = found["bayes"]
    beside = "" if bayes is None else f"; that of the Bayes predictor is {amount(bayes)}"
    told = f"The model's output is nearest to ridge regression of strength {amount(found['strength'])}"
    return f"{told} [{low}, {high}] on the sum loss{beside}."


def conventions(record: Mapping[str, Any]) -> list[str]:
    """What was measured and how, one sentence each.

    Args:
        record: An agreement record.
    """
    first, last = record["scored_positions"]
    config, options = record["config"], record["conventions"]
    told = [
        f"Scored on {record['n_prompts']} prompts at context positions {first} to {last} (0-based: position i has "
        f"i examples before it), d = {record['d_input']}, seed {config['seed']}.",
        f"Read-outs are ridge regressions fitted on {config['n_fit']} other prompts, one per layer, all positions.",
        "SimE is the cosine between the residuals of layer and algorithm over a prompt's scored positions, averaged "
        "over prompts; 1 means the same errors.",
        f"Intervals are 95 % bootstrap over prompts, {config['n_resamples']} resamples.",
        _tell_gd(options.get("gd", {})),
        _tell_newton(options.get("newton", {})),
    ]
    one_step = options.get("gd_1", {}).get("relative_step_size")
    if one_step is not None:
        told.append(f"The anchor of one gradient step uses the step size that errs least: {one_step} / λmax.")
    told += [f"Mind: {warning}" for warning in record.get("warnings", ())]
    return [sentence for sentence in told if sentence]


def _tell_gd(options: Mapping[str, Any]) -> str:
    if options.get("step_size") is not None:
        return f"Gradient descent starts at zero; step size {options['step_size']} on the sum of squares."
    if options.get("relative_step_size") is None:
        return ""
    return f"Gradient descent starts at zero; step size {options['relative_step_size']} / λmax of each prefix."


def _tell_newton(options: Mapping[str, Any]) -> str:
    if not options:
        return ""
    return (
        f"Newton's inverse starts at M₀ = {options.get('alpha')} S / ‖S Sᵀ‖ ({options.get('norm')} norm), "
        "S the Gram matrix of the prefix."
    )


_MODEL = ("n_layers", "n_heads", "d_model", "attention", "norm", "positions", "layout")
_TRAINING = ("n_steps", "n_batch", "optimizer", "lr", "schedule", "precision", "device")


def facts(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Task, model and training of a run, in a few words each.

    Args:
        config: A run's config as written; fields that are not there are left out.
    """
    model, train, task = (_part(config, key) for key in ("model", "train", "task"))
    special = {k: v for k, v in task.items() if k not in ("name", "d_input", "n_context")}
    shown = [
        ("Task settings", _listed(special)),
        ("Model", _listed(_only(model, _MODEL))),
        ("Training", _listed(_only(train, _TRAINING))),
        ("Curriculum", _tell_curriculum(train)),
        ("Seed", str(train.get("seed", ""))),
    ]
    return [(name, text) for name, text in shown if text]


def _part(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = config.get(key)
    return found if isinstance(found, Mapping) else {}


def _only(part: Mapping[str, Any], keys: Sequence[str]) -> Mapping[str, Any]:
    return {key: part[key] for key in keys if part.get(key) is not None}


def _listed(part: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in part.items())


def _tell_curriculum(train: Mapping[str, Any]) -> str:
    told = []
    if train.get("d_start") is not None:
        told.append(f"{train['d_start']} coordinates at first, one more every {train.get('d_every')} steps")
    if train.get("n_start") is not None:
        more = f"{train.get('n_add')} more every {train.get('n_every')} steps"
        told.append(f"{train['n_start']} examples at first, {more}")
    return "; ".join(told)
