"""Settings that presets of several tasks share: a small GPT-2-like transformer, trained in minutes on a laptop."""

from collections.abc import Mapping
from typing import Any

Preset = Mapping[str, Mapping[str, Any]]

_DEMO = {"n_layers": 3, "d_model": 48, "n_heads": 4, "d_mlp": 96}
_SMALL = {"n_layers": 4, "d_model": 64, "n_heads": 4}
_PAPER = {"n_layers": 12, "d_model": 256, "n_heads": 8}


def gpt2_presets(demo: Mapping[str, Any], small: Mapping[str, Any], paper: Mapping[str, Any]) -> dict[str, Preset]:
    """Presets demo (a minute or so), small and paper (Garg et al. 2022's model; an accelerator) of a task.

    Args:
        demo: Sizes of the task under preset demo.
        small: Under preset small.
        paper: Under preset paper.
    """
    every = {"schedule": "cosine", "clip_norm": 1.0}
    short = {**every, "n_steps": 2000, "lr": 3e-3, "warmup_steps": 100, "checkpoint_every": 500}
    long = {**every, "n_steps": 8000, "lr": 2e-3, "warmup_steps": 300, "checkpoint_every": 1000}
    longest = {**every, "n_steps": 50_000, "lr": 5e-4, "warmup_steps": 1000, "checkpoint_every": 5000}
    return {
        "demo": {"task": demo, "model": _DEMO, "train": short},
        "small": {"task": small, "model": _SMALL, "train": long},
        "paper": {"task": paper, "model": _PAPER, "train": longest},
    }
