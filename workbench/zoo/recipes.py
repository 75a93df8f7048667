"""The transformers of the zoo whose weights are written down. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workbench.registry import by_name

PREFIX = "constructed-"
"""What the names of all of them begin with."""
_SMALL: Mapping[str, Any] = {"name": "linear_regression", "d_input": 4, "n_context": 12}
_BOUNDED: Mapping[str, Any] = {**_SMALL, "inputs": "uniform", "input_scale": 12**0.5}
"""Inputs of variance 1 that are nowhere longer than sqrt(3 d): a start of Newton or a step size that is safe on all."""


@dataclass(frozen=True)
class Recipe:
    """One constructed model and the prompts that it is for.

    Attributes:
        name: What it is asked for by.
        construction: Its construction, a name from ``CONSTRUCTIONS``.
        task: The law of its prompts: the task's name and hyperparameters.
        n_layers: Its layers.
        settings: The construction's own.
        notes: What is worth knowing about it.
    """

    name: str
    construction: str
    n_layers: int
    settings: Mapping[str, Any]
    notes: str
    task: Mapping[str, Any] = field(default_factory=lambda: _BOUNDED)


RECIPES = by_name(
    Recipe("constructed-gd-5", "gd", 5, {"step_size": 0.16}, "Five steps of gradient descent of one size."),
    Recipe(
        "constructed-gd-plus-plus-5",
        "gd_plus_plus",
        5,
        {"step_size": 0.3, "gamma": 0.1},
        "Five steps of GD++ of one size; inputs shrink from layer to layer.",
    ),
    Recipe(
        "constructed-preconditioned-gd-5",
        "preconditioned_gd",
        5,
        {
            "preconditioner": [[2.0, 0.5, 0.0, 0.0], [0.5, 1.0, 0.0, 0.0], [0.0, 0.0, 0.5, 0.1], [0.0, 0.0, 0.1, 0.25]],
            "step_size": 0.2,
        },
        "Steps with a matrix that is no multiple of the identity: no spectral filter of the prompt.",
    ),
    Recipe(
        "constructed-newton-8",
        "newton",
        10,
        {"alpha": 0.01},
        "Eight steps of Newton behind two layers that make ready; converges on every prompt of its law.",
    ),
    Recipe(
        "constructed-ridge-24",
        "ridge_gd",
        24,
        {"step_size": 0.15, "ridge": 1.0},
        "One block, run 24 times, on the way to ridge regression, which is Bayes for these noisy labels.",
        {**_BOUNDED, "noise_std": 1.0},
    ),
    Recipe(
        "constructed-debiased-gd-1",
        "debiased_gd",
        1,
        {"step_size": 0.5, "scale": 0.01},
        "One debiased step by two softmax heads; what it errs by comes from the scale.",
    ),
    Recipe(
        "constructed-debiased-gd-5",
        "debiased_gd",
        5,
        {"step_size": 0.16, "scale": 1 / 128, "n_heads": 12},
        "Five debiased steps by six pairs of softmax heads: exact in float64, in float32 to 1e-5.",
    ),
    Recipe(
        "constructed-debiased-gd-5-float32",
        "debiased_gd",
        5,
        {"step_size": 0.16, "scale": 5 / 128, "n_heads": 12},
        "The same with the scale that is best in float32, where rounding and the end of the series err alike.",
    ),
    Recipe("constructed-softmax-kernel", "softmax_kernel", 1, {"scale": 1.0}, "One softmax head.", _SMALL),
    Recipe("constructed-gaussian-kernel", "gaussian_kernel", 2, {"bandwidth": 1.0}, "Nadaraya-Watson.", _SMALL),
    Recipe(
        "constructed-nearest-neighbor",
        "nearest_neighbor",
        2,
        {"bandwidth": 1e-4},
        "Copies the label of the nearest example.",
        _SMALL,
    ),
    Recipe(
        "constructed-gd-from-copies",
        "gd_from_copies",
        2,
        {"step_size": 0.5},
        "A causal model of x and y tokens in turn: a previous-token head, then one step.",
    ),
    Recipe(
        "constructed-induction",
        "induction",
        2,
        {},
        "Head 0.0 attends to the previous token, head 1.0 is an induction head that else rests on the start token.",
        {"name": "repeated_tokens"},
    ),
    Recipe(
        "constructed-bigram-backcopy",
        "bigram_backcopy",
        1,
        {},
        "Head 0.0 is dormant on the start token, whose value is zero, and copies the token before a trigger.",
        {"name": "bigram_backcopy", "n_positions": 64},
    ),
)
