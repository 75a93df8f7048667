"""Where a model holds X^T y and where it holds the solution, after Akyurek et al. 2023, section 4.

    python -m probes.weight_vectors RUN [--methods ridge mlp pooled_mlp] [--n-contexts 8 16] [--json]

Prints, for every number of examples seen, R^2 by layer of the moment vector, of least squares and of w itself, each
with its controls, and the first layer that decodes each nearly best. The study is kept in the run folder.
"""

import sys

from probes.config import ProbeConfig
from probes.scripts import Record, layer_table, main, rows_of, values_of, with_controls

CONFIG = ProbeConfig(targets=("moment_vector", "w_ols", "w"))
NEAR = 0.95
"""A layer decodes a target as well as the best one from this share of its score on."""


def first_layers(record: Record, method: str, n_context: int | None) -> dict[str, int | None]:
    """For each target the first layer that decodes it nearly as well as the best; None where nothing is decoded."""
    found: dict[str, int | None] = {}
    for target in values_of(record, "target"):
        rows = rows_of(record, target=target, method=method, n_context=n_context)
        best = max(rows, key=lambda row: row["r2"])
        decoded = best["r2_ci"][0] > max(0.0, best["r2_shuffled_max"])
        near = [row["layer"] for row in rows if row["r2"] >= NEAR * best["r2"]]
        found[target] = min(near) if decoded else None
    return found


def tell(record: Record) -> str:
    """The tables."""
    parts: list[str] = []
    for method in values_of(record, "method"):
        for n in values_of(record, "n_context"):
            for target in values_of(record, "target"):
                title = f"{target} by {method}, {n} examples seen"
                parts.append(layer_table(title, with_controls(record, target=target, method=method, n_context=n)))
            firsts = first_layers(record, method, n)
            told = ", ".join(f"{name} {'nowhere' if layer is None else layer}" for name, layer in firsts.items())
            parts.append(f"First layer within 5% of the best, {n} examples seen: {told}\n\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.exit(main("Where a model holds X^T y, and where the solution.", CONFIG, tell))
