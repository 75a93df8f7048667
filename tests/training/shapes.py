"""Shapes of plain blocks, whose passes are written out."""

from typing import Any

PLAIN_SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "one layer": {"n_layers": 1},
    "three layers, no positions": {"n_layers": 3, "positions": "none"},
    "shared coordinates, wide heads, its own scale": {
        "layout": "interleaved_shared",
        "d_head": 6,
        "attention_scale": 0.3,
    },
}
