"""Which earlier examples stand at a y token, layer by layer: the copying that in-context learning starts with.

    python -m probes.copying RUN [--n-contexts 4 8] [--json]

Prints R^2 by layer of the x and y of the example that the token belongs to (1 back) and of those before, with the
untrained model beside: attention spreads earlier inputs before any training. The study is kept in the run folder.
"""

import sys

from probes.config import ProbeConfig
from probes.scripts import Record, layer_table, main, rows_of, values_of

BACK = (1, 2, 3)
CONFIG = ProbeConfig(
    targets=tuple(f"{name}_earlier:{back}" for back in BACK for name in ("x", "y")), n_contexts=(3, 6, 9)
)
COPIED = 0.9
"""R^2 from which on an x is said to be copied whole."""


def copied_from(record: Record, method: str, n_context: int | None) -> int | None:
    """The first layer at whose y token its own x stands, both above 0.9 and above what an untrained model spreads."""
    rows = rows_of(record, target="x_earlier:1", method=method, n_context=n_context)
    layers = [row["layer"] for row in rows if row["r2"] > max(COPIED, row["r2_untrained"])]
    return min(layers) if layers else None


def tell(record: Record) -> str:
    """The tables."""
    parts: list[str] = []
    for method in values_of(record, "method"):
        for n in values_of(record, "n_context"):
            lines: dict[str, list[float | None]] = {}
            for target in values_of(record, "target"):
                rows = rows_of(record, target=target, method=method, n_context=n)
                lines[target] = [row["r2"] for row in rows]
                lines[f"  untrained {target}"] = [row["r2_untrained"] for row in rows]
                lines[f"  shuffled  {target}"] = [row["r2_shuffled"] for row in rows]
            parts.append(layer_table(f"R2 by {method} at the y token of example {n}", lines))
            layer = copied_from(record, method, n)
            told = "nowhere" if layer is None else f"from layer {layer} on"
            parts.append(f"Its own x stands there {told} (R2 above {COPIED} and above the untrained model's).\n\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.exit(main("Which earlier examples stand at a y token, layer by layer.", CONFIG, tell))
