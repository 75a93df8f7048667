"""The switches of the one model class: each a registry of records, one file per switch."""

from collections.abc import Mapping
from typing import Any

from workbench.models.kinds.attention import ATTENTIONS
from workbench.models.kinds.inits import INITS
from workbench.models.kinds.layouts import LAYOUTS
from workbench.models.kinds.mlps import MLPS
from workbench.models.kinds.norms import NORMS
from workbench.models.kinds.outputs import OUTPUTS
from workbench.models.kinds.positions import POSITIONS
from workbench.models.kinds.products import PRODUCTS
from workbench.models.kinds.sinks import SINKS

SWITCHES: Mapping[str, Mapping[str, Any]] = {
    "attention": ATTENTIONS,
    "products": PRODUCTS,
    "sink": SINKS,
    "positions": POSITIONS,
    "norm": NORMS,
    "mlp": MLPS,
    "layout": LAYOUTS,
    "output": OUTPUTS,
    "init": INITS,
}
"""Registry of each switch, under the name of its field in the model config."""
