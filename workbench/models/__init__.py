"""The one model class and its switches."""

from typing import TYPE_CHECKING

from workbench.lazy import lazily

if TYPE_CHECKING:
    from workbench.models.config import TransformerConfig
    from workbench.models.kinds import SWITCHES
    from workbench.models.transformer import Transformer

__all__ = ["SWITCHES", "Transformer", "TransformerConfig"]
__getattr__, __dir__ = lazily(
    __name__,
    {
        "SWITCHES": "workbench.models.kinds",
        "Transformer": "workbench.models.transformer",
        "TransformerConfig": "workbench.models.config",
    },
)
