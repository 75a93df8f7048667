"""Which learning algorithm does a transformer run in its forward pass? The library behind ``mesascope``.

Importing this package loads neither torch nor transformer_lens; its attributes load on first use.
"""

from typing import TYPE_CHECKING

from workbench.lazy import lazily

if TYPE_CHECKING:
    from workbench import agreement, analyses, baselines, claims, models, runs, tasks
    from workbench.opened import open_run

__all__ = ["agreement", "analyses", "baselines", "claims", "models", "open_run", "runs", "tasks"]
__getattr__, __dir__ = lazily(
    __name__,
    {
        **{name: f"workbench.{name}" for name in __all__ if name != "open_run"},
        "open_run": "workbench.opened",
    },
)
