"""The one model class and its switches. Only ``Transformer`` imports transformer_lens, on first use."""

from typing import TYPE_CHECKING, Any

from workbench.models.config import TransformerConfig
from workbench.models.kinds import SWITCHES

if TYPE_CHECKING:
    from workbench.models.transformer import Transformer

__all__ = ["SWITCHES", "Transformer", "TransformerConfig"]


def __getattr__(name: str) -> Any:
    if name == "Transformer":
        from workbench.models.transformer import Transformer

        return Transformer
    raise AttributeError(f"module 'workbench.models' has no attribute {name!r}.")
