"""What a number may depend on beside its config: versions, machine, command."""

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("mesascope", "torch", "transformer-lens", "numpy", "einops", "safetensors")


def environment(seed: int, n_threads: int | None = None) -> dict[str, Any]:
    """The record that goes into env.json.

    Args:
        seed: The run's seed.
        n_threads: CPU threads that it trains with, also when it is resumed.
    """
    import torch

    return {
        "schema": "mesascope/env/1",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "git": _git(),
        "command": sys.argv,
        "platform": platform.platform(),
        "n_cpus": os.cpu_count(),
        "n_threads": n_threads,
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "seed": seed,
    }


def _git() -> dict[str, Any] | None:
    """Commit and dirty flag of the source tree that this package runs from, if it is one."""
    source = Path(__file__).parent.parent
    if not (source / ".git").exists():
        return None
    try:
        commit = _ask_git(source, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_ask_git(source, "status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _ask_git(source: Path, *words: str) -> str:
    asked = subprocess.run(["git", *words], cwd=source, capture_output=True, text=True, check=True, timeout=10)
    return asked.stdout.strip()
