"""What can be looked for, by name."""

from dataclasses import replace
from functools import partial

from probes.record import ProbeTarget
from probes.targets.algorithms import W_BAYES, W_CG, W_GD, W_NEWTON, W_OLS, W_RIDGE
from probes.targets.copies import RESIDUALS_GD, RESIDUALS_NEWTON, X_EARLIER, Y_EARLIER
from probes.targets.latents import LATENT, POSITION, SIGMA, W
from probes.targets.moments import (
    CONDITION_NUMBER,
    INVERSE_MOMENT_MATRIX,
    MOMENT_MATRIX,
    MOMENT_VECTOR,
    NEWTON_MATRIX,
)
from workbench.errors import InputError
from workbench.registry import by_name, find

TARGETS = by_name(
    W,
    W_OLS,
    W_RIDGE,
    W_BAYES,
    MOMENT_VECTOR,
    MOMENT_MATRIX,
    INVERSE_MOMENT_MATRIX,
    NEWTON_MATRIX,
    W_GD,
    W_NEWTON,
    W_CG,
    RESIDUALS_GD,
    RESIDUALS_NEWTON,
    X_EARLIER,
    Y_EARLIER,
    SIGMA,
    CONDITION_NUMBER,
    POSITION,
    LATENT,
)

__all__ = ["TARGETS", "find_target"]


def find_target(text: str) -> ProbeTarget:
    """The target that NAME or NAME:ARGUMENT asks for, its argument filled in.

    Raises:
        InputError: If the name is unknown, or the argument missing, out of place or wrong.
    """
    name, colon, given = text.partition(":")
    target = find(TARGETS, name, "probe target")
    argument = target.argument
    if argument is None:
        if colon:
            raise InputError(f"target {name!r} must be given without an argument; got {text!r}.")
        return target
    if not colon and argument.default is not None:
        return target
    try:
        value = argument.parse(given)
    except ValueError:
        raise InputError(f"target {name!r} must be given as {name}:ARGUMENT, {argument.rule}; got {text!r}.") from None
    return replace(target, name=text, compute=partial(target.compute, **{argument.name: value}))
