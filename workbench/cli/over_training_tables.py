"""Tables of how layers came to agree over training."""

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.cli.output import number, print_table

_MARK = "*"


def print_over_training(table: Mapping[str, Any], *, final_norm: bool = False) -> None:
    """One table per algorithm, a row per checkpoint; then errors and verdicts.

    Args:
        table: What `workbench.analyses.over_training` returned.
        final_norm: Whether layers are read through the final norm, where the model has one.
    """
    readings = [(row, reading_of(row, final_norm=final_norm)) for row in table["rows"]]
    how = "through the final norm" if readings[0][1] is not readings[0][0] else "as they are"
    n_layers = len(readings[0][1]["layers"]) - 1
    head = f"{table['run']} over training: layers read {how}, {table['n_prompts']} prompts at every checkpoint.\n"
    head += (
        f"{_MARK}: sits on an anchor and takes no part in the rest. SimE, chance, untrained: means over other layers\n"
    )
    for name in readings[0][1]["trend"]:
        steps = _aligned([_best_steps(reading["layers"], name) for _, reading in readings])
        print_table(
            f"{head}Best step of {name}, layers 0 to {n_layers}",
            ["step", "best steps", "SimE", "chance", "untrained", "trend", "rate [95%]", "R² linear", "R² geometric"],
            [
                [str(row["checkpoint"]), told, *_family_cells(reading, name)]
                for (row, reading), told in zip(readings, steps, strict=True)
            ],
        )
        head = ""
    first, last = table["scored_positions"]
    print_table(
        f"Squared error / d of the output, mean over positions {first} to {last} and at {last}, and the verdict",
        ["step", "mean", "last", "nearest ridge", "verdict"],
        [[str(row["checkpoint"]), *_outcome_cells(row, reading, (first, last))] for row, reading in readings]
        + [
            [name, *_errors(errors, (first, last)), "", "reference"]
            for name, errors in table["reference_error"].items()
            if name in ("zero", "ols", "ridge")
        ],
    )


def reading_of(row: Mapping[str, Any], *, final_norm: bool) -> Mapping[str, Any]:
    """The reading through the final norm if that is asked for and there is one, else the plain one."""
    return row["final_norm"] if final_norm and row["final_norm"] else row


def _family_cells(reading: Mapping[str, Any], name: str) -> list[str]:
    trend = reading["trend"][name]
    free = [layer["families"][name] for layer in reading["layers"] if layer["at_anchor"] is None]
    means = [_mean([family[key] for family in free]) for key in ("best_sim_e", "chance", "untrained")]
    told = [number(trend["r2_linear"]), number(trend["r2_geometric"])]
    return [*map(number, means), trend["shape"], tell_rate(trend), *told]


def _best_steps(layers: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    return [f"{layer['families'][name]['best_step']}{_MARK if layer['at_anchor'] else ' '}" for layer in layers]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Each row as one text, its cells below those of the row above."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["".join(f" {cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def tell_rate(trend: Mapping[str, Any]) -> str:
    """The rate of a trend with its interval, for a table cell."""
    if trend["rate"] is None:
        return "–"
    told = f"{'+' if trend['shape'] == 'linear' else 'x'}{trend['rate']:.2f}"
    return f"{told} [{trend['rate_ci'][0]:.2f}, {trend['rate_ci'][1]:.2f}]" if trend["rate_ci"] else told


def _outcome_cells(row: Mapping[str, Any], reading: Mapping[str, Any], scored: tuple[int, int]) -> list[str]:
    ridge = row["nearest_ridge"] or {}
    return [
        *_errors(row["model_error"], scored),
        number(ridge.get("strength")),
        tell_verdict(reading["verdict"]),
    ]


def _errors(errors: Sequence[float | None], scored: tuple[int, int]) -> list[str]:
    first, last = scored
    return [number(_mean(errors[first : last + 1]), 4), number(errors[last], 4)]


def tell_verdict(verdict: Mapping[str, Any] | None) -> str:
    """The verdict in a word or two; what is nearest, where it abstains."""
    if verdict is None:
        return "– (by older rules)"
    if verdict["abstained"]:
        return f"abstains; nearest {verdict['nearest']}" if verdict["nearest"] else "abstains"
    return str(verdict["algorithm"])
