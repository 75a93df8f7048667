"""Models that come with the package, trained or constructed, and how one becomes a run. Loads no torch by itself."""

from typing import TYPE_CHECKING

from workbench.lazy import lazily

if TYPE_CHECKING:
    from workbench.zoo.card import Card
    from workbench.zoo.getting import get, get_once, known
    from workbench.zoo.recipes import RECIPES, Recipe
    from workbench.zoo.shelf import SHELF, cards, names, read_card, read_over_training

__all__ = [
    "RECIPES",
    "SHELF",
    "Card",
    "Recipe",
    "cards",
    "get",
    "get_once",
    "known",
    "names",
    "read_card",
    "read_over_training",
]
__getattr__, __dir__ = lazily(
    __name__,
    {
        "Card": "workbench.zoo.card",
        **dict.fromkeys(("get", "get_once", "known"), "workbench.zoo.getting"),
        **dict.fromkeys(("RECIPES", "Recipe"), "workbench.zoo.recipes"),
        **dict.fromkeys(("SHELF", "cards", "names", "read_card", "read_over_training"), "workbench.zoo.shelf"),
    },
)
