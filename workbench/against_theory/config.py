"""The settings of a study against theory. Imports no torch."""

from dataclasses import dataclass

from workbench.configs import is_count
from workbench.errors import must, refuse_faults


@dataclass(frozen=True)
class TheoryConfig:
    """How a trained model is held against closed forms. Part of the key under which the result is kept."""

    n_prompts: int = 20_000
    """Fresh prompts at the trained length, for everything that is measured there."""
    n_curve: int = 2048
    """Prompts at each place of a curve, and at each checkpoint over training."""
    n_checkpoints: int = 24
    """Most checkpoints measured over training, evenly spread over those there are; 0 for none."""
    n_resamples: int = 200
    """Bootstrap resamples, over blocks of prompts."""
    seed: int = 0
    """Seeds prompts, bootstrap and random weights."""

    def __post_init__(self) -> None:
        at_least = {"n_prompts": 400, "n_curve": 400, "n_checkpoints": 0, "n_resamples": 20, "seed": 0}
        refuse_faults(
            [
                must(name, f"be a whole number of at least {least}", value, is_count(value, least))
                for name, least in at_least.items()
                for value in [getattr(self, name)]
            ]
        )
