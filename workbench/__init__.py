"""Which learning algorithm does a transformer run in its forward pass? The library behind ``mesascope``.

Importing this package loads neither torch nor transformer_lens; its attributes load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench import agreement, baselines, claims, models, runs, tasks
    from workbench.opened import open_run

_MODULES = ("agreement", "baselines", "claims", "models", "runs", "tasks")
_FUNCTIONS = {"open_run": "workbench.opened"}

__all__ = ["agreement", "baselines", "claims", "models", "open_run", "runs", "tasks"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"workbench.{name}")
    if name in _FUNCTIONS:
        return getattr(import_module(_FUNCTIONS[name]), name)
    raise AttributeError(f"module 'workbench' has no attribute {name!r}; it has {', '.join(__all__)}.")


def __dir__() -> list[str]:
    return list(__all__)
