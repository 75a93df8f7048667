"""Planted algorithms whose names are counted apart: gradient descent that remembers its last step, and attention."""

from typing import Any

from workbench.benches.planted import Dice, Plant, Planted, Prompts, at_once, gd_options, told_options


def _momentum(prompts: Prompts, dice: Dice) -> Planted:
    options = {**gd_options(prompts, dice), "momentum": dice.uniform(0.5, 0.9)}
    each = dice.whole(1, 2)
    steps = [1 + each * i for i in range(dice.whole(4, 7))]
    return f"heavy ball, steps {steps}, {told_options(options)}", prompts.run("momentum", steps, **options)


def _nesterov(prompts: Prompts, dice: Dice) -> Planted:
    options = gd_options(prompts, dice)
    if options.get("gradient") == "mean":
        options["step_size"] *= 0.5  # unlike gradient descent it diverges beyond 4/3 over the largest eigenvalue
    if "relative_step_size" in options:
        options["relative_step_size"] = min(1.0, options["relative_step_size"])
    each = dice.whole(1, 3)
    steps = [each * (i + 1) for i in range(dice.whole(4, 7))]
    return f"Nesterov, steps {steps}, {told_options(options)}", prompts.run("nesterov", steps, **options)


def _chebyshev(prompts: Prompts, dice: Dice) -> Planted:
    sums, _ = prompts.scales
    options: dict[str, Any] = {}
    if dice.pick(2):
        upper = sums * dice.uniform(0.8, 1.1)
        options = {"lower": upper / dice.uniform(8.0, 60.0), "upper": upper}
    steps = list(range(1, dice.whole(4, 7) + 1))
    return f"Chebyshev, steps {steps}, {told_options(options)}", prompts.run("chebyshev", steps, **options)


def _softmax_kernel(prompts: Prompts, dice: Dice) -> Planted:
    scale = dice.uniform(0.4, 2.0) * prompts.task.d_input**-0.5
    known = prompts.run("softmax_kernel", scale=scale)
    return f"softmax attention, scale {scale:.3g}, at once", at_once(prompts, dice, known)


KIN: tuple[tuple[str, Plant, int], ...] = (
    ("momentum", _momentum, 3),
    ("nesterov", _nesterov, 3),
    ("chebyshev", _chebyshev, 3),
    ("softmax_kernel", _softmax_kernel, 0),
)
"""As ``PLANTED``."""
