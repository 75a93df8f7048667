"""Where a model holds X^T X, its inverse and Newton's iterates of it.

    python -m probes.moment_matrices RUN [--methods ridge mlp] [--n-contexts 8 16] [--json]

Prints R^2 by layer of the moment matrix, its inverse, M_k of Newton for a few k and the condition number, each with its
controls. The inverse is heavy-tailed where n is near d: mind the intervals. The study is kept in the run folder.
"""

import sys

from probes.config import ProbeConfig
from probes.scripts import Record, layer_table, main, rows_of, values_of, with_controls

CONFIG = ProbeConfig(
    targets=(
        "moment_matrix",
        "inverse_moment_matrix",
        "newton_matrix:1",
        "newton_matrix:3",
        "newton_matrix:6",
        "condition_number",
    ),
)


def tell(record: Record) -> str:
    """The tables: all targets beside each other, then each with its controls where something is decoded."""
    parts: list[str] = []
    for method in values_of(record, "method"):
        for n in values_of(record, "n_context"):
            lines = {
                target: [row["r2"] for row in rows_of(record, target=target, method=method, n_context=n)]
                for target in values_of(record, "target")
            }
            parts.append(layer_table(f"R2 by {method}, {n} examples seen", lines))
            for target in lines:
                title = f"{target} by {method}, {n} examples seen, with controls"
                parts.append(layer_table(title, with_controls(record, target=target, method=method, n_context=n)))
    return "".join(parts)


if __name__ == "__main__":
    sys.exit(main("Where a model holds X^T X, its inverse and Newton's iterates of it.", CONFIG, tell))
